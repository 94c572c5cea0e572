//! IEEE 754 arithmetic by its definition: an exact number, rounded once. Numbers are integers
//! times powers of two; what lies below 128 bits is kept as a last bit that says "not zero".

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

/// `magnitude * 2^exponent`, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Nan,
    Infinite {
        negative: bool,
    },
    Finite {
        negative: bool,
        magnitude: u128,
        exponent: i32,
    },
}
use Number::{Finite, Infinite, Nan};

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
                Top::Ieee if magnitude == self.infinity() => Infinite { negative },
                _ => Nan,
            };
        }
        let field = (magnitude >> self.mantissa) as i32;
        let fraction = u128::from(magnitude & (self.smallest_normal() - 1));
        let hidden = u128::from(field > 0) << self.mantissa;
        Finite {
            negative,
            magnitude: fraction + hidden,
            exponent: field.max(1) - self.bias() - self.mantissa as i32,
        }
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
            Infinite { negative } => return signed(negative, beyond),
            Finite {
                negative,
                magnitude: 0,
                ..
            } => return signed(negative, 0),
            Finite {
                negative,
                magnitude,
                exponent,
            } => (negative, magnitude, exponent),
        };
        // The step between codes here, as a power of two.
        let leading = 127 - magnitude.leading_zeros() as i32 + exponent;
        let smallest = 1 - self.bias();
        let step = leading.max(smallest) - self.mantissa as i32;
        let down = match step - exponent {
            shift @ ..=0 => magnitude << -shift,
            shift => magnitude.checked_shr(shift as u32).unwrap_or(0),
        };
        let back = match step - exponent {
            shift @ 1..=127 => down << shift,
            shift if shift > 127 => 0,
            _ => magnitude,
        };
        let is_exact = step <= exponent || back == magnitude;
        // Twice the distance from the code below, compared with a step.
        let half = match step - exponent {
            shift @ 1..=127 => (magnitude - back).cmp(&(1 << (shift - 1))),
            128 => magnitude.cmp(&(1 << 127)),
            _ => std::cmp::Ordering::Less,
        };
        let is_up = !is_exact
            && match mode {
                Mode::Rn => half.is_gt() || half.is_eq() && down % 2 == 1,
                Mode::Rna => half.is_ge(),
                Mode::Rz => false,
                Mode::Rm => negative,
                Mode::Rp => !negative,
            };
        let steps = down as u64 + u64::from(is_up);
        // Codes count steps: those of a binade follow those of the one below.
        let code = ((leading.max(smallest) - smallest) as u64) * self.smallest_normal() + steps;
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
        self.encode(multiply(self.decode(a), self.decode(b)), Mode::Rn)
    }
}

/// A number that an integer is.
pub fn integer(value: i128) -> Number {
    Finite {
        negative: value < 0,
        magnitude: value.unsigned_abs(),
        exponent: 0,
    }
}

pub fn is_negative(number: Number) -> bool {
    match number {
        Nan => false,
        Infinite { negative } | Finite { negative, .. } => negative,
    }
}

pub fn negate(number: Number) -> Number {
    match number {
        Nan => Nan,
        Infinite { negative } => Infinite {
            negative: !negative,
        },
        Finite {
            negative,
            magnitude,
            exponent,
        } => Finite {
            negative: !negative,
            magnitude,
            exponent,
        },
    }
}

pub fn multiply(a: Number, b: Number) -> Number {
    let sign = is_negative(a) != is_negative(b);
    match (a, b) {
        (Nan, _) | (_, Nan) => Nan,
        (Infinite { .. }, Finite { magnitude: 0, .. })
        | (Finite { magnitude: 0, .. }, Infinite { .. }) => Nan,
        (Infinite { .. }, _) | (_, Infinite { .. }) => Infinite { negative: sign },
        (
            Finite {
                magnitude: m,
                exponent: x,
                ..
            },
            Finite {
                magnitude: n,
                exponent: y,
                ..
            },
        ) => Finite {
            negative: sign,
            magnitude: m * n,
            exponent: x + y,
        },
    }
}

/// The magnitude in units of `2^unit`, with the last bit set if something is below it.
fn at(magnitude: u128, exponent: i32, unit: i32) -> i128 {
    let shift = unit - exponent;
    if shift <= 0 {
        return (magnitude << -shift) as i128;
    }
    let kept = magnitude.checked_shr(shift as u32).unwrap_or(0);
    let lost = kept.checked_shl(shift as u32).unwrap_or(0) != magnitude;
    (kept | u128::from(lost)) as i128
}

/// The sum; a zero of opposite numbers is negative when rounding down.
pub fn add(a: Number, b: Number, mode: Mode) -> Number {
    match (a, b) {
        (Nan, _) | (_, Nan) => Nan,
        (Infinite { negative: p }, Infinite { negative: q }) if p != q => Nan,
        (Infinite { negative }, _) | (_, Infinite { negative }) => Infinite { negative },
        (
            Finite {
                negative: p,
                magnitude: m,
                exponent: x,
            },
            Finite {
                negative: q,
                magnitude: n,
                exponent: y,
            },
        ) => {
            if m == 0 && n == 0 {
                let negative = if p == q { p } else { mode == Mode::Rm };
                return Finite {
                    negative,
                    magnitude: 0,
                    exponent: 0,
                };
            }
            let top = |m: u128, x: i32| match m {
                0 => i32::MIN,
                _ => 128 - m.leading_zeros() as i32 + x,
            };
            // The larger one fills 125 bits. Bits of the other are lost only when it is smaller
            // by more than a binade, so that the sum keeps nearly all of them.
            let unit = top(m, x).max(top(n, y)) - 125;
            let signed = |negative: bool, value: i128| if negative { -value } else { value };
            let sum = signed(p, at(m, x, unit)) + signed(q, at(n, y, unit));
            Finite {
                negative: if sum == 0 { mode == Mode::Rm } else { sum < 0 },
                magnitude: sum.unsigned_abs(),
                exponent: unit,
            }
        }
    }
}

pub fn divide(a: Number, b: Number) -> Number {
    let sign = is_negative(a) != is_negative(b);
    let zero = Finite {
        negative: sign,
        magnitude: 0,
        exponent: 0,
    };
    match (a, b) {
        (Nan, _) | (_, Nan) | (Infinite { .. }, Infinite { .. }) => Nan,
        (Finite { magnitude: 0, .. }, Finite { magnitude: 0, .. }) => Nan,
        (Infinite { .. }, _) | (_, Finite { magnitude: 0, .. }) => Infinite { negative: sign },
        (_, Infinite { .. }) => zero,
        (
            Finite {
                magnitude: m,
                exponent: x,
                ..
            },
            Finite {
                magnitude: n,
                exponent: y,
                ..
            },
        ) => {
            if m == 0 {
                return zero;
            }
            let shift = m.leading_zeros() - 1;
            let (quotient, rest) = ((m << shift) / n, (m << shift) % n);
            // Subnormal numbers have few bits; one more tells what is left.
            Finite {
                negative: sign,
                magnitude: quotient << 1 | u128::from(rest != 0),
                exponent: x - shift as i32 - y - 1,
            }
        }
    }
}

pub fn square_root(a: Number) -> Number {
    match a {
        Finite { magnitude: 0, .. } => a,
        Nan | Infinite { negative: true } | Finite { negative: true, .. } => Nan,
        Infinite { .. } => a,
        Finite {
            magnitude,
            exponent,
            ..
        } => {
            let room = magnitude.leading_zeros() as i32;
            let shift = room - (exponent - room).rem_euclid(2);
            let radicand = magnitude << shift;
            let root = radicand.isqrt();
            // The lowest place may be far above the last bit of the root, never below.
            Finite {
                negative: false,
                magnitude: root << 1 | u128::from(root * root != radicand),
                exponent: (exponent - shift) / 2 - 1,
            }
        }
    }
}

/// The integer that a finite number rounds to.
pub fn to_integer(number: Number, mode: Mode) -> Option<i128> {
    let Finite {
        negative,
        magnitude,
        exponent,
    } = number
    else {
        return None;
    };
    if exponent >= 0 {
        let large = magnitude
            .checked_shl(exponent as u32)
            .filter(|x| x >> exponent == magnitude);
        let value = large.map_or(i128::MAX, |x| i128::try_from(x).unwrap_or(i128::MAX));
        return Some(if negative { -value } else { value });
    }
    let shift = exponent.unsigned_abs();
    let below = magnitude.checked_shr(shift).unwrap_or(0);
    let rest = magnitude - below.checked_shl(shift).unwrap_or(0);
    let half = if shift > 127 {
        std::cmp::Ordering::Less
    } else {
        rest.cmp(&(1 << (shift - 1)))
    };
    let is_up = rest != 0
        && match mode {
            Mode::Rn => half.is_gt() || half.is_eq() && below % 2 == 1,
            Mode::Rna => half.is_ge(),
            Mode::Rz => false,
            Mode::Rm => negative,
            Mode::Rp => !negative,
        };
    let value = (below + u128::from(is_up)) as i128;
    Some(if negative { -value } else { value })
}

/// Rounding to nearest is what the host's own arithmetic does.
#[test]
fn the_definitions_agree_with_the_host() {
    use crate::inputs::{float_pairs, float_triples};
    let same = |format: Format, ours: u64, host: u64, what: &str| {
        let both_nan = format.is_nan(ours) && format.is_nan(host);
        assert!(
            both_nan || ours == host,
            "{what}: {ours:#x}, host {host:#x}"
        );
    };
    macro_rules! check {
        ($format:expr, $float:ty, $bits:ty) => {
            let f = |x: u64| <$float>::from_bits(x as $bits);
            let code = |x: $float| u64::from(x.to_bits());
            for [a, b] in float_pairs($format) {
                let (p, q) = ($format.decode(a), $format.decode(b));
                let is = |number, host: $float, what: &str| {
                    let what = format!("{a:#x} {what} {b:#x}");
                    same($format, $format.encode(number, Mode::Rn), code(host), &what);
                };
                is(add(p, q, Mode::Rn), f(a) + f(b), "+");
                is(multiply(p, q), f(a) * f(b), "*");
                is(divide(p, q), f(a) / f(b), "/");
                is(square_root(p), f(a).sqrt(), "sqrt");
            }
            for [a, b, c] in float_triples($format) {
                let [p, q, r] = [a, b, c].map(|x| $format.decode(x));
                let ours = $format.encode(add(multiply(p, q), r, Mode::Rn), Mode::Rn);
                let host = code(f(a).mul_add(f(b), f(c)));
                same($format, ours, host, &format!("fma {a:#x} {b:#x} {c:#x}"));
            }
        };
    }
    check!(F32, f32, u32);
    check!(F64, f64, u64);
}
