//! The conformance suite of [`mxlab_harness::conformance`] on the emulator, and on a GPU where
//! there is one.
//!
//! | module | what |
//! |---|---|
//! | `runner` | runs the rows of a chapter |
//! | `verdicts` | rows one at a time: names, and every verdict |
//! | `assemble`, `refused` | every row is legal PTX; what is not is an error |
//! | `coverage` | nothing that the emulator accepts is without a row |
//! | `forms`, `machine` | what the emulator accepts; one instruction on its registers |
//! | `lanes` | an instruction changes only the lanes that are active |

mod assemble;
mod coverage;
mod forms;
mod lanes;
mod machine;
mod refused;
mod runner;
mod verdicts;

/// A test for each chapter.
macro_rules! chapters {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            runner::check(stringify!($name));
        })*

        #[test]
        fn every_chapter_has_a_test() {
            assert_eq!(mxlab_harness::conformance::NAMES, [$(stringify!($name)),*]);
        }
    };
}
chapters!(
    integer,
    logic,
    bits,
    float,
    half,
    compare,
    convert,
    packed,
    approximate,
    memory,
    addresses,
    atomics,
    collective,
    matrix,
    control
);
