//! Floating-point formats by their definition: codes to exact numbers, which are integers times
//! powers of two, and back, rounded once.

/// How an instruction rounds, as its modifier names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Rn,
    Rna,
    Rz,
    Rm,
    Rp,
}

/// The modes of arithmetic.
pub const MODES: [(&str, Mode); 4] = [
    ("rn", Mode::Rn),
    ("rz", Mode::Rz),
    ("rm", Mode::Rm),
    ("rp", Mode::Rp),
];

/// What the codes with the largest exponent are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Top {
    /// Infinity and NaN.
    Ieee,
    /// Numbers but for the last, NaN.
    OneNan,
    /// Numbers.
    Numbers,
}

/// Bits of exponent and mantissa.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub exponent: u32,
    pub mantissa: u32,
    pub top: Top,
}

const fn format(exponent: u32, mantissa: u32, top: Top) -> Format {
    Format {
        exponent,
        mantissa,
        top,
    }
}

pub const F64: Format = format(11, 52, Top::Ieee);
pub const F32: Format = format(8, 23, Top::Ieee);
pub const F16: Format = format(5, 10, Top::Ieee);
pub const BF16: Format = format(8, 7, Top::Ieee);
pub const TF32: Format = format(8, 10, Top::Ieee);
pub const E5M2: Format = format(5, 2, Top::Ieee);
pub const E4M3: Format = format(4, 3, Top::OneNan);
pub const E3M2: Format = format(3, 2, Top::Numbers);
pub const E2M3: Format = format(2, 3, Top::Numbers);
pub const E2M1: Format = format(2, 1, Top::Numbers);

/// The format of a scalar type of PTX.
pub fn format_of(ty: &str) -> Format {
    match ty {
        "f64" => F64,
        "f32" => F32,
        "f16" => F16,
        "bf16" => BF16,
        other => panic!("{other} is no floating-point type"),
    }
}

/// What a code stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Nan,
    /// An infinity, by whether it is negative.
    Infinite(bool),
    /// `magnitude * 2^exponent`: whether it is negative, magnitude, exponent.
    Finite(bool, u128, i32),
}
use Number::{Finite, Infinite, Nan};

/// `magnitude / 2^shift` as an integer, rounded.
pub fn rounded(magnitude: u128, shift: u32, negative: bool, mode: Mode) -> u128 {
    let down = magnitude.checked_shr(shift).unwrap_or(0);
    let rest = magnitude - down.checked_shl(shift).unwrap_or(0);
    // What is left, compared with half a step; far below a step it is less.
    let half = match shift {
        0 => return magnitude,
        1..=128 => rest.cmp(&(1 << (shift - 1))),
        _ => std::cmp::Ordering::Less,
    };
    let is_up = rest != 0
        && match mode {
            Mode::Rn => half.is_gt() || half.is_eq() && down % 2 == 1,
            Mode::Rna => half.is_ge(),
            Mode::Rz => false,
            Mode::Rm => negative,
            Mode::Rp => !negative,
        };
    down + u128::from(is_up)
}

impl Format {
    pub const fn bits(self) -> u32 {
        1 + self.exponent + self.mantissa
    }

    pub const fn sign(self) -> u64 {
        1 << (self.exponent + self.mantissa)
    }

    const fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    /// The code of one.
    pub const fn one(self) -> u64 {
        (self.bias() as u64) << self.mantissa
    }

    pub const fn smallest_normal(self) -> u64 {
        1 << self.mantissa
    }

    /// The code of infinity, where there is one: above it are NaNs.
    pub const fn infinity(self) -> u64 {
        self.sign() - (1 << self.mantissa)
    }

    pub const fn quiet_nan(self) -> u64 {
        self.infinity() | 1 << (self.mantissa - 1)
    }

    /// The code of the largest number.
    pub const fn largest(self) -> u64 {
        match self.top {
            Top::Ieee => self.infinity() - 1,
            Top::OneNan => self.sign() - 2,
            Top::Numbers => self.sign() - 1,
        }
    }

    /// What instructions give for NaN. PTX ISA 9.7.3 and 9.7.4: all bits but the sign; formats
    /// without NaN have their largest number in its place.
    pub const fn canonical_nan(self) -> u64 {
        self.sign() - 1
    }

    pub fn decode(self, code: u64) -> Number {
        let negative = code & self.sign() != 0;
        let magnitude = code & (self.sign() - 1);
        if magnitude > self.largest() {
            return match self.top {
                Top::Ieee if magnitude == self.infinity() => Infinite(negative),
                _ => Nan,
            };
        }
        let field = (magnitude >> self.mantissa) as i32;
        let fraction = u128::from(magnitude & (self.smallest_normal() - 1));
        let hidden = u128::from(field > 0) << self.mantissa;
        let exponent = field.max(1) - self.bias() - self.mantissa as i32;
        Finite(negative, fraction + hidden, exponent)
    }

    /// The code of a number, rounded. Overflow becomes infinity, or, where there is none or when
    /// `finite`, the largest number.
    pub fn encode_to(self, number: Number, mode: Mode, finite: bool) -> u64 {
        let signed = |negative: bool, code: u64| code | if negative { self.sign() } else { 0 };
        let beyond = match self.top {
            _ if finite => self.largest(),
            Top::Ieee => self.infinity(),
            Top::OneNan => self.canonical_nan(),
            Top::Numbers => self.largest(),
        };
        let (negative, magnitude, exponent) = match number {
            Nan => return self.canonical_nan(),
            Infinite(negative) => return signed(negative, beyond),
            Finite(negative, 0, _) => return signed(negative, 0),
            Finite(negative, magnitude, exponent) => (negative, magnitude, exponent),
        };
        // The step between codes here, as a power of two.
        let leading = 127 - magnitude.leading_zeros() as i32 + exponent;
        let smallest = 1 - self.bias();
        let step = leading.max(smallest) - self.mantissa as i32;
        let steps = match step - exponent {
            shift @ ..=0 => magnitude << -shift,
            shift => rounded(magnitude, shift as u32, negative, mode),
        };
        // Codes count steps: those of a binade follow those of the one below.
        let code =
            ((leading.max(smallest) - smallest) as u64) * self.smallest_normal() + steps as u64;
        if code <= self.largest() {
            return signed(negative, code);
        }
        let stays = match mode {
            Mode::Rn | Mode::Rna => false,
            Mode::Rz => true,
            Mode::Rm => !negative,
            Mode::Rp => negative,
        };
        signed(negative, if stays { self.largest() } else { beyond })
    }

    pub fn encode(self, number: Number, mode: Mode) -> u64 {
        self.encode_to(number, mode, false)
    }

    pub fn is_nan(self, code: u64) -> bool {
        self.decode(code) == Nan
    }

    pub fn is_subnormal(self, code: u64) -> bool {
        let magnitude = code & (self.sign() - 1);
        magnitude != 0 && magnitude < self.smallest_normal()
    }

    /// Subnormal numbers become zeros with their sign.
    pub fn flushed(self, code: u64) -> u64 {
        if self.is_subnormal(code) {
            code & self.sign()
        } else {
            code
        }
    }

    pub fn is_negative(self, code: u64) -> bool {
        code & self.sign() != 0
    }

    /// The value of a code as `f64`, which has all of them.
    pub fn value(self, code: u64) -> f64 {
        f64::from_bits(match self.decode(code) {
            Nan => F64.quiet_nan(),
            number => F64.encode(number, Mode::Rn),
        })
    }

    /// The code nearest to an `f64`.
    pub fn nearest(self, x: f64) -> u64 {
        self.encode(F64.decode(x.to_bits()), Mode::Rn)
    }

    /// The product of two codes, rounded to nearest.
    pub fn multiplied(self, a: u64, b: u64) -> u64 {
        self.encode(
            crate::conformance::arithmetic::multiply(self.decode(a), self.decode(b)),
            Mode::Rn,
        )
    }
}
