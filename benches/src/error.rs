//! Why something could not be timed.

use mxlab_harness::device::DeviceError;
use mxlab_kernels::format::FormatError;
use mxlab_kernels::kernel::LaunchError;
use mxlab_kernels::registry::{EntryError, Failure};

/// Why something could not be timed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A kernel differs from its reference, so its time means nothing.
    #[error("refused: it differs from the reference: {0}")]
    Wrong(String),
    /// Launches of a kernel on the same operands gave different outputs.
    #[error("refused: two launches of it gave different outputs: {0}")]
    Unsteady(String),
    /// A kernel could not be run or verified.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// A problem, or a launch of it, failed.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A kernel could not be loaded.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A format does not fit a matrix.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A shape that a kernel does not have.
    #[error("{kernel}: {reason}")]
    Shape {
        /// The kernel.
        kernel: String,
        /// What does not fit.
        reason: String,
    },
    /// A model could not be loaded or run.
    #[error("{0}")]
    Model(String),
    /// A peer program failed.
    #[error("{name}: {reason}")]
    Peer {
        /// The program.
        name: String,
        /// What it said, or what is missing.
        reason: String,
    },
}
