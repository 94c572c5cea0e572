//! What can be wrong with the choice of a kernel or of its launch.

use crate::format::{BlockFormat, Dialect, ElementFormat, FormatError, Rounding};
use crate::fragment::OperandType;

/// A kernel that does not exist, or a tensor that it cannot take in one launch.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VariantError {
    /// Elements below four bits are for the CPU.
    #[error(
        "no kernel for element format `{element}`: kernels take elements of 4, 6 and 8 bits, those below are for the CPU"
    )]
    Element {
        /// The element format.
        element: ElementFormat,
    },
    /// Lanes of a warp share a block, 8 elements each.
    #[error("no kernel for block size {block_size}; there are kernels for 16, 32, 64, 128")]
    BlockSize {
        /// The k that was asked for.
        block_size: usize,
    },
    /// The dialect's element exponents come from rounded logarithms, which only decide
    /// roundings that nobody uses with it.
    #[error(
        "no kernel for dialect `{dialect}` with rounding `{rounding}`; there are `even`, `away`"
    )]
    Rounding {
        /// The dialect.
        dialect: Dialect,
        /// The rounding that has no kernel under it.
        rounding: Rounding,
    },
    /// Rows of the cache have no scale of their own.
    #[error("no kernel for a cache in `{format}`: its rows would need a scale each")]
    RowScale {
        /// The format.
        format: BlockFormat,
    },
    /// The scale, or its product with an element, is no operand of a tensor core.
    #[error("no kernel reads a cache in `{format}`: its scales have more bits than bf16")]
    CacheScale {
        /// The format.
        format: BlockFormat,
    },
    /// Operands that have not all values of the element, blocks that do not fill a product, rows that need a scale each, or
    /// random roundings.
    #[error("no kernel makes {operand} operands of `{format}`")]
    Operand {
        /// The format.
        format: BlockFormat,
        /// The operands.
        operand: OperandType,
    },
    /// Heads longer than a warp has registers for.
    #[error("no kernel for heads of {head_dim} features; there are kernels up to 128")]
    HeadDim {
        /// Features of a head.
        head_dim: usize,
    },
    /// The scale of a tensor is computed for a format that has one.
    #[error("format `{format}` has no scale of the tensor as a whole")]
    NoTensorScale {
        /// The format.
        format: BlockFormat,
    },
    /// The format is not defined for this float type.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// More threads than one launch can number.
    #[error("{rows} x {cols} is too large for one launch; split the rows")]
    TooLarge {
        /// Rows of the tensor.
        rows: usize,
        /// Columns of the tensor.
        cols: usize,
    },
}
