//! One element at a time, without branches, for the vectoriser: see the head of the module above.

use crate::format::{ElementFormat, FloatType, Grid, ScaleFormat, Specials};

const EXPONENT_FIELD: u32 = 0x7F80_0000;
const MAGNITUDE: u32 = 0x7FFF_FFFF;
const SIGN: u32 = 0x8000_0000;

/// Roundings as const generic parameters.
pub(super) const EVEN: u8 = 0;
pub(super) const AWAY: u8 = 1;
pub(super) const HALF_TO_ZERO: u8 = 2;
pub(super) const TOWARD_ZERO: u8 = 3;
pub(super) const STOCHASTIC: u8 = 4;
pub(super) const TORCH_EVEN: u8 = 5;
pub(super) const TORCH_AWAY: u8 = 6;

/// A grid of magnitudes as numbers to compute with.
#[derive(Clone, Copy, Debug)]
pub(super) struct CodeLanes {
    /// The largest value.
    pub max: f32,
    /// 2^emin, as f32 bits; for integers emin = 0.
    emin: u32,
    /// 23 - M: what separates the place of a step from that of an f32's last bit.
    shift: u32,
    /// Where the sign goes in a code; unused by integers.
    pub sign_bit: u32,
    pub is_int: bool,
    pub code_mask: u32,
    /// The only magnitude code above the largest finite one that is an infinity, if any.
    infinity: u32,
    max_code: u32,
    /// The magnitude just below half the smallest step that counts as half; see
    /// [`crate::format::Dialect::lifts_to_one_step`].
    just_below_half: f32,
}

impl CodeLanes {
    /// For the elements of a block. Tables have no lanes: theirs are never used.
    pub fn of_element(element: ElementFormat, source: FloatType) -> Self {
        let (emin, mantissa_bits, infinity, max_code) = match element.grid() {
            Grid::Float(grid) => {
                let is_ieee = grid.specials == Specials::Ieee;
                let infinity = if is_ieee {
                    grid.max_code() + 1
                } else {
                    u32::MAX
                };
                (grid.emin(), grid.mantissa_bits, infinity, grid.max_code())
            }
            Grid::Int(grid) => (0, grid.fraction_bits, u32::MAX, u32::MAX),
            Grid::Table(_) => (0, 0, u32::MAX, u32::MAX),
        };
        let half_step = crate::format::pow2(emin - mantissa_bits as i32 - 1);
        let ulp = match source {
            FloatType::F32 => f64::from(f32::EPSILON) / 2.0,
            _ => 1.0 / 256.0,
        };
        Self {
            max: element.max_normal(),
            emin: ((emin + 127) as u32) << 23,
            shift: 23 - mantissa_bits,
            sign_bit: 1 << (element.bits() - 1),
            is_int: matches!(element.grid(), Grid::Int(_)),
            code_mask: u32::MAX >> (32 - element.bits()),
            infinity,
            max_code,
            just_below_half: (half_step * (1.0 - ulp)) as f32,
        }
    }

    /// For an unsigned float or fp16 scale.
    pub fn of_scale(scale: ScaleFormat) -> Self {
        let (exponent_bits, mantissa_bits) = match scale {
            ScaleFormat::Unsigned {
                exponent_bits,
                mantissa_bits,
            } => (u32::from(exponent_bits), u32::from(mantissa_bits)),
            _ => (5, 10),
        };
        let bias = (1 << (exponent_bits - 1)) - 1;
        let is_ieee = scale == ScaleFormat::Fp16;
        Self {
            max: scale.max(),
            emin: (1 - bias + 127) << 23,
            shift: 23 - mantissa_bits,
            sign_bit: 0,
            is_int: false,
            code_mask: u32::MAX,
            infinity: if is_ieee {
                scale.max_code() + 1
            } else {
                u32::MAX
            },
            max_code: scale.max_code(),
            just_below_half: 0.0,
        }
    }

    /// Rounds a magnitude, at most `max`, to the grid: the value and its code without sign.
    #[inline(always)]
    pub fn round<const ROUNDING: u8>(&self, a: f32, random: u32) -> (f32, u32) {
        let e = (a.to_bits() & EXPONENT_FIELD).max(self.emin);
        let c = e + (self.shift << 23);
        let sum = a + f32::from_bits(c);
        let value = sum - f32::from_bits(c);
        let steps = sum.to_bits().wrapping_sub(c);
        let code = steps.wrapping_add((e - self.emin) >> self.shift);
        if ROUNDING == EVEN {
            return (value, code);
        }
        let step = f32::from_bits(c - (23 << 23));
        let rest = a - value;
        let (up, down) = match ROUNDING {
            AWAY => (rest == 0.5 * step, false),
            HALF_TO_ZERO => (false, rest == -0.5 * step),
            TOWARD_ZERO => (false, rest < 0.0),
            TORCH_EVEN => (a == self.just_below_half, false),
            TORCH_AWAY => ((rest == 0.5 * step) | (a == self.just_below_half), false),
            // STOCHASTIC: fraction * 2^24 is compared with the top 24 bits, both whole; where
            // half to even went up already, the rest is negative and counts from below.
            _ => {
                let goes_up = rest >= 0.0;
                let fraction = if goes_up { rest } else { rest + step };
                let beats = fraction * (16_777_216.0 / step) >= ((random >> 8) + 1) as f32;
                (goes_up & beats, !goes_up & !beats)
            }
        };
        let change = if up { step } else { 0.0 } - if down { step } else { 0.0 };
        let count = u32::from(up).wrapping_sub(u32::from(down));
        (value + change, code.wrapping_add(count))
    }

    /// The magnitude of a code without sign, infinities and NaN included.
    #[inline(always)]
    pub fn value_of(&self, magnitude: u32) -> f32 {
        // A subnormal is a normal number of the first binade less that binade's one.
        let is_subnormal = (magnitude << self.shift) < (1 << 23);
        let bits = (magnitude << self.shift).wrapping_add(self.emin - (1 << 23));
        let bits = if is_subnormal {
            bits.wrapping_add(1 << 23)
        } else {
            bits
        };
        let one = if is_subnormal {
            f32::from_bits(self.emin)
        } else {
            0.0
        };
        let value = f32::from_bits(bits) - one;
        let special = if magnitude == self.infinity {
            f32::INFINITY
        } else {
            f32::NAN
        };
        if magnitude > self.max_code {
            special
        } else {
            value
        }
    }

    /// The value of an element's code.
    #[inline(always)]
    pub fn decode(&self, code: u32) -> f32 {
        let magnitude = code & (self.sign_bit - 1);
        let sign = if code & self.sign_bit == 0 { 0 } else { SIGN };
        f32::from_bits(self.value_of(magnitude).to_bits() ^ sign)
    }

    /// The value of an integer element's code.
    #[inline(always)]
    pub fn decode_int(&self, code: u32) -> f32 {
        let signed = ((code ^ self.sign_bit) as i32).wrapping_sub(self.sign_bit as i32);
        // shift = 23 - fraction bits, so this is 2^-fraction bits.
        let step = f32::from_bits((127 - 23 + self.shift) << 23);
        signed as f32 * step
    }
}

/// Which zeros keep a minus sign: a result of zero loses it if the scaled element's magnitude
/// was at most `lost_up_to`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Signs {
    lost_up_to: f32,
}

impl Signs {
    pub const KEPT: Self = Self { lost_up_to: -1.0 };
    pub const DROPPED: Self = Self {
        lost_up_to: f32::INFINITY,
    };

    /// Kept unless the scaled element is zero in the tensor's own type.
    pub fn of_nonzero(source: FloatType) -> Self {
        let lost_up_to = match source {
            FloatType::F32 => 0.0,
            // Half of bfloat16's smallest subnormal, which rounds to the even zero.
            FloatType::Bf16 => f32::from_bits(1 << 15),
            FloatType::F16 => f32::from_bits((127 - 25) << 23),
        };
        Self { lost_up_to }
    }

    /// The sign bit that a result takes from the element.
    #[inline(always)]
    pub fn of<const SIGNED: bool>(&self, element: f32, scaled: f32, result: f32) -> u32 {
        let sign = element.to_bits() & SIGN;
        if SIGNED {
            return sign;
        }
        let is_lost = (result == 0.0) & (scaled <= self.lost_up_to);
        if is_lost { 0 } else { sign }
    }
}

/// |x|.
#[inline(always)]
pub(super) fn magnitude(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & MAGNITUDE)
}

/// |x| as an integer that orders like it, NaN above all.
#[inline(always)]
pub(super) fn magnitude_bits(x: f32) -> u32 {
    x.to_bits() & MAGNITUDE
}
