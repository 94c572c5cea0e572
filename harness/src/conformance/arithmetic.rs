//! Exact arithmetic on numbers: what lies below 128 bits is kept as a last bit that says "not
//! zero".

use crate::conformance::numbers::Number::{self, Finite, Infinite, Nan};
use crate::conformance::numbers::{Mode, rounded};

/// A number that an integer is.
pub fn integer(value: i128) -> Number {
    Finite(value < 0, value.unsigned_abs(), 0)
}

pub fn is_negative(number: Number) -> bool {
    match number {
        Nan => false,
        Infinite(negative) | Finite(negative, ..) => negative,
    }
}

pub fn negate(number: Number) -> Number {
    match number {
        Nan => Nan,
        Infinite(negative) => Infinite(!negative),
        Finite(negative, magnitude, exponent) => Finite(!negative, magnitude, exponent),
    }
}

pub fn multiply(a: Number, b: Number) -> Number {
    let sign = is_negative(a) != is_negative(b);
    match (a, b) {
        (Nan, _) | (_, Nan) => Nan,
        (Infinite(_), Finite(_, 0, _)) | (Finite(_, 0, _), Infinite(_)) => Nan,
        (Infinite(_), _) | (_, Infinite(_)) => Infinite(sign),
        (Finite(_, m, x), Finite(_, n, y)) => Finite(sign, m * n, x + y),
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
    let (p, m, x, q, n, y) = match (a, b) {
        (Nan, _) | (_, Nan) => return Nan,
        (Infinite(p), Infinite(q)) if p != q => return Nan,
        (Infinite(sign), _) | (_, Infinite(sign)) => return Infinite(sign),
        (Finite(p, m, x), Finite(q, n, y)) => (p, m, x, q, n, y),
    };
    if m == 0 && n == 0 {
        return Finite(if p == q { p } else { mode == Mode::Rm }, 0, 0);
    }
    let top = |m: u128, x: i32| match m {
        0 => i32::MIN,
        _ => 128 - m.leading_zeros() as i32 + x,
    };
    // The larger one fills 125 bits. Bits of the other are lost only when it is smaller by more
    // than a binade, so that the sum keeps nearly all of them.
    let unit = top(m, x).max(top(n, y)) - 125;
    let signed = |negative: bool, value: i128| if negative { -value } else { value };
    let sum = signed(p, at(m, x, unit)) + signed(q, at(n, y, unit));
    let negative = if sum == 0 { mode == Mode::Rm } else { sum < 0 };
    Finite(negative, sum.unsigned_abs(), unit)
}

pub fn divide(a: Number, b: Number) -> Number {
    let sign = is_negative(a) != is_negative(b);
    match (a, b) {
        (Nan, _) | (_, Nan) | (Infinite(_), Infinite(_)) => Nan,
        (Finite(_, 0, _), Finite(_, 0, _)) => Nan,
        (Infinite(_), _) | (_, Finite(_, 0, _)) => Infinite(sign),
        (_, Infinite(_)) | (Finite(_, 0, _), _) => Finite(sign, 0, 0),
        (Finite(_, m, x), Finite(_, n, y)) => {
            let shift = m.leading_zeros() - 1;
            let (quotient, rest) = ((m << shift) / n, (m << shift) % n);
            // Subnormal numbers have few bits; one more tells what is left.
            let quotient = quotient << 1 | u128::from(rest != 0);
            Finite(sign, quotient, x - shift as i32 - y - 1)
        }
    }
}

pub fn square_root(a: Number) -> Number {
    match a {
        Finite(_, 0, _) | Infinite(false) => a,
        Nan | Infinite(true) | Finite(true, ..) => Nan,
        Finite(false, magnitude, exponent) => {
            let room = magnitude.leading_zeros() as i32;
            let shift = room - (exponent - room).rem_euclid(2);
            let radicand = magnitude << shift;
            let root = radicand.isqrt();
            // The lowest place may be far above the last bit of the root, never below.
            let root = root << 1 | u128::from(root * root != radicand);
            Finite(false, root, (exponent - shift) / 2 - 1)
        }
    }
}

/// The integer that a finite number rounds to.
pub fn to_integer(number: Number, mode: Mode) -> Option<i128> {
    let Finite(negative, magnitude, exponent) = number else {
        return None;
    };
    let value = match exponent {
        0.. => magnitude
            .checked_shl(exponent as u32)
            .filter(|x| x >> exponent == magnitude),
        _ => Some(rounded(magnitude, exponent.unsigned_abs(), negative, mode)),
    };
    let value = value.map_or(i128::MAX, |x| i128::try_from(x).unwrap_or(i128::MAX));
    Some(if negative { -value } else { value })
}

/// Rounding to nearest is what the host's own arithmetic does.
#[test]
fn the_definitions_agree_with_the_host() {
    use crate::conformance::inputs::{float_pairs, float_triples};
    use crate::conformance::numbers::{F32, F64, Format};
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
