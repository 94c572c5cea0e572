//! The common interface of `f64`, `f32`, [`F16`] and [`Bf16`].

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

/// A type with its format, the integers of its size, and how it is made from and of others.
macro_rules! float {
    ($ty:ty, $format:expr, $bits:ty, $key:ty, $to_bits:expr, $from_bits:expr, $is_nan:expr,
        $to_f64:expr, $nearest:expr) => {
        impl Float for $ty {
            const FORMAT: Format = $format;
            type Key = $key;

            #[inline(always)]
            fn code(self) -> u64 {
                u64::from($to_bits(self))
            }

            #[inline(always)]
            fn from_code(code: u64) -> Self {
                $from_bits(code as $bits)
            }

            #[inline(always)]
            fn key(self) -> $key {
                let bits = $to_bits(self) as $key;
                bits ^ (bits >> (<$key>::BITS - 1)) & <$key>::MAX
            }

            #[inline(always)]
            fn is_nan(self) -> bool {
                $is_nan(self)
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                $to_f64(self)
            }

            #[inline(always)]
            fn nearest(value: f64) -> Self {
                $nearest(value)
            }
        }
    };
    (half $ty:ident, $format:expr) => {
        float!(
            $ty,
            $format,
            u16,
            i16,
            |x: Self| x.0,
            $ty,
            |x: Self| u64::from(x.0 & 0x7fff) > Self::FORMAT.infinity(),
            |x: Self| f64::from(x.to_f32()),
            |value| Self::from_f32(super::half::to_odd_f32(value))
        );
    };
}
float!(
    f32,
    Format::F32,
    u32,
    i32,
    f32::to_bits,
    f32::from_bits,
    f32::is_nan,
    f64::from,
    |value| (value as f32).canonical()
);
float!(
    f64,
    Format::F64,
    u64,
    i64,
    f64::to_bits,
    f64::from_bits,
    f64::is_nan,
    |x| x,
    |value: f64| value.canonical()
);
float!(half F16, Format::F16);
float!(half Bf16, Format::BF16);

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
