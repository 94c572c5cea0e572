//! A format as numbers that the decoders compute with, and when bf16 holds its values.

use super::dense::Bf16Rows;
use super::panels::Panels;
use crate::cpu::lanes::Codec;
use crate::format::{BlockFormat, CodeLayout, FloatType, Grid, ScaleFormat, pow2};

/// Columns that have one scale in every format that is decoded in registers.
pub(super) const RUN: usize = 16;

/// How the codes of a matrix become values, and the properties of these values.
#[derive(Clone, Debug)]
pub(super) struct Codecs {
    pub element: Codec,
    pub scale: ScaleCodec,
    /// The significant bits that values may have.
    bits: u32,
    /// log2 of what all values are multiples of, under a scale with exponent 0.
    unit: i32,
    /// Where the format has one.
    table: Option<PairTable>,
}

/// Elements as bf16, times a power of two so large that the largest is just finite: scales make
/// them smaller.
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "no step of pairs")
)]
#[derive(Clone, Debug)]
pub(super) struct PairTable {
    /// Two in a word, the first low, of 128 codes: again and again if there are fewer, without the
    /// sign if there are more.
    pub values: [u32; 64],
    /// The code of the scale that would leave them as they are.
    pub unscaled: u32,
    /// The value of that scale.
    largest_scale: f32,
}

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

/// How the code of a scale becomes its value.
#[derive(Clone, Copy, Debug)]
pub(super) enum ScaleCodec {
    /// 2^(code - limit), all ones NaN.
    Power { limit: i32, nan_code: u32 },
    /// A small float.
    Float(Codec),
    /// The upper bits of an f32: those above `shift`.
    Upper { shift: u32 },
}

/// How the values of some rows may be read and multiplied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Decoded in registers.
    Words,
    /// The same, and bf16 pairs are exact.
    Pairs,
    /// Row by row, by the dequantise kernel: any format, any rounding.
    Rows,
}

impl Codecs {
    pub fn new(format: &BlockFormat, tensor_scale: f32) -> Self {
        let (element, scale) = (format.element(), format.scale());
        let values = element.codes().map(|code| element.decode(code));
        let (element_bits, element_unit) = values.map(bits_and_unit).fold((1, i32::MAX), widest);
        let (tensor_bits, tensor_unit) = bits_and_unit(tensor_scale);
        let scale_bits = significant_bits(scale);
        Self {
            element: Codec::of_element(element, FloatType::F32, 0.0),
            scale: ScaleCodec::new(scale),
            bits: product_bits(product_bits(element_bits, scale_bits), tensor_bits),
            unit: element_unit
                .saturating_add(tensor_unit)
                .saturating_sub(scale_bits as i32 - 1),
            table: PairTable::new(format),
        }
    }

    /// The table, if it holds for scales of magnitudes up to `most`.
    pub fn table(&self, most: f32) -> Option<&PairTable> {
        let table = self.table.as_ref();
        // False of NaN.
        table.filter(|table| most <= table.largest_scale)
    }

    /// Whether the significant bits of every value fit bf16.
    pub fn is_bf16(&self) -> bool {
        self.bits <= 8
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
            Self::Packed(weights) => weights.panels.codecs().is_bf16(),
            Self::Dense(_) => true,
        }
    }
}

impl PackedWeights<'_> {
    /// How rows are read whose smallest scale but 0 is `least`, where x are multiples of
    /// 2^`x_unit`, if they are bf16. What is subnormal must be kept, unless it counts as zero:
    /// `flushes`.
    pub fn reading(&self, least: f32, x_unit: Option<i32>, flushes: bool) -> Reading {
        let (format, codecs) = (self.panels.format(), self.panels.codecs());
        if !format.block_size().is_multiple_of(RUN) {
            return Reading::Rows;
        }
        let unit = codecs.unit.saturating_add(exponent(least));
        let is_exact = match self.value_type {
            FloatType::F32 => true,
            // Subnormals too: multiples of the smallest.
            FloatType::Bf16 => codecs.is_bf16() && (unit >= -133 || flushes),
            FloatType::F16 => false,
        };
        if !is_exact {
            return Reading::Rows;
        }
        let is_kept = |x_unit: i32| flushes || unit >= -126 && unit.saturating_add(x_unit) >= -126;
        if codecs.is_bf16() && x_unit.is_some_and(is_kept) {
            Reading::Pairs
        } else {
            Reading::Words
        }
    }
}

impl PairTable {
    /// If elements are bf16 of up to six bits, or of eight whose highest is a sign, and scales
    /// powers of two.
    fn new(format: &BlockFormat) -> Option<Self> {
        let element = format.element();
        let limit = format.scale().exponent_limit()?;
        let is_bf16 = element
            .codes()
            .all(|code| bits_and_unit(element.decode(code)).0 <= 8);
        let has_sign = matches!(element.grid(), Grid::Float(_));
        let has_index = match element.layout() {
            CodeLayout::Bits2
            | CodeLayout::Bits3
            | CodeLayout::Bits4
            | CodeLayout::Bits5
            | CodeLayout::Bits6 => true,
            // Decoded as eight bits, the highest a sign.
            CodeLayout::Bits7 => false,
            CodeLayout::Bits8 => has_sign,
        };
        if !is_bf16 || !has_index || format.has_tensor_scale() {
            return None;
        }
        let values = element.codes().map(|code| element.decode(code));
        let largest = values
            .filter(|value| value.is_finite())
            .fold(0.0, |largest: f32, value| largest.max(value.abs()));
        let lift = 127 - exponent(largest);
        let largest_scale = pow2(lift) as f32;
        let half = |index: usize| {
            let code = index as u8 & element.layout().mask();
            // Without -0, which adds as little.
            (element.decode(code) * largest_scale + 0.0).to_bits() >> 16
        };
        Some(Self {
            values: std::array::from_fn(|word| half(2 * word) | half(2 * word + 1) << 16),
            unscaled: (lift + limit) as u32,
            largest_scale,
        })
    }
}

impl ScaleCodec {
    fn new(scale: ScaleFormat) -> Self {
        match scale {
            ScaleFormat::E8M0 { bits } => Self::Power {
                limit: (1 << (bits - 1)) - 1,
                nan_code: scale.nan_code(),
            },
            ScaleFormat::Unsigned { .. } | ScaleFormat::Fp16 => Self::Float(Codec::of_scale(scale)),
            ScaleFormat::Bf16 => Self::Upper { shift: 16 },
            ScaleFormat::Fp32 => Self::Upper { shift: 0 },
        }
    }
}

/// The significant bits of a product.
fn product_bits(a: u32, b: u32) -> u32 {
    if a == 1 || b == 1 { a.max(b) } else { a + b }
}

/// The significant bits that a scale may have.
fn significant_bits(scale: ScaleFormat) -> u32 {
    match scale {
        ScaleFormat::E8M0 { .. } => 1,
        ScaleFormat::Unsigned { mantissa_bits, .. } => u32::from(mantissa_bits) + 1,
        ScaleFormat::Fp16 => 11,
        ScaleFormat::Bf16 => 8,
        ScaleFormat::Fp32 => 24,
    }
}

/// The significant bits of a number, and log2 of its lowest; zero and what is not finite count as
/// one bit above all.
fn bits_and_unit(x: f32) -> (u32, i32) {
    if x == 0.0 || !x.is_finite() {
        return (1, i32::MAX);
    }
    let bits = x.to_bits() & 0x7FFF_FFFF;
    let (exponent, mantissa) = if bits < 1 << 23 {
        (1, bits)
    } else {
        (bits >> 23, bits & 0x7F_FFFF | 1 << 23)
    };
    let zeros = mantissa.trailing_zeros();
    let unit = exponent as i32 - 150 + zeros as i32;
    (32 - mantissa.leading_zeros() - zeros, unit)
}

fn widest(a: (u32, i32), b: (u32, i32)) -> (u32, i32) {
    (a.0.max(b.0), a.1.min(b.1))
}

/// floor(log2 x) of a magnitude; that of zero is below all others, that of infinity above.
fn exponent(x: f32) -> i32 {
    let bits = x.to_bits() & 0x7FFF_FFFF;
    if bits < 1 << 23 {
        // A subnormal is a multiple of 2^-149.
        31 - 149 - bits.leading_zeros() as i32
    } else {
        (bits >> 23) as i32 - 127
    }
}
