//! The values that codes stand for, and rounding to them.

use super::rounding::{Rounding, stochastic_up};

/// `floor(log2 x)`, exact, for a finite x > 0 (an f32 of any size widened to f64).
pub fn exponent(x: f64) -> i32 {
    ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

/// 2^e, exact, for -1022 <= e <= 1023.
pub fn pow2(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

/// Which codes of a float format are not numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// None: every code is finite.
    None,
    /// The all-ones magnitude is NaN, there is no infinity ("fn").
    Fn,
    /// The top exponent holds infinity and NaNs.
    Ieee,
}

/// The magnitudes of a float format with subnormals, in code order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatGrid {
    /// Bits of the exponent field.
    pub exponent_bits: u32,
    /// Stored bits of the mantissa, M.
    pub mantissa_bits: u32,
    /// The exponent field minus the exponent.
    pub bias: i32,
    /// Codes that are not numbers.
    pub specials: Specials,
}

impl FloatGrid {
    /// Exponent of the smallest normal number.
    pub const fn emin(self) -> i32 {
        1 - self.bias
    }

    /// Exponent of the largest number.
    pub const fn emax(self) -> i32 {
        (self.max_code() >> self.mantissa_bits) as i32 - self.bias
    }

    /// The code of the largest number.
    pub const fn max_code(self) -> u32 {
        let all_ones = (1 << (self.exponent_bits + self.mantissa_bits)) - 1;
        match self.specials {
            Specials::None => all_ones,
            Specials::Fn => all_ones - 1,
            Specials::Ieee => all_ones - (1 << self.mantissa_bits),
        }
    }

    /// The all-ones magnitude: NaN where the format has one.
    pub const fn nan_code(self) -> Option<u32> {
        match self.specials {
            Specials::None => None,
            _ => Some((1 << (self.exponent_bits + self.mantissa_bits)) - 1),
        }
    }

    /// The magnitude that `code` (without sign) stands for; exact.
    #[inline(always)]
    pub fn decode(self, code: u32) -> f64 {
        if code > self.max_code() {
            let is_infinity = self.specials == Specials::Ieee && code == self.max_code() + 1;
            return if is_infinity { f64::INFINITY } else { f64::NAN };
        }
        let field = (code >> self.mantissa_bits) as i32;
        let mantissa = f64::from(code & ((1 << self.mantissa_bits) - 1));
        let step = pow2(field.max(1) - self.bias - self.mantissa_bits as i32);
        let implicit = if field == 0 {
            0.0
        } else {
            f64::from(1 << self.mantissa_bits)
        };
        (implicit + mantissa) * step
    }

    /// The code of a magnitude >= 0, saturating. The magnitude must not be NaN.
    pub fn encode(self, magnitude: f64, rounding: Rounding, random: u32) -> u32 {
        if magnitude > self.decode(self.max_code()) {
            return self.max_code();
        }
        let e = self.emin().max(exponent(magnitude));
        let steps = rounding.round(magnitude / pow2(e - self.mantissa_bits as i32), random);
        self.code_of_steps(steps, e)
    }

    /// The code of `steps * 2^(e - M)`, saturating; `steps` is whole and at most 2^(M+1).
    pub fn code_of_steps(self, steps: f64, e: i32) -> u32 {
        let mut steps = steps as u64;
        let mut e = e;
        // A number with a leading zero has its code one binade further down.
        while steps < (1 << self.mantissa_bits) && e > self.emin() {
            steps *= 2;
            e -= 1;
        }
        // Codes of one binade are consecutive, and the binades too: subnormals and the first
        // normal binade share their step, and 2^(M+1) steps are the first code of the next.
        let code = steps + ((e - self.emin()) as u64).saturating_mul(1 << self.mantissa_bits);
        code.min(u64::from(self.max_code())) as u32
    }
}

/// Two's complement fixed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntGrid {
    /// Bits of a code.
    pub bits: u32,
    /// The value of a code is `code * 2^-fraction_bits`.
    pub fraction_bits: u32,
    /// Whether the most negative code is never produced.
    pub is_symmetric: bool,
}

impl IntGrid {
    /// The largest code.
    pub const fn max_code(self) -> u32 {
        (1 << (self.bits - 1)) - 1
    }

    /// The largest magnitude of either sign, in steps of `2^-fraction_bits`.
    pub fn most_steps(self, is_negative: bool) -> f64 {
        let has_lowest = is_negative && !self.is_symmetric;
        f64::from(self.max_code() + u32::from(has_lowest))
    }

    /// The value of a code, sign included; exact.
    pub fn decode(self, code: u32) -> f64 {
        let signed = ((code << (32 - self.bits)) as i32) >> (32 - self.bits);
        f64::from(signed) * pow2(-(self.fraction_bits as i32))
    }

    /// The code of `steps * 2^-fraction_bits` with the sign given, saturating.
    pub fn code_of_steps(self, steps: f64, is_negative: bool) -> u32 {
        let magnitude = steps.min(self.most_steps(is_negative)) as u32;
        let code = if is_negative {
            magnitude.wrapping_neg()
        } else {
            magnitude
        };
        code & (u32::MAX >> (32 - self.bits))
    }
}

/// The values of an element format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Grid {
    /// Sign and magnitude: the sign bit above the code of the magnitude.
    Float(FloatGrid),
    /// Two's complement.
    Int(IntGrid),
    /// Any ascending values; the code is the index.
    Table(&'static [f32]),
}

/// The index in an ascending table that `t` rounds to, saturating.
///
/// Halfway is measured in f64, exact for neighbours that are f32. Half to even means the even
/// index; the stochastic fraction is `RN_f32(RN_f32(t - low) / RN_f32(high - low))`.
pub(super) fn encode_in_table(table: &[f32], t: f64, rounding: Rounding, random: u32) -> usize {
    let above = table.partition_point(|&value| f64::from(value) <= t);
    if above == 0 || above == table.len() {
        return above.saturating_sub(1);
    }
    let below = above - 1;
    let (low, high) = (table[below], table[above]);
    let (to_low, to_high) = (t - f64::from(low), f64::from(high) - t);
    let is_high_larger = high.abs() > low.abs();
    let goes_up = match rounding {
        _ if to_low == 0.0 => false,
        Rounding::TowardZero => !is_high_larger,
        Rounding::Stochastic { .. } => {
            let fraction = (t as f32 - low) / (high - low);
            stochastic_up(f64::from(fraction), random)
        }
        _ if to_low != to_high => to_low > to_high,
        Rounding::Even => below % 2 == 1,
        Rounding::Away => is_high_larger,
        Rounding::HalfToZero => !is_high_larger,
    };
    if goes_up { above } else { below }
}
