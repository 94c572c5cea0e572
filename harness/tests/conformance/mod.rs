//! The conformance suite of [`mxlab_harness::conformance`] on the emulator, and on a GPU where there
//! is one.
//!
//! | module | what |
//! |---|---|
//! | `runner` | runs the rows of a chapter |
//! | `verdicts` | rows one at a time: names, and every verdict |
//! | `assemble`, `refused` | every row is legal PTX; what is not is an error |
//! | `coverage` | nothing that the emulator accepts is without a row |

mod assemble;
mod coverage;
mod refused;
mod runner;
mod verdicts;

#[path = "../../emulator/tests/alu/forms.rs"]
mod forms;
#[allow(dead_code, reason = "only what lowers an instruction is used")]
#[path = "../../emulator/tests/alu/machine.rs"]
mod machine;

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
