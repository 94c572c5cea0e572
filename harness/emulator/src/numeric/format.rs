//! Binary floating-point formats: codes to numbers and back.

use super::exact::{Number, Rounding};

/// What the codes with the largest exponent mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// Infinities, and NaN: IEEE 754.
    InfinityAndNan,
    /// NaN where the mantissa is all ones too, else numbers: E4M3.
    NanOnly,
    /// Numbers: E2M1, E2M3, E3M2.
    None,
}

/// A format with a sign, exponent and mantissa; the bias is `2^(exponent_bits - 1) - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bits of the exponent.
    pub exponent_bits: u32,
    /// Bits of the mantissa, without the leading one.
    pub mantissa_bits: u32,
    /// What the codes with the largest exponent mean.
    pub specials: Specials,
    /// The code that an instruction gives for NaN: the largest number where there is none.
    pub nan: u64,
}

impl Format {
    /// IEEE 754 binary64.
    pub const F64: Self = Self::ieee(11, 52, 0xfff8_0000_0000_0000);
    /// IEEE 754 binary32.
    pub const F32: Self = Self::ieee(8, 23, 0x7fff_ffff);
    /// IEEE 754 binary16.
    pub const F16: Self = Self::ieee(5, 10, 0x7fff);
    /// The upper half of binary32.
    pub const BF16: Self = Self::ieee(8, 7, 0x7fff);
    /// The upper 19 bits of binary32.
    pub const TF32: Self = Self::ieee(8, 10, 0x3ffff);
    /// OCP FP8 E5M2.
    pub const E5M2: Self = Self::ieee(5, 2, 0x7f);
    /// OCP FP8 E4M3.
    pub const E4M3: Self = Self {
        exponent_bits: 4,
        mantissa_bits: 3,
        specials: Specials::NanOnly,
        nan: 0x7f,
    };
    /// OCP FP6 E3M2.
    pub const E3M2: Self = Self::finite(3, 2);
    /// OCP FP6 E2M3.
    pub const E2M3: Self = Self::finite(2, 3);
    /// OCP FP4 E2M1.
    pub const E2M1: Self = Self::finite(2, 1);

    const fn ieee(exponent_bits: u32, mantissa_bits: u32, nan: u64) -> Self {
        Self {
            exponent_bits,
            mantissa_bits,
            specials: Specials::InfinityAndNan,
            nan,
        }
    }

    const fn finite(exponent_bits: u32, mantissa_bits: u32) -> Self {
        Self {
            exponent_bits,
            mantissa_bits,
            specials: Specials::None,
            nan: (1 << (exponent_bits + mantissa_bits)) - 1,
        }
    }

    /// Bits of a code.
    pub const fn bits(self) -> u32 {
        1 + self.exponent_bits + self.mantissa_bits
    }

    const fn bias(self) -> i32 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    /// The code of the largest number.
    pub const fn maximum(self) -> u64 {
        let all = (1 << (self.bits() - 1)) - 1;
        match self.specials {
            Specials::InfinityAndNan => all - (1 << self.mantissa_bits),
            Specials::NanOnly => all - 1,
            Specials::None => all,
        }
    }

    /// The code of positive infinity, or what stands for an overflow.
    pub const fn infinity(self) -> u64 {
        match self.specials {
            Specials::InfinityAndNan => self.maximum() + 1,
            Specials::NanOnly => self.nan,
            Specials::None => self.maximum(),
        }
    }

    /// What a code stands for; bits above the code are ignored.
    pub const fn decode(self, code: u64) -> Number {
        let is_negative = code >> (self.bits() - 1) & 1 == 1;
        let magnitude = code & ((1 << (self.bits() - 1)) - 1);
        if magnitude == 0 {
            return Number::Zero(is_negative);
        }
        if magnitude > self.maximum() {
            return match self.specials {
                Specials::InfinityAndNan if magnitude == self.infinity() => {
                    Number::Infinity(is_negative)
                }
                _ => Number::Nan,
            };
        }
        let field = (magnitude >> self.mantissa_bits) as i32;
        let mantissa = magnitude & ((1 << self.mantissa_bits) - 1);
        let (exponent, significand) = if field == 0 {
            (1, mantissa)
        } else {
            (field, mantissa | 1 << self.mantissa_bits)
        };
        let exponent = exponent - self.bias() - self.mantissa_bits as i32;
        Number::Finite(is_negative, exponent, significand as u128)
    }

    /// The code of a number, rounded. With `saturating`, what is too large becomes the largest
    /// number, infinities too.
    pub fn encode(self, number: Number, rounding: Rounding, saturating: bool) -> u64 {
        let infinity = if saturating {
            self.maximum()
        } else {
            self.infinity()
        };
        let (is_negative, magnitude) = match number {
            Number::Nan => return self.nan,
            Number::Infinity(is_negative) => (is_negative, infinity),
            Number::Zero(is_negative) => (is_negative, 0),
            Number::Finite(is_negative, exponent, significand) => {
                let leading = exponent + significand.ilog2() as i32;
                let lowest = 1 - self.bias();
                let binade = leading.max(lowest);
                let quantum = binade - self.mantissa_bits as i32;
                let steps = round_shift(significand, quantum - exponent, is_negative, rounding);
                // The leading one of a normal number adds one to the exponent field, and so does
                // the carry of one that is rounded up to the next binade.
                let magnitude = (((binade - lowest) as u64) << self.mantissa_bits) + steps;
                let magnitude = if magnitude <= self.maximum() {
                    magnitude
                } else if is_towards_zero(rounding, is_negative) {
                    self.maximum()
                } else {
                    infinity
                };
                (is_negative, magnitude)
            }
        };
        magnitude | u64::from(is_negative) << (self.bits() - 1)
    }
}

fn is_towards_zero(rounding: Rounding, is_negative: bool) -> bool {
    match rounding {
        Rounding::NearestEven | Rounding::NearestAway => false,
        Rounding::Zero => true,
        Rounding::Down => !is_negative,
        Rounding::Up => is_negative,
    }
}

/// `significand / 2^shift`, rounded; the result fits.
fn round_shift(significand: u128, shift: i32, is_negative: bool, rounding: Rounding) -> u64 {
    if shift <= 0 {
        return (significand as u64) << -shift;
    }
    let shift = shift as u32;
    // Far below the last place only "not zero and less than half" matters.
    let (kept, rest, half) = if shift > 126 {
        (0, 1, 2)
    } else {
        let kept = significand >> shift;
        (kept, significand - (kept << shift), 1 << (shift - 1))
    };
    let is_up = match rounding {
        Rounding::NearestEven => rest > half || rest == half && kept & 1 == 1,
        Rounding::NearestAway => rest >= half,
        _ => rest != 0 && !is_towards_zero(rounding, is_negative),
    };
    kept as u64 + u64::from(is_up)
}
