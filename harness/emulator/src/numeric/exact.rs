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

/// What a floating-point datum stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Not a number.
    Nan,
    /// An infinity, by whether it is negative.
    Infinity(bool),
    /// A zero, by whether it is negative.
    Zero(bool),
    /// `significand * 2^exponent`.
    Finite {
        /// Sign.
        is_negative: bool,
        /// Weight of bit 0 of the significand.
        exponent: i32,
        /// Not zero. Bit 0 also stands for nonzero bits below it that were dropped, which are
        /// only ever dropped more than a whole `f64` mantissa below the leading bit.
        significand: u128,
    },
}

/// Position of the leading bit of an aligned significand: room for one carry above.
const TOP: u32 = 126;

impl Number {
    /// An integer.
    pub const fn from_integer(value: i128) -> Self {
        if value == 0 {
            return Self::Zero(false);
        }
        Self::Finite {
            is_negative: value < 0,
            exponent: 0,
            significand: value.unsigned_abs(),
        }
    }

    /// Whether the sign is negative; no for NaN.
    pub const fn is_negative(self) -> bool {
        match self {
            Self::Nan => false,
            Self::Infinity(is_negative)
            | Self::Zero(is_negative)
            | Self::Finite { is_negative, .. } => is_negative,
        }
    }

    /// The negated number.
    #[must_use]
    pub const fn negated(self) -> Self {
        match self {
            Self::Nan => self,
            Self::Infinity(is_negative) => Self::Infinity(!is_negative),
            Self::Zero(is_negative) => Self::Zero(!is_negative),
            Self::Finite {
                is_negative,
                exponent,
                significand,
            } => Self::Finite {
                is_negative: !is_negative,
                exponent,
                significand,
            },
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
            (
                Self::Finite {
                    is_negative: a_negative,
                    exponent: a_exponent,
                    significand: a,
                },
                Self::Finite {
                    is_negative: b_negative,
                    exponent: b_exponent,
                    significand: b,
                },
            ) => {
                let mut large = (a_negative, align(a, a_exponent));
                let mut small = (b_negative, align(b, b_exponent));
                if (large.1.1, large.1.0) < (small.1.1, small.1.0) {
                    std::mem::swap(&mut large, &mut small);
                }
                let (is_negative, (a, exponent)) = large;
                let (b_negative, (b, b_exponent)) = small;
                let b = shift_right_sticky(b, exponent.abs_diff(b_exponent));
                let significand = if is_negative == b_negative {
                    a + b
                } else {
                    a - b
                };
                if significand == 0 {
                    return Self::Zero(rounding == Rounding::Down);
                }
                Self::Finite {
                    is_negative,
                    exponent,
                    significand,
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
            (
                Self::Finite {
                    exponent: a_exponent,
                    significand: a,
                    ..
                },
                Self::Finite {
                    exponent: b_exponent,
                    significand: b,
                    ..
                },
            ) => Self::Finite {
                is_negative: negative,
                exponent: a_exponent + b_exponent,
                significand: a * b,
            },
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
            (
                Self::Finite {
                    exponent: a_exponent,
                    significand: a,
                    ..
                },
                Self::Finite {
                    exponent: b_exponent,
                    significand: b,
                    ..
                },
            ) => {
                let (a, a_exponent) = align(a, a_exponent);
                Self::Finite {
                    is_negative: negative,
                    exponent: a_exponent - b_exponent,
                    significand: (a / b) | u128::from(a % b != 0),
                }
            }
        }
    }

    /// The square root, of a number whose significand has at most 53 bits.
    #[must_use]
    pub fn square_root(self) -> Self {
        match self {
            Self::Zero(_) | Self::Infinity(false) => self,
            Self::Finite {
                is_negative: false,
                exponent,
                significand,
            } => {
                let (mut significand, mut exponent) = align(significand, exponent);
                if exponent % 2 != 0 {
                    significand /= 2;
                    exponent += 1;
                }
                let root = significand.isqrt();
                Self::Finite {
                    is_negative: false,
                    exponent: exponent / 2 - 1,
                    significand: root << 1 | u128::from(root * root != significand),
                }
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
