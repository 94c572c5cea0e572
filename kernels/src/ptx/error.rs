//! What can be wrong with the choice of a kernel or of its launch.

use crate::format::FormatError;
use crate::support::Unsupported;

/// A kernel that does not exist.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VariantError {
    /// A format that the kernel does not take.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// Heads longer than a warp has registers for.
    #[error("no kernel for heads of {head_dim} features; there are kernels up to 128")]
    HeadDim {
        /// Features of a head.
        head_dim: usize,
    },
    /// The format is not defined for this float type.
    #[error(transparent)]
    Format(#[from] FormatError),
}
