//! The conformance suite: a tiny program for each instruction and type of PTX that the emulator
//! knows. Expected values follow from the definitions of PTX ISA and IEEE 754, not from the
//! emulator's code. Tests run it on the emulator, `mxlab verify` on a GPU.
//!
//! | module | what |
//! |---|---|
//! | `suite` | rows, and the kernels that they become |
//! | `row` | a row's name, and its verdict on a device |
//! | `inputs` | the edges of the types |
//! | `numbers`, `arithmetic` | floating-point formats and exact arithmetic, by definition |
//! | the others | the rows of a chapter of PTX ISA |

mod addresses;
mod approximate;
mod arithmetic;
mod atomics;
mod bits;
mod collective;
mod compare;
mod control;
mod convert;
mod float;
mod half;
mod inputs;
mod integer;
mod logic;
mod matrix;
mod memory;
mod numbers;
mod packed;
mod row;
mod suite;

pub use row::{Difference, RowVerdict};
pub use suite::{Row, batches};

use std::collections::BTreeMap;

/// The rows of a chapter of PTX ISA.
pub struct Chapter {
    /// The chapter's name, a word.
    pub name: &'static str,
    /// In order.
    pub rows: Vec<Row>,
}

impl Chapter {
    /// A chapter, whose rows get their ids.
    fn new(name: &'static str, mut rows: Vec<Row>) -> Self {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for row in &mut rows {
            let head = format!("{name}/{}", row.head());
            let number = seen.entry(head.clone()).or_default();
            *number += 1;
            row.id = format!("{head}#{number}");
        }
        Self { name, rows }
    }
}

/// All chapters, and [`NAMES`].
macro_rules! chapters {
    ($($name:ident),*) => {
        /// The names of all chapters, in order.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// Every chapter with its rows, in order.
        pub fn chapters() -> Vec<Chapter> {
            vec![$(Chapter::new(stringify!($name), $name::rows().rows)),*]
        }

        /// The chapter of that name; `None` if there is none.
        pub fn chapter(name: &str) -> Option<Chapter> {
            match name {
                $(stringify!($name) => {
                    Some(Chapter::new(stringify!($name), $name::rows().rows))
                })*
                _ => None,
            }
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
