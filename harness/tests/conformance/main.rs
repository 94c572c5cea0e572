//! The conformance suite: a tiny program for each instruction and type of PTX that the emulator
//! knows, with values that follow from the definitions of PTX ISA and IEEE 754 and not from the
//! emulator's code. It runs on the emulator, and on a GPU where there is one.
//!
//! | module | what |
//! |---|---|
//! | `suite` | rows, and the kernels that they become |
//! | `runner` | runs rows on a device and compares |
//! | `inputs` | the edges of the types |
//! | `numbers`, `arithmetic` | floating-point formats and exact arithmetic, by definition |
//! | `assemble`, `refused` | every row is legal PTX; what is not is an error |
//! | `coverage` | nothing that the emulator accepts is without a row |
//! | the others | the rows of a chapter of PTX ISA |

mod addresses;
mod approximate;
mod arithmetic;
mod assemble;
mod atomics;
mod bits;
mod collective;
mod compare;
mod control;
mod convert;
mod coverage;
mod float;
mod half;
mod inputs;
mod integer;
mod logic;
mod matrix;
mod memory;
mod numbers;
mod packed;
mod refused;
mod runner;
mod suite;

#[path = "../../emulator/tests/alu/forms.rs"]
mod forms;
#[allow(dead_code, reason = "only what lowers an instruction is used")]
#[path = "../../emulator/tests/alu/machine.rs"]
mod machine;

/// The chapters: a test for each.
macro_rules! chapters {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            runner::check(stringify!($name), &$name::rows().rows);
        })*

        /// All rows.
        fn suites() -> Vec<(&'static str, suite::Suite)> {
            vec![$((stringify!($name), $name::rows())),*]
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
