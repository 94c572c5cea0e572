//! Kernels on shapes, to be timed.

use crate::BenchError;
use mxlab_harness::measure::Timed;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A kernel on a shape, and its least cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The kernel.
    pub kernel: String,
    /// Its family.
    pub family: String,
    /// Rows of the tensor, or of the weights.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Tokens that weights are multiplied by.
    pub tokens: Option<usize>,
    /// Bytes that must move, each once.
    pub bytes: u64,
    /// Multiplications and additions of products; 0 for kernels that have none.
    pub operations: u64,
}

impl Case {
    /// Whether it is the same kernel on the same shape.
    pub fn is_like(&self, other: &Self) -> bool {
        let key = |case: &Self| (case.rows, case.cols, case.tokens);
        self.kernel == other.kernel && key(self) == key(other)
    }

    /// The shape, such as `4096x4096, 16 tokens`.
    pub fn shape(&self) -> Shape<'_> {
        Shape(self)
    }
}

/// The shape of a case, to be printed.
pub struct Shape<'c>(&'c Case);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case {
            rows, cols, tokens, ..
        } = self.0;
        match tokens {
            Some(tokens) => f.pad(&format!("{rows}x{cols}, {tokens} tok")),
            None => f.pad(&format!("{rows}x{cols}")),
        }
    }
}

/// Something that can be timed once it is opened.
pub trait Target {
    /// What it is.
    fn case(&self) -> &Case;

    /// Bytes that it holds while it is open.
    fn memory(&self) -> u64;

    /// Verifies it and makes it ready.
    ///
    /// # Errors
    /// If it is wrong, or cannot be run.
    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError>;
}

/// A target that is ready to be timed.
pub trait Opened: Timed<Error = BenchError> {}

impl<T: Timed<Error = BenchError>> Opened for T {}

/// The bounds of kernels on a machine, as targets that every round times.
pub struct Roof {
    /// Its bytes are read and written.
    pub copy: Box<dyn Target>,
    /// Its operations are those of a product of matrices.
    pub product: Option<Box<dyn Target>>,
    /// A kernel that does nothing, launched as the others are; where kernels are launched.
    pub empty: Option<Box<dyn Target>>,
}
