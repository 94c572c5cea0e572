//! The integers of the codes of weights.

use super::rows::Arrangement;
use crate::format::IntegerElement;

/// The integers of codes, and their bytes, raised where they are bytes.
pub(super) struct Tables {
    pub element: IntegerElement,
    pub arrangement: Arrangement,
    /// By code.
    pub integers: [i32; 256],
    /// The low and the high bytes of the integers of codes below 64, 16 a table.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "no byte shuffles")
    )]
    pub bytes: [[[u8; 16]; 4]; 2],
}

impl Tables {
    pub fn new(element: IntegerElement, arrangement: Arrangement) -> Self {
        let integers = element.integers();
        let integers = integers.map(|integer| integer + arrangement.raised_by);
        let table = |byte: i32, table: usize| {
            std::array::from_fn(|i| (integers[16 * table + i] >> (8 * byte)) as u8)
        };
        Self {
            element,
            arrangement,
            integers,
            bytes: [0, 1].map(|byte| std::array::from_fn(|i| table(byte, i))),
        }
    }
}
