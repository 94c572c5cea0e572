//! The registry: every PTX kernel, its problems, and its expected outputs.
//!
//! `mxlab list`, `mxlab verify`, fuzzing, mutation, benches and the tests walk [`kernels`].
//! [`guide`] shows step by step how to add a kernel.

mod expected;
mod grid;
#[doc = include_str!("../../ADD_A_KERNEL.md")]
pub mod guide {}
mod problem;
mod sampled;
mod substitute;
pub(crate) mod sums;
mod task;
mod tensor;
mod typical;
pub(crate) use typical::Typical;
mod verify;

pub use crate::kernel::Shape;
pub use expected::{Expectation, Expected, Range, exactly};
pub use grid::{Grid, Place};
pub(crate) use problem::{MAX_ELEMENTS, check_elements};
pub use problem::{Outputs, Problem, ProblemError, UNTOUCHED};
pub(crate) use sampled::Elements;
pub use sampled::{Sampled, SampledError};
pub use substitute::Substitute;
pub(crate) use task::{Image, download};
pub use task::{Prepared, Runner, Task};
pub use tensor::{ElementType, PartialElement, Tensor};
pub use verify::{Failure, Mismatch, OutputError, verify, verify_against};

use crate::family::{self, Family};
use crate::format::FormatError;
use crate::fragment::FragmentError;
use crate::kernel::{Kernel, LaunchError, runner};
use crate::support::Unsupported;
use mxlab_harness::device::Device;
use rand_chacha::ChaCha8Rng;

/// A kernel and how it is checked.
pub trait Entry: Kernel {
    /// A problem of about `elements` elements, at least one.
    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem;

    /// A problem of that shape as models have it, for benches: dense rows, normal-like values. Work
    /// is split as for a device that `thread_blocks` fill (see
    /// [`SplitLimits`](crate::kernel::SplitLimits)).
    ///
    /// # Errors
    /// If the kernel has no problem of that shape.
    fn problem_of(
        &self,
        rng: &mut ChaCha8Rng,
        shape: Shape,
        thread_blocks: usize,
    ) -> Result<Problem, EntryError>;

    /// Elements of a problem.
    fn elements(&self, problem: &Problem) -> u64;

    /// The expected outputs, by the scalar reference.
    ///
    /// # Errors
    /// If the problem does not fit the kernel.
    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError>;

    /// The results that can be recomputed one by one; `None` if only all together.
    ///
    /// # Errors
    /// If the problem does not fit the kernel.
    fn grid(&self, _problem: &Problem) -> Result<Option<Grid>, EntryError> {
        Ok(None)
    }

    /// The expected outputs at some places of [`Entry::grid`], by the scalar reference, without
    /// computing the others. A kernel without a grid returns all of [`Entry::reference`]. Elements
    /// between the rows of an output are not covered.
    ///
    /// # Errors
    /// As [`Entry::reference`].
    fn reference_at(&self, problem: &Problem, _places: &[Place]) -> Result<Sampled, EntryError> {
        Ok(Sampled::whole(self.reference(problem)?))
    }

    /// Turns a problem into the operands of the signature, again as a problem: for example codes in
    /// fragment order.
    ///
    /// # Errors
    /// If the problem does not fit the kernel.
    fn lower(&self, problem: &Problem) -> Result<Problem, EntryError> {
        Ok(problem.clone())
    }

    /// Loads `ptx` in place of [`Kernel::ptx`].
    ///
    /// # Errors
    /// If the device refuses the text.
    fn load<'a>(&'a self, device: &Device, ptx: &str) -> Result<Box<dyn Runner + 'a>, LaunchError> {
        runner(device, self.signature(), ptx, |problem| self.lower(problem))
    }

    /// Smaller problems of the same kind, the smallest first.
    fn smaller(&self, _problem: &Problem) -> Vec<Problem> {
        Vec::new()
    }
}

impl Shape {
    /// Itself.
    ///
    /// # Errors
    /// If the shape has no rows or columns, or more than [`MAX_ELEMENTS`].
    pub(crate) fn check(self) -> Result<Self, ProblemError> {
        check_elements("rows", self.rows, self.cols)?;
        check_elements("tokens", self.tokens.unwrap_or(1), self.cols)?;
        Ok(self)
    }
}

/// Why a kernel or its reference has no result.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The problem does not fit the kernel.
    #[error(transparent)]
    Problem(#[from] ProblemError),
    /// The reference refuses the format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The weights have no fragment order.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// A format that the kernel does not take.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A buffer does not hold whole elements.
    #[error(transparent)]
    Partial(#[from] PartialElement),
    /// The launch failed.
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

impl From<mxlab_harness::device::DeviceError> for EntryError {
    fn from(error: mxlab_harness::device::DeviceError) -> Self {
        Self::Launch(error.into())
    }
}

/// Every kernel.
pub fn kernels() -> impl Iterator<Item = Box<dyn Entry>> {
    kernels_of(family::LIST)
}

/// Every kernel of some families.
pub fn kernels_of(list: &[Family]) -> impl Iterator<Item = Box<dyn Entry>> {
    list.iter().flat_map(|family| (family.kernels)())
}
