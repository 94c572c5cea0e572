//! Why there is no fragment order for a tensor.

use super::OperandType;
use crate::format::BlockFormat;

/// A tensor that tensor cores cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// The block size.
    #[error("{format}: {operand} operands are of blocks of {}32, 64 or 128 elements, not {}", if *operand == OperandType::Bf16 { "16, " } else { "" }, format.block_size())]
    BlockSize {
        /// The format.
        format: BlockFormat,
        /// The operands.
        operand: OperandType,
    },
    /// Elements that no kernel takes.
    #[error("{format}: kernels take elements of 4, 6 and 8 bits, not {}; those below are for the CPU", format.element().bits())]
    Element {
        /// The format.
        format: BlockFormat,
    },
    /// Operands that weights are to become.
    #[error("{format}: no weights for {operand} operands")]
    Operand {
        /// The format.
        format: BlockFormat,
        /// The operands.
        operand: OperandType,
    },
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
