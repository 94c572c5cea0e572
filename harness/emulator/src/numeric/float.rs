//! What is the same for `f64`, `f32`, [`F16`] and [`Bf16`].

use super::exact::{Number, Rounding};
use super::format::Format;
use super::half::{Bf16, F16};

/// A floating-point type.
pub trait Float: Copy {
    /// Its format.
    const FORMAT: Format;
    /// Orders as the numbers do, with -0 below +0.
    type Key: Ord + Copy;

    /// Its code.
    fn code(self) -> u64;
    /// The datum with this code.
    fn from_code(code: u64) -> Self;
    /// See [`Float::Key`].
    fn key(self) -> Self::Key;
    /// Whether it is NaN.
    fn is_nan(self) -> bool;
    /// The same value.
    fn to_f64(self) -> f64;
    /// The nearest value, ties to even.
    fn nearest(value: f64) -> Self;

    /// What it stands for.
    #[inline]
    fn number(self) -> Number {
        Self::FORMAT.decode(self.code())
    }

    /// The number rounded.
    #[inline]
    fn round(number: Number, rounding: Rounding) -> Self {
        Self::from_code(Self::FORMAT.encode(number, rounding, false))
    }

    /// The NaN that instructions give.
    #[inline(always)]
    fn nan() -> Self {
        Self::from_code(Self::FORMAT.nan)
    }

    /// Itself, or [`Float::nan`] for any NaN.
    #[inline(always)]
    #[must_use]
    fn canonical(self) -> Self {
        if self.is_nan() { Self::nan() } else { self }
    }

    /// With the sign bit cleared.
    #[inline(always)]
    #[must_use]
    fn magnitude(self) -> Self {
        Self::from_code(self.code() & !(1 << (Self::FORMAT.bits() - 1)))
    }

    /// With the sign bit flipped.
    #[inline(always)]
    #[must_use]
    fn negated(self) -> Self {
        Self::from_code(self.code() ^ 1 << (Self::FORMAT.bits() - 1))
    }

    /// Whether the sign bit is set.
    #[inline(always)]
    fn is_negative(self) -> bool {
        self.code() >> (Self::FORMAT.bits() - 1) == 1
    }

    /// `.ftz`: a zero of the same sign for a subnormal.
    #[inline(always)]
    #[must_use]
    fn flushed(self) -> Self {
        let sign = 1 << (Self::FORMAT.bits() - 1);
        let exponent = (sign - 1) & !((1 << Self::FORMAT.mantissa_bits) - 1);
        let code = self.code();
        Self::from_code(if code & exponent == 0 {
            code & sign
        } else {
            code
        })
    }

    /// `.sat`: clamped to [+0, 1]; +0 for NaN.
    #[inline(always)]
    #[must_use]
    fn saturated(self) -> Self {
        let one = Self::nearest(1.0);
        let zero = Self::from_code(0);
        if self.is_nan() || self.key() < zero.key() {
            zero
        } else if self.key() > one.key() {
            one
        } else {
            self
        }
    }

    /// `.relu`: +0 for what is negative; NaN stays.
    #[inline(always)]
    #[must_use]
    fn rectified(self) -> Self {
        if self.is_negative() && !self.is_nan() {
            Self::from_code(0)
        } else {
            self
        }
    }
}

impl Float for f32 {
    const FORMAT: Format = Format::F32;
    type Key = i32;

    #[inline(always)]
    fn code(self) -> u64 {
        u64::from(self.to_bits())
    }

    #[inline(always)]
    fn from_code(code: u64) -> Self {
        Self::from_bits(code as u32)
    }

    #[inline(always)]
    fn key(self) -> i32 {
        let bits = self.to_bits() as i32;
        bits ^ (bits >> 31) & i32::MAX
    }

    #[inline(always)]
    fn is_nan(self) -> bool {
        self.is_nan()
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn nearest(value: f64) -> Self {
        (value as Self).canonical()
    }
}

impl Float for f64 {
    const FORMAT: Format = Format::F64;
    type Key = i64;

    #[inline(always)]
    fn code(self) -> u64 {
        self.to_bits()
    }

    #[inline(always)]
    fn from_code(code: u64) -> Self {
        Self::from_bits(code)
    }

    #[inline(always)]
    fn key(self) -> i64 {
        let bits = self.to_bits() as i64;
        bits ^ (bits >> 63) & i64::MAX
    }

    #[inline(always)]
    fn is_nan(self) -> bool {
        self.is_nan()
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn nearest(value: f64) -> Self {
        value.canonical()
    }
}

macro_rules! half_float {
    ($ty:ty, $format:expr) => {
        impl Float for $ty {
            const FORMAT: Format = $format;
            type Key = i16;

            #[inline(always)]
            fn code(self) -> u64 {
                u64::from(self.0)
            }

            #[inline(always)]
            fn from_code(code: u64) -> Self {
                Self(code as u16)
            }

            #[inline(always)]
            fn key(self) -> i16 {
                let bits = self.0 as i16;
                bits ^ (bits >> 15) & i16::MAX
            }

            #[inline(always)]
            fn is_nan(self) -> bool {
                u64::from(self.0 & 0x7fff) > Self::FORMAT.infinity()
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self.to_f32())
            }

            #[inline(always)]
            fn nearest(value: f64) -> Self {
                Self::from_f32(super::half::to_odd_f32(value))
            }
        }
    };
}
half_float!(F16, Format::F16);
half_float!(Bf16, Format::BF16);

/// What `min` and `max` do with NaN and signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extremum {
    /// `max`.
    pub is_max: bool,
    /// `.NaN`: NaN when one operand is NaN; otherwise the other operand.
    pub propagates_nan: bool,
    /// `.xorsign.abs`: the extremum of the magnitudes, with the product's sign.
    pub is_xor_sign: bool,
}

/// `min` or `max`; -0 is less than +0.
#[inline(always)]
pub fn extremum<F: Float>(how: Extremum, a: F, b: F) -> F {
    let is_negative = how.is_xor_sign && a.is_negative() != b.is_negative();
    let (a, b) = if how.is_xor_sign {
        (a.magnitude(), b.magnitude())
    } else {
        (a, b)
    };
    let takes_a = b.is_nan() || (a.key() < b.key()) != how.is_max;
    let chosen = if takes_a && !a.is_nan() { a } else { b };
    if how.propagates_nan && (a.is_nan() || b.is_nan()) || chosen.is_nan() {
        F::nan()
    } else if is_negative {
        chosen.negated()
    } else {
        chosen
    }
}
