//! The chips that kernels are written for.

use super::BlockOperation;
use crate::format::BlockFormat;
use crate::support::{ConversionSet, Taker, support};
use std::fmt;

/// A target, by the element conversions that its kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// No conversions: every kernel, on every chip from Ampere on.
    Sm80,
    /// FP8; on every chip from Ada on.
    Sm89,
    /// FP4 and FP6; on data-centre Blackwell only.
    Sm100a,
    /// FP4 and FP6; on consumer Blackwell only.
    Sm120a,
}

impl Target {
    /// Every target there is.
    pub const ALL: [Self; 4] = [Self::Sm80, Self::Sm89, Self::Sm100a, Self::Sm120a];

    /// What follows `sm_`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sm80 => "80",
            Self::Sm89 => "89",
            Self::Sm100a => "100a",
            Self::Sm120a => "120a",
        }
    }

    /// The number in it.
    pub const fn sm(self) -> u32 {
        match self {
            Self::Sm80 => 80,
            Self::Sm89 => 89,
            Self::Sm100a => 100,
            Self::Sm120a => 120,
        }
    }

    /// Whether a chip of compute capability `sm` runs it: those named with an `a` run on no other.
    pub const fn runs_on(self, sm: u32) -> bool {
        match self {
            Self::Sm80 | Self::Sm89 => sm >= self.sm(),
            Self::Sm100a | Self::Sm120a => sm == self.sm(),
        }
    }

    /// The lowest PTX version that has the target and its conversions (PTX ISA, cvt).
    pub const fn ptx_version(self) -> &'static str {
        match self {
            Self::Sm80 => "7.0",
            Self::Sm89 => "8.1",
            Self::Sm100a => "8.6",
            Self::Sm120a => "8.7",
        }
    }

    /// Whether the target converts the elements of a kernel: they are floats of its kind, and what
    /// is rounded is rounded half to even and keeps the sign of zero.
    pub(super) fn has_conversions(self, operation: BlockOperation, format: &BlockFormat) -> bool {
        let set = match self {
            Self::Sm80 => return false,
            Self::Sm89 => ConversionSet::Fp8,
            Self::Sm100a | Self::Sm120a => ConversionSet::Fp4Fp6,
        };
        let rounds = match operation {
            BlockOperation::TensorScale | BlockOperation::Scale => return false,
            BlockOperation::Round | BlockOperation::Quantize | BlockOperation::FakeQuantize => true,
            BlockOperation::Dequantize => false,
        };
        support(format).has(Taker::Conversion { set, rounds })
    }
}

impl From<Target> for mxlab_harness::assemble::Target {
    fn from(target: Target) -> Self {
        target.name().parse().expect("the name of a target")
    }
}

impl fmt::Display for Target {
    /// As in `sm_100a`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("sm_{}", self.name()))
    }
}
