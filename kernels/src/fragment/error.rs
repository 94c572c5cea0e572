//! Why there is no fragment order for a tensor.

use crate::support::Unsupported;

/// A tensor that tensor cores cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// A format that does not become such operands.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A scale that is NaN: of a block that had a NaN or an infinity.
    #[error("the scale of row {row}, block {block} is NaN")]
    NanScale {
        /// Its row.
        row: usize,
        /// Its block in the row.
        block: usize,
    },
    /// A code that is NaN, infinite, or the lowest of a two's complement.
    #[error("the code {code:#x} at row {row}, column {col} is no finite value of {element}")]
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
