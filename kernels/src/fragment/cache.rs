//! How keys and values lie in the cache, and how their scales reach the operands of a tensor core.
//!
//! A cache has rows [slot, head, position]. A row of codes is runs of 16 features, each stored as
//! [`bits`](super::bits) has it; a row of scales has one for each block of k along the head, as they are.

use super::OperandType;
use super::bits::StoredBits;
use super::layout::Factor;
use crate::format::{BlockFormat, ElementFormat, ScaleFormat};
use crate::kernel::{ElementType, Extent, size};

/// Features of a run.
pub const RUN: usize = 16;

/// What operands are short of where scales have the exponents of f32: keys and values between 2^-63 and 2^63 are
/// what tensor cores see without loss.
const EXCESS: i32 = 63;

/// What the rows of a cache are.
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
    /// That of a block format; of `None`, bf16.
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

    /// What codes are as elements of a buffer: bytes, or numbers in bf16.
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

    /// How a scale's code becomes the bf16 that stored halves are multiplied by; `None` if it has more bits
    /// than that, or its products with the values of a table would be rounded twice, or elements are not stored so.
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

    /// What the operands are to be multiplied by: 2^A.
    pub fn excess(&self) -> i32 {
        self.factor().and_then(|factor| factor.excess).unwrap_or(0)
    }
}
