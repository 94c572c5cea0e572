//! A packed matrix as numbers that the decoder computes with, and when bf16 holds its values.

use crate::cpu::lanes::Codec;
use crate::format::{FloatType, PackedTensor, ScaleFormat};

/// A packed matrix [rows, cols].
pub(super) struct Weights<'a> {
    pub packed: &'a PackedTensor,
    pub value_type: FloatType,
    pub codec: Codec,
    pub scale: ScaleCodec,
    /// The significant bits that values may have.
    bits: u32,
    /// log2 of what all values are multiples of, under a scale with exponent 0.
    unit: i32,
}

/// How the code of a scale becomes its value.
#[derive(Clone, Copy)]
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

impl<'a> Weights<'a> {
    pub fn new(packed: &'a PackedTensor, value_type: FloatType) -> Self {
        let (element, scale) = (packed.element(), packed.scale());
        let values = element.codes().map(|code| element.decode(code));
        let (element_bits, element_unit) = values.map(bits_and_unit).fold((1, i32::MAX), widest);
        let (tensor_bits, tensor_unit) = bits_and_unit(packed.tensor_scale());
        let scale_bits = significant_bits(scale);
        Self {
            packed,
            value_type,
            codec: Codec::of_element(element, FloatType::F32, 0.0),
            scale: ScaleCodec::new(scale),
            bits: product_bits(product_bits(element_bits, scale_bits), tensor_bits),
            unit: element_unit
                .saturating_add(tensor_unit)
                .saturating_sub(scale_bits as i32 - 1),
        }
    }

    pub fn cols(&self) -> usize {
        self.packed.cols()
    }

    /// Whether the significant bits of every value fit bf16.
    pub fn is_bf16(&self) -> bool {
        self.bits <= 8
    }

    /// Whether codes are bf16 by a table of four bits, and scales powers of two of 32 columns.
    pub fn is_nibbles(&self) -> bool {
        let (packed, format) = (self.packed, self.packed.format());
        self.is_bf16()
            && packed.element().bits() == 4
            && packed.element().max_normal() < 8.0
            && packed.scale().is_power_of_two()
            && format.block_size().is_multiple_of(32)
            && packed.cols().is_multiple_of(32)
    }

    /// How rows are read whose smallest scale but 0 is `least`, where x are multiples of
    /// 2^`x_unit`, if that is known.
    pub fn reading(&self, least: f32, x_unit: Option<i32>) -> Reading {
        let element = self.packed.element();
        if !matches!(element.bits(), 4 | 6 | 8)
            || !self.packed.format().block_size().is_multiple_of(16)
        {
            return Reading::Rows;
        }
        let unit = self.unit.saturating_add(exponent(least));
        let is_exact = match self.value_type {
            FloatType::F32 => true,
            // Subnormals too: multiples of the smallest.
            FloatType::Bf16 => self.is_bf16() && unit >= -133,
            FloatType::F16 => false,
        };
        if !is_exact {
            return Reading::Rows;
        }
        let products = x_unit.map(|x_unit| unit.saturating_add(x_unit));
        if self.is_bf16() && unit >= -126 && products.is_some_and(|products| products >= -126) {
            Reading::Pairs
        } else {
            Reading::Words
        }
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
