//! Exact arithmetic on what floating-point numbers stand for. Every operation returns its
//! exact result, or one that rounds to any format as the exact result would; a result is
//! rounded once, by [`Format::encode`](super::format::Format::encode).

/// How a value between two numbers of a format is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// `.rn`: to nearest, ties to the even mantissa.
    NearestEven,
    /// `.rna`: to nearest, ties away from zero.
    NearestAway,
    /// `.rz`: towards zero.
    Zero,
    /// `.rm`: towards negative infinity.
    Down,
    /// `.rp`: towards positive infinity.
    Up,
}

impl Rounding {
    const ALL: [Self; 5] = [
        Self::NearestEven,
        Self::NearestAway,
        Self::Zero,
        Self::Down,
        Self::Up,
    ];

    /// The mode whose discriminant these bits are.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self::ALL[(bits & 7) as usize]
    }
}

/// The value of a floating-point datum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Not a number.
    Nan,
    /// An infinity, by whether it is negative.
    Infinity(bool),
    /// A zero, by whether it is negative.
    Zero(bool),
    /// `significand * 2^exponent`: whether it is negative, exponent, significand. The significand
    /// is not zero; its bit 0 also stands for nonzero bits below it that were dropped, which are
    /// only ever dropped more than a whole `f64` mantissa below the leading bit.
    Finite(bool, i32, u128),
}

/// Position of the leading bit of an aligned significand: room for one carry above.
const TOP: u32 = 126;

impl Number {
    /// An integer.
    pub const fn from_integer(value: i128) -> Self {
        if value == 0 {
            return Self::Zero(false);
        }
        Self::Finite(value < 0, 0, value.unsigned_abs())
    }

    /// Whether the sign is negative; no for NaN.
    pub const fn is_negative(self) -> bool {
        match self {
            Self::Nan => false,
            Self::Infinity(sign) | Self::Zero(sign) | Self::Finite(sign, ..) => sign,
        }
    }

    /// The negated number.
    #[must_use]
    pub const fn negated(self) -> Self {
        match self {
            Self::Nan => self,
            Self::Infinity(sign) => Self::Infinity(!sign),
            Self::Zero(sign) => Self::Zero(!sign),
            Self::Finite(sign, exponent, significand) => Self::Finite(!sign, exponent, significand),
        }
    }

    /// The sum. `rounding` decides the sign of a zero that is the sum of opposite numbers.
    #[must_use]
    pub fn add(self, other: Self, rounding: Rounding) -> Self {
        match (self, other) {
            (Self::Nan, _) | (_, Self::Nan) => Self::Nan,
            (Self::Infinity(a), Self::Infinity(b)) if a != b => Self::Nan,
            (Self::Infinity(_), _) => self,
            (_, Self::Infinity(_)) => other,
            (Self::Zero(a), Self::Zero(b)) if a == b => self,
            (Self::Zero(_), Self::Zero(_)) => Self::Zero(rounding == Rounding::Down),
            (Self::Zero(_), _) => other,
            (_, Self::Zero(_)) => self,
            (Self::Finite(p, x, a), Self::Finite(q, y, b)) => {
                let ((a, x), (b, y)) = (align(a, x), align(b, y));
                let (mut large, mut small) = ((x, a, p), (y, b, q));
                if (large.0, large.1) < (small.0, small.1) {
                    std::mem::swap(&mut large, &mut small);
                }
                let (exponent, a, is_negative) = large;
                let b = shift_right_sticky(small.1, exponent.abs_diff(small.0));
                match if is_negative == small.2 { a + b } else { a - b } {
                    0 => Self::Zero(rounding == Rounding::Down),
                    significand => Self::Finite(is_negative, exponent, significand),
                }
            }
        }
    }

    /// The product, of numbers whose significands have at most 64 bits.
    #[must_use]
    pub fn multiply(self, other: Self) -> Self {
        let negative = self.is_negative() != other.is_negative();
        match (self, other) {
            (Self::Nan, _)
            | (_, Self::Nan)
            | (Self::Infinity(_), Self::Zero(_))
            | (Self::Zero(_), Self::Infinity(_)) => Self::Nan,
            (Self::Infinity(_), _) | (_, Self::Infinity(_)) => Self::Infinity(negative),
            (Self::Zero(_), _) | (_, Self::Zero(_)) => Self::Zero(negative),
            (Self::Finite(_, x, a), Self::Finite(_, y, b)) => Self::Finite(negative, x + y, a * b),
        }
    }

    /// The quotient, of numbers whose significands have at most 53 bits.
    #[must_use]
    pub fn divide(self, other: Self) -> Self {
        let negative = self.is_negative() != other.is_negative();
        match (self, other) {
            (Self::Nan, _)
            | (_, Self::Nan)
            | (Self::Infinity(_), Self::Infinity(_))
            | (Self::Zero(_), Self::Zero(_)) => Self::Nan,
            (Self::Infinity(_), _) | (_, Self::Zero(_)) => Self::Infinity(negative),
            (Self::Zero(_), _) | (_, Self::Infinity(_)) => Self::Zero(negative),
            (Self::Finite(_, x, a), Self::Finite(_, y, b)) => {
                let (a, x) = align(a, x);
                Self::Finite(negative, x - y, (a / b) | u128::from(a % b != 0))
            }
        }
    }

    /// The square root, of a number whose significand has at most 53 bits.
    #[must_use]
    pub fn square_root(self) -> Self {
        match self {
            Self::Zero(_) | Self::Infinity(false) => self,
            Self::Finite(false, exponent, significand) => {
                let (mut significand, mut exponent) = align(significand, exponent);
                if exponent % 2 != 0 {
                    significand /= 2;
                    exponent += 1;
                }
                let root = significand.isqrt();
                let is_inexact = root * root != significand;
                Self::Finite(false, exponent / 2 - 1, root << 1 | u128::from(is_inexact))
            }
            _ => Self::Nan,
        }
    }
}

/// The same value with its leading bit at [`TOP`].
fn align(significand: u128, exponent: i32) -> (u128, i32) {
    let shift = significand.leading_zeros() as i32 - (127 - TOP as i32);
    if shift >= 0 {
        (significand << shift, exponent - shift)
    } else {
        let shift = shift.unsigned_abs();
        (
            shift_right_sticky(significand, shift),
            exponent + shift as i32,
        )
    }
}

/// Shifts right; bit 0 of the result also stands for what was shifted out.
fn shift_right_sticky(value: u128, amount: u32) -> u128 {
    if amount > 127 {
        return u128::from(value != 0);
    }
    let kept = value >> amount;
    kept | u128::from(kept << amount != value)
}
