//! Kernels on shapes, to be timed.

use crate::BenchError;
use mxlab_harness::measure::Timed;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A kernel on a shape, and its least cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Bytes that must move: each that is read once, and each that is written once.
    pub bytes: u64,
    /// Those of them that are written; `None` where reads and writes are not told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<u64>,
    /// Bytes of memory that a run touches, those in place once; `None` is as many as move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_set: Option<u64>,
    /// Multiplications and additions of products; 0 for kernels that have none.
    pub operations: u64,
    /// The roof of its arithmetic, by name. A peer names the type of its operands: `f32`, `bf16`
    /// or `int8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arithmetic: Option<String>,
}

impl Case {
    /// Bytes of memory that a run touches.
    pub fn working_set(&self) -> u64 {
        self.working_set.unwrap_or(self.bytes)
    }

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
            Some(tokens) if rows + cols == 0 => f.pad(&format!("{tokens} tok")),
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
    /// Kinds of traffic on working sets of several sizes; of the CPU.
    pub memory: Vec<Box<dyn Target>>,
    /// Kinds of arithmetic out of registers; of the CPU.
    pub arithmetic: Vec<Box<dyn Target>>,
}

impl Roof {
    /// All of them.
    pub fn targets(&self) -> impl Iterator<Item = &dyn Target> {
        let others = self.product.iter().chain(&self.empty);
        let others = others.chain(&self.memory).chain(&self.arithmetic);
        std::iter::once(&self.copy)
            .chain(others)
            .map(|target| &**target)
    }
}

/// The level that bounds a case: of some working sets, the largest that is no larger than its own,
/// or the smallest. Bandwidth falls with size, so this bound holds.
pub fn level_of(sets: impl IntoIterator<Item = u64> + Clone, case: &Case) -> Option<u64> {
    let all = || sets.clone().into_iter();
    let inside = all().filter(|&set| set <= case.working_set()).max();
    inside.or_else(|| all().min())
}
