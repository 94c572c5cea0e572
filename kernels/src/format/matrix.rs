//! The format of a weight matrix: a block format, or one of ggml's.

use super::{BlockFormat, GgmlFormat};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A format that weights are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MatrixFormat {
    /// Codes and shared scales.
    Block(BlockFormat),
    /// Blocks as in GGUF files.
    Ggml(GgmlFormat),
}

impl MatrixFormat {
    /// The block format; `None` for one of ggml's.
    pub const fn block(&self) -> Option<BlockFormat> {
        match self {
            Self::Block(format) => Some(*format),
            Self::Ggml(_) => None,
        }
    }

    /// ggml's format; `None` for a block format.
    pub const fn ggml(&self) -> Option<GgmlFormat> {
        match self {
            Self::Block(_) => None,
            Self::Ggml(format) => Some(*format),
        }
    }

    /// Bytes of a packed `[rows, cols]` matrix, scales included.
    pub const fn packed_bytes(&self, rows: usize, cols: usize) -> usize {
        match self {
            Self::Block(format) => {
                let (codes, scales) = format.packed_bytes(rows, cols);
                codes + scales
            }
            Self::Ggml(format) => rows * format.row_bytes(cols),
        }
    }
}

impl From<BlockFormat> for MatrixFormat {
    fn from(format: BlockFormat) -> Self {
        Self::Block(format)
    }
}

impl fmt::Display for MatrixFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(format) => format.fmt(f),
            Self::Ggml(format) => format.fmt(f),
        }
    }
}
