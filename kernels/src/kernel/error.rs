//! Errors of choosing and launching a kernel.

use crate::format::{FormatError, Rotation};
use crate::support::Unsupported;
use mxlab_harness::device::DeviceError;

/// Why there is no kernel.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VariantError {
    /// A format that the kernel does not take.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// Heads longer than a warp has registers for.
    #[error("no kernel for heads of {head_dim} features; expected at most 128")]
    HeadDim {
        /// Features of a head.
        head_dim: usize,
    },
    /// Rows rotated as no kernel does it.
    #[error(
        "no kernel rotates rows by {rotation}; expected blocks of a power of two from 8 to 256 \
         columns"
    )]
    Rotation {
        /// The rotation.
        rotation: Rotation,
    },
    /// Heads rotated as no kernel does it.
    #[error(
        "no kernel rotates heads of queries and keys in blocks of {size} features; expected 8, \
         16, 32, 64 or 128"
    )]
    HeadRotation {
        /// Features of a block.
        size: usize,
    },
    /// The format is not defined for this float type.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Why a launch was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No kernel takes the format.
    #[error(transparent)]
    Variant(#[from] VariantError),
    /// The device refused or stopped the kernel.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// An operand is missing.
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
