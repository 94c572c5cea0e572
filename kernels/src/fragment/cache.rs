//! The layout of keys and values in the cache, and how their scales reach the operands of a tensor
//! core.
//!
//! A cache has rows [slot, head, position]. A row of codes consists of runs of 16 features, each
//! stored as in [`bits`](super::bits). A row of scales has one scale for each block of k along the
//! head, unchanged.

use super::OperandType;
use super::bits::StoredBits;
use super::layout::Factor;
use crate::format::{BlockFormat, ElementFormat, ScaleFormat};
use crate::kernel::{ElementType, Extent, size};

/// Features of a run.
pub const RUN: usize = 16;

/// The exponent that operands leave out where scales have the exponents of f32: tensor cores see
/// keys and values between 2^-63 and 2^63 without loss.
const EXCESS: i32 = 63;

/// How the rows of a cache are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheFormat {
    /// bf16.
    Dense,
    /// Codes and scales.
    Packed {
        /// The element format.
        element: ElementFormat,
        /// The scale format.
        scale: ScaleFormat,
        /// k.
        block_size: usize,
    },
}

impl CacheFormat {
    /// The cache format of a block format; bf16 for `None`.
    pub fn new(format: Option<&BlockFormat>) -> Self {
        format.map_or(Self::Dense, |format| Self::Packed {
            element: format.element(),
            scale: format.scale(),
            block_size: format.block_size(),
        })
    }

    /// Bits of a stored feature.
    pub fn bits(&self) -> u32 {
        match self {
            Self::Dense => 16,
            Self::Packed { element, .. } => element.bits(),
        }
    }

    /// Bytes of a run.
    pub const fn run_bytes(&self) -> usize {
        match self {
            Self::Dense => 2 * RUN,
            Self::Packed { element, .. } => element.layout().bytes(RUN),
        }
    }

    /// Bytes of the codes of a row: whole runs.
    pub fn row_bytes(&self, head_dim: usize) -> usize {
        head_dim.div_ceil(RUN) * self.run_bytes()
    }

    /// Bytes of the scales of a row.
    pub fn row_scale_bytes(&self, head_dim: usize) -> usize {
        match self {
            Self::Dense => 0,
            Self::Packed {
                scale, block_size, ..
            } => head_dim.div_ceil(*block_size) * scale.storage_bytes(),
        }
    }

    /// The element type of the buffer of codes: bytes, or bf16.
    pub const fn stored(&self) -> ElementType {
        match self {
            Self::Dense => ElementType::Bf16,
            Self::Packed { .. } => ElementType::U8,
        }
    }

    /// [`CacheFormat::row_bytes`] of the size `head_dim`, in elements of [`CacheFormat::stored`].
    pub fn row_extent(&self) -> Extent {
        size("head_dim").div_ceil(RUN) * (self.run_bytes() / self.stored().bytes())
    }

    /// [`CacheFormat::row_scale_bytes`] of the size `head_dim`.
    pub fn row_scale_extent(&self) -> Extent {
        match self {
            Self::Dense => 0.into(),
            Self::Packed {
                scale, block_size, ..
            } => size("head_dim").div_ceil(*block_size) * scale.storage_bytes(),
        }
    }

    /// Elements of rows of bf16 beside a packed cache: [slots, heads, exact] of the sizes of these
    /// names, whole runs of the size `head_dim`.
    pub fn exact_rows(heads: &'static str) -> Extent {
        size("slots") * size(heads) * size("exact") * Self::Dense.row_extent()
    }

    /// How a scale's code becomes the bf16 factor of the stored halves. `None` if the scale has
    /// more bits than bf16, if its products with the values of a table would round twice, or if
    /// elements are not stored as halves.
    pub fn factor(&self) -> Option<Factor> {
        let Self::Packed { element, scale, .. } = self else {
            return None;
        };
        let stored = StoredBits::of_operand(*element, OperandType::Bf16)?;
        let is_table = matches!(stored, StoredBits::Nibbles(_));
        // The fields of a code, read as those of a bf16, are the scale times 2^(bias - 127).
        let (shift, bias, excess) = match *scale {
            ScaleFormat::E8M0 { .. } => (7, scale.exponent_limit()?, EXCESS),
            ScaleFormat::Bf16 if !is_table => (0, 127, EXCESS),
            ScaleFormat::Unsigned {
                exponent_bits,
                mantissa_bits,
            } if !is_table && mantissa_bits <= 7 => {
                let half = 1 << (exponent_bits - 1);
                (7 - u32::from(mantissa_bits), half - 1, half)
            }
            ScaleFormat::Unsigned { .. }
            | ScaleFormat::Fp16
            | ScaleFormat::Bf16
            | ScaleFormat::Fp32 => return None,
        };
        let total = stored.exponent() - excess + 127 - bias;
        Some(Factor {
            shift,
            exponents: [total.min(127), total - total.min(127)],
            excess: Some(excess),
        })
    }

    /// A: operands times 2^A are the keys or values.
    pub fn excess(&self) -> i32 {
        self.factor().and_then(|factor| factor.excess).unwrap_or(0)
    }
}
