//! W, and how its rows may be read.

use super::activations::Activations;
use super::codecs::{Codecs, Elements, exponent};
use super::coding::PanelCodes;
use super::dense::Bf16Rows;
use super::panels::Panels;
use super::range::ScaleRange;
use crate::format::FloatType;

/// Columns that have one scale in every format that is decoded in registers.
pub(super) const RUN: usize = 16;

/// W.
pub(super) enum Weights<'a> {
    Packed(PackedWeights<'a>),
    Dense(Bf16Rows<'a>),
}

/// A matrix [rows, cols] whose values are rounded to a type.
pub(super) struct PackedWeights<'a> {
    pub panels: &'a Panels,
    pub value_type: FloatType,
}

/// How the values of some rows may be read and multiplied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Decoded in registers.
    Words(Decoding),
    /// The same, and bf16 pairs are exact.
    Pairs(Decoding),
    /// Row by row, by the dequantise kernel: any format, any rounding.
    Rows,
}

/// How codes are decoded in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decoding {
    /// Of [`Kind`].
    pub kind: u8,
    /// Whether values have to be rounded to bf16.
    pub rounds: bool,
}

/// The kinds of decoders, as const generic parameters.
pub(super) struct Kind;

impl Kind {
    /// Tables of pairs.
    pub const PAIRS: u8 = 0;
    /// Elements of four bits whose exponents scales are applied to.
    pub const LIFTED: u8 = 1;
    /// As [`Elements`] has them.
    pub const SMALL: u8 = 2;
    pub const WIDE: u8 = 3;
    pub const SPLIT_6: u8 = 4;
    pub const SPLIT_8: u8 = 5;
    pub const INTEGERS: u8 = 6;

    /// The kind that applies scales by multiplication.
    pub fn of_products(codecs: &Codecs, width: PanelCodes) -> u8 {
        match &codecs.elements {
            Some(Elements::Wide(_)) => Self::WIDE,
            Some(Elements::Split(_)) if width == PanelCodes::Bits6 => Self::SPLIT_6,
            Some(Elements::Split(_)) => Self::SPLIT_8,
            Some(Elements::Integers { .. }) => Self::INTEGERS,
            Some(Elements::Small(..)) | None => Self::SMALL,
        }
    }
}

impl Weights<'_> {
    pub fn rows(&self) -> usize {
        match self {
            Self::Packed(weights) => weights.panels.rows(),
            Self::Dense(rows) => rows.rows(),
        }
    }

    pub fn cols(&self) -> usize {
        match self {
            Self::Packed(weights) => weights.panels.cols(),
            Self::Dense(rows) => rows.cols(),
        }
    }

    /// Whether all values are bf16, most of the time.
    pub fn is_bf16(&self) -> bool {
        match self {
            Self::Packed(weights) => {
                weights.value_type == FloatType::Bf16 || weights.panels.codecs().is_bf16()
            }
            Self::Dense(_) => true,
        }
    }
}

/// log2 of the smallest normal f32, and of the smallest subnormal ones of bf16 and f32.
const LEAST_NORMAL: i32 = -126;
const LEAST_BF16: i32 = -133;
const LEAST: i32 = -149;

impl PackedWeights<'_> {
    /// How rows are read with scales of such a range, where x is taken as bf16 pairs if `is_paired`
    /// and it is there so. What is subnormal must be kept, unless it counts as zero: `flushes`.
    pub fn reading(
        &self,
        range: ScaleRange,
        x: &Activations,
        is_paired: bool,
        flushes: bool,
    ) -> Reading {
        let (coding, codecs) = (self.panels.coding(), self.panels.codecs());
        let ScaleRange { least, most, .. } = range;
        let unit = codecs.unit.saturating_add(exponent(least));
        let is_bf16 = codecs.is_bf16();
        let rounds = match self.value_type {
            FloatType::F32 => false,
            // Subnormals too: multiples of the smallest.
            FloatType::Bf16 => !(is_bf16 && (unit >= LEAST_BF16 || flushes)),
            FloatType::F16 => return Reading::Rows,
        };
        if !coding.block_size.is_multiple_of(RUN)
            || !range.is_finite
            || rounds && !codecs.rounds_within(range)
            || codecs.elements.is_none()
            || exponent(least) < codecs.least_scale()
        {
            return Reading::Rows;
        }
        let products = Decoding {
            kind: Kind::of_products(codecs, coding.width),
            rounds,
        };
        let by = |kind: u8| Decoding { kind, ..products };
        // With these tables -0 is 0, which is the same unless a sum may be -0.
        let lifted = codecs.lifted(most).filter(|_| !rounds);
        let is_normal = unit >= LEAST_NORMAL || flushes;
        if let Some(x_unit) = x.pairs_unit().filter(|_| is_paired) {
            let unit = if rounds {
                // bf16 has seven bits behind the first; a minimum may leave any of them.
                let least = codecs.least_exponent.saturating_add(exponent(least));
                if coding.has_minimum {
                    i32::MIN / 2
                } else {
                    least - 8
                }
            } else {
                unit
            };
            let is_kept = unit >= LEAST_NORMAL && unit.saturating_add(x_unit) >= LEAST_NORMAL;
            if (is_bf16 && !rounds || rounds && !flushes) && (is_kept || flushes) {
                let is_whole = self.panels.cols().is_multiple_of(RUN);
                return Reading::Pairs(match lifted {
                    Some(_) if is_normal && is_whole => by(Kind::PAIRS),
                    _ => products,
                });
            }
        }
        let is_small = lifted.is_some_and(|lifted| lifted.small.is_some());
        if is_small && unit >= LEAST_NORMAL && unit.saturating_add(x.unit()) >= LEAST {
            return Reading::Words(by(Kind::LIFTED));
        }
        Reading::Words(products)
    }
}
