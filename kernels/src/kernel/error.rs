//! Why a kernel was not launched.

use crate::ptx::VariantError;
use mxlab_harness::device::DeviceError;

/// A launch that did not happen, or failed.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// There is no such kernel.
    #[error(transparent)]
    Variant(#[from] VariantError),
    /// The device refused or stopped it.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// An operand that the family needs was not given.
    #[error("{kernel}: no {operand} given")]
    Missing {
        /// The kernel's id.
        kernel: String,
        /// The parameter.
        operand: &'static str,
    },
    /// A buffer ends before the operand does.
    #[error("{kernel}: {operand} needs bytes {first}..{end}, its buffer has {got}")]
    TooSmall {
        /// The kernel's id.
        kernel: String,
        /// The parameter.
        operand: &'static str,
        /// Where the operand begins in the buffer.
        first: usize,
        /// Where it ends.
        end: usize,
        /// Bytes of the buffer.
        got: usize,
    },
    /// The kernel needs an alignment, a stride or a width that the operands do not have.
    #[error("{kernel}: {reason}")]
    Layout {
        /// The kernel's id.
        kernel: String,
        /// What does not fit.
        reason: String,
    },
}
