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
    /// A sequence outgrows the cache.
    #[error(
        "a sequence of {positions} tokens does not fit the cache, which holds {capacity} of each"
    )]
    CacheFull {
        /// Positions of the sequence.
        positions: usize,
        /// Positions that there is room for.
        capacity: usize,
    },
    /// A sequence goes on from positions that are not in the cache.
    #[error("a sequence goes on at position {past}, but the cache holds {cached} of it")]
    NotCached {
        /// Positions before the batch.
        past: usize,
        /// Positions in the cache.
        cached: usize,
    },
    /// A tensor is not on the CPU, or not contiguous.
    #[error("the CPU engine takes contiguous tensors on the CPU")]
    Layout,
}
