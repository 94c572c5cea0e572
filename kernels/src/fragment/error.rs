//! Why there is no fragment order for a tensor.

use crate::support::Unsupported;

/// Why tensor cores cannot take a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// The format cannot become operands of this type.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A scale is NaN: its block had a NaN or an infinity.
    #[error("the scale of row {row}, block {block} is NaN")]
    NanScale {
        /// Its row.
        row: usize,
        /// Its block in the row.
        block: usize,
    },
    /// A code is NaN, infinite, or the lowest of a two's complement.
    #[error("the code {code:#x} at row {row}, column {col} is not a finite value of {element}")]
    Code {
        /// The element's name.
        element: &'static str,
        /// The code.
        code: u8,
        /// Its row.
        row: usize,
        /// Its column.
        col: usize,
    },
}
