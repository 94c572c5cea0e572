//! What can go wrong when a model is loaded or run.

use mxlab_kernels::format::FormatError;

use crate::checkpoint::CheckpointError;

/// What can go wrong when a model is loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum LlamaError {
    /// The checkpoint is broken.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A format cannot be used here.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A token that the model has no embedding for.
    #[error("token {token} is not in the model's vocabulary of {vocabulary}")]
    Token {
        /// The token.
        token: u32,
        /// Rows of the embedding.
        vocabulary: usize,
    },
    /// A tensor is not on the CPU, or not contiguous.
    #[error("the CPU engine takes contiguous tensors on the CPU")]
    Layout,
}
