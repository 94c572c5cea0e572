//! A matrix's coding as tables that the decoders look up, and the properties of its values.

use super::coding::{Coding, PanelCodes};
use super::range::ScaleRange;
use crate::cpu::lanes::Codec;
use crate::format::{ScaleFormat, pow2};

/// Bits below a signed byte that stands at the top of a word.
pub(super) const INTEGER_SHIFT: i32 = 24;

/// How the codes of a matrix become values, and the properties of these values.
#[derive(Clone, Debug)]
pub(super) struct Codecs {
    /// The elements as they are, to be multiplied by scales; `None` if no table holds them.
    pub elements: Option<Elements>,
    pub scale: ScaleCodec,
    /// Where scales can be applied to exponents.
    lifted: Option<Lifted>,
    /// The significant bits that values may have.
    bits: u32,
    /// log2 of what all values are multiples of, under a scale with exponent 0.
    pub unit: i32,
    /// The exponent of the smallest value but 0, under a scale with exponent 0, or one less.
    pub least_exponent: i32,
    /// That of the largest.
    most_exponent: i32,
    has_minimum: bool,
}

/// Elements, as the bytes that table look-ups make them of.
#[derive(Clone, Debug)]
pub(super) enum Elements {
    /// bf16 of four bits: low and high bytes, and values.
    Small([[u8; 16]; 2], [f32; 16]),
    /// f32 of four bits.
    Wide([f32; 16]),
    /// bf16 of six and eight bits.
    Split(Box<SplitTable>),
    /// Signed bytes times a step.
    Integers { step: f32 },
}

/// Sums of bytes that make a bf16 of a code of six or eight bits: of its upper bits, its lower four
/// bits, and a correction where the upper bits but the sign are zero, as those of subnormals are.
#[derive(Clone, Debug, Default)]
pub(super) struct SplitTable {
    /// To the high byte, by the upper bits.
    pub upper: [u8; 16],
    /// To the low byte and to the high byte, by the lower four bits.
    pub lower: [[u8; 16]; 2],
    /// The same again, where the upper bits are zero.
    pub correction: [[u8; 16]; 2],
    /// The bits of a code but the sign.
    pub magnitude: u8,
}

/// Elements as bf16, times a power of two so large that the largest is just finite: scales, powers
/// of two, make them smaller.
#[derive(Clone, Debug)]
pub(super) struct Lifted {
    /// As in [`Elements::Small`], for codes of four bits.
    pub small: Option<[[u8; 16]; 2]>,
    /// Two in a word, the first low, of 128 codes: again and again if there are fewer, without the
    /// sign if there are more.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "no step of pairs")
    )]
    pub pairs: [u32; 64],
    /// The code of the scale that would leave them as they are.
    pub unscaled: u32,
    /// The value of that scale.
    largest_scale: f32,
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

impl Codecs {
    pub fn new(coding: &Coding) -> Self {
        let values = coding.values.iter().map(|&value| bits_and_unit(value));
        let (element_bits, element_unit) = values.fold((1, i32::MAX), widest);
        let (tensor_bits, tensor_unit) = bits_and_unit(coding.tensor_scale);
        let scale_bits = significant_bits(coding.scale);
        let bits = product_bits(product_bits(element_bits, scale_bits), tensor_bits);
        let least = coding.values.iter().map(|value| value.abs());
        let least = least
            .filter(|&value| value > 0.0)
            .fold(f32::INFINITY, f32::min);
        let most = coding.values.iter().map(|value| value.abs());
        let most = most.filter(|value| value.is_finite()).fold(0.0, f32::max);
        Self {
            elements: Elements::new(coding.width, &coding.values),
            scale: ScaleCodec::new(coding.scale),
            lifted: Lifted::new(coding),
            // A minimum may need as many bits as there are.
            bits: if coding.has_minimum { 24 } else { bits },
            unit: element_unit
                .saturating_add(tensor_unit)
                .saturating_sub(scale_bits as i32 - 1),
            least_exponent: exponent(least).saturating_add(exponent(coding.tensor_scale)),
            most_exponent: exponent(most).saturating_add(exponent(coding.tensor_scale)),
            has_minimum: coding.has_minimum,
        }
    }

    /// The lifted elements, if they hold for scales of magnitudes up to `most`.
    pub fn lifted(&self, most: f32) -> Option<&Lifted> {
        let lifted = self.lifted.as_ref();
        // False of NaN.
        lifted.filter(|lifted| most <= lifted.largest_scale)
    }

    /// The limit of scales that are powers of two, if those of such a range are normal numbers.
    /// Only blocks of zeros may have 2^-127, which then counts as zero.
    pub fn plain_powers(&self, range: ScaleRange) -> Option<i32> {
        let ScaleCodec::Power { limit, .. } = self.scale else {
            return None;
        };
        // False of NaN.
        let is_plain = range.most < f32::INFINITY && range.least >= f32::MIN_POSITIVE;
        is_plain.then_some(limit)
    }

    /// The code of the scale that leaves lifted elements as they are; 0 without any.
    pub fn unscaled(&self) -> u32 {
        self.lifted.as_ref().map_or(0, |lifted| lifted.unscaled)
    }

    /// log2 of the smallest scale for which integers lose nothing; without them any will do.
    pub fn least_scale(&self) -> i32 {
        match &self.elements {
            Some(Elements::Integers { step }) => INTEGER_SHIFT - exponent(*step) - 126,
            _ => i32::MIN,
        }
    }

    /// Whether all values under such scales are rounded to bf16 in registers without overflow or
    /// underflow. Scales and minima of f16 are multiples of 2^-24.
    pub fn rounds_within(&self, range: ScaleRange) -> bool {
        let ScaleRange { least, most, .. } = range;
        let is_normal =
            self.has_minimum || self.least_exponent.saturating_add(exponent(least)) > -100;
        // Each of three factors is less than twice its power of two, and a minimum is added.
        let most = self.most_exponent.max(0).saturating_add(exponent(most));
        is_normal && most.saturating_add(4) < 110
    }

    /// Whether the significant bits of every value fit bf16.
    pub fn is_bf16(&self) -> bool {
        self.bits <= 8
    }
}

impl Elements {
    /// Tables for values by code.
    fn new(width: PanelCodes, values: &[f32]) -> Option<Self> {
        let is_bf16 = values.iter().all(|value| value.to_bits() & 0xFFFF == 0);
        match width {
            PanelCodes::Bits4 => {
                let values = std::array::from_fn(|code| values[code % values.len()]);
                let plane = |byte: usize| values.map(|value: f32| value.to_le_bytes()[byte]);
                Some(if is_bf16 {
                    Self::Small([plane(2), plane(3)], values)
                } else {
                    Self::Wide(values)
                })
            }
            PanelCodes::Bits6 | PanelCodes::Bits8 => {
                let step = values[1];
                let signed = |code: usize| f32::from(code as u8 as i8) * step;
                let mut codes = values.iter().enumerate();
                let is_power = step.to_bits() & 0x7F_FFFF == 0;
                if values.len() == 256
                    && is_power
                    && codes.all(|(code, &value)| value == signed(code))
                {
                    return Some(Self::Integers { step });
                }
                SplitTable::new(values).map(|table| Self::Split(Box::new(table)))
            }
        }
    }
}

impl SplitTable {
    /// `None` unless the sums give every finite value.
    fn new(values: &[f32]) -> Option<Self> {
        if !matches!(values.len(), 64 | 256) {
            return None;
        }
        let half = values.len() / 2;
        let bytes = |code: usize| {
            let [_, _, low, high] = values[code].to_le_bytes();
            [low, high]
        };
        let mut table = Self {
            magnitude: (half - 1) as u8,
            ..Self::default()
        };
        let [_, first] = bytes(16);
        for code in 0..16 {
            let (normal, small) = (bytes(16 + code), bytes(code));
            let lower = [normal[0], normal[1].wrapping_sub(first)];
            for byte in 0..2 {
                table.lower[byte][code] = lower[byte];
                table.correction[byte][code] = small[byte].wrapping_sub(lower[byte]);
            }
        }
        for (upper, byte) in table.upper.iter_mut().take(values.len() / 16).enumerate() {
            let is_zero = upper % (half / 16) == 0;
            let sign = if upper >= half / 16 { 0x80 } else { 0 };
            *byte = if is_zero { sign } else { bytes(16 * upper)[1] };
        }
        let holds = |(code, &value): (usize, &f32)| {
            !value.is_finite() || table.value(code).to_bits() == value.to_bits()
        };
        values.iter().enumerate().all(holds).then_some(table)
    }

    /// The sums for a code.
    fn value(&self, code: usize) -> f32 {
        let (upper, lower) = (code >> 4, code & 15);
        let is_small = code & usize::from(self.magnitude) < 16;
        let byte = |byte: usize| {
            let correction = if is_small {
                self.correction[byte][lower]
            } else {
                0
            };
            self.lower[byte][lower].wrapping_add(correction)
        };
        f32::from_le_bytes([0, 0, byte(0), byte(1).wrapping_add(self.upper[upper])])
    }
}

impl Lifted {
    /// If elements are bf16 that a table holds, and scales powers of two.
    fn new(coding: &Coding) -> Option<Self> {
        let limit = coding.scale.exponent_limit()?;
        let finite = || coding.values.iter().filter(|value| value.is_finite());
        let is_bf16 = finite().all(|&value| bits_and_unit(value).0 <= 8);
        if !is_bf16 || coding.tensor_scale.to_bits() != 1.0f32.to_bits() {
            return None;
        }
        let largest = finite().fold(0.0, |largest: f32, value| largest.max(value.abs()));
        let lift = 127 - exponent(largest);
        let largest_scale = pow2(lift) as f32;
        // Without -0, whose sign a subtraction from the exponent would lose.
        let lifted = coding
            .values
            .iter()
            .map(|value| value * largest_scale + 0.0);
        let lifted: Vec<f32> = lifted.collect();
        // Pairs have tables of 128 codes, and the sign is the highest of eight bits.
        let signs = |(value, other): (&f32, &f32)| *other == -value || !value.is_finite();
        let (lower, upper) = lifted.split_at(lifted.len().min(128));
        if !upper.iter().zip(lower).all(signs) {
            return None;
        }
        let small = match Elements::new(coding.width, &lifted) {
            Some(Elements::Small(bytes, _)) => Some(bytes),
            Some(Elements::Integers { .. } | Elements::Wide(_) | Elements::Split(_)) | None => None,
        };
        let half = |index: usize| lifted[index % lifted.len()].to_bits() >> 16;
        Some(Self {
            small,
            pairs: std::array::from_fn(|word| half(2 * word) | half(2 * word + 1) << 16),
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
pub(super) fn exponent(x: f32) -> i32 {
    let bits = x.to_bits() & 0x7FFF_FFFF;
    if bits < 1 << 23 {
        // A subnormal is a multiple of 2^-149.
        31 - 149 - bits.leading_zeros() as i32
    } else {
        (bits >> 23) as i32 - 127
    }
}
