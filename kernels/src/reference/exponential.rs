//! The exponential function, by steps that give the same bits on every machine.

use std::f64::consts::{LN_2, LOG2_E};

/// Taylor coefficients `ln(2)^i / i!` of `2^r`; for `|r| <= 1/2` what they leave out is below
/// `2^-41` of the sum.
pub const COEFFICIENTS: [f64; 11] = {
    let mut coefficients = [1.0; 11];
    let mut i = 1;
    while i < coefficients.len() {
        coefficients[i] = coefficients[i - 1] * LN_2 / i as f64;
        i += 1;
    }
    coefficients
};

/// Adding this rounds a small `f64` to an integer, which the sum's low bits then hold.
const TO_INTEGER: f64 = (3u64 << 51) as f64;

/// `e^x` as `2^n 2^r` with integer `n`, to 2^-41 of it. No branch, no table, no fused multiply: the
/// same bits on every machine.
#[inline(always)]
pub fn power(x: f32) -> f64 {
    // Far beyond what an f32 result distinguishes, well inside the exponents of f64.
    let t = (f64::from(x) * LOG2_E).clamp(-1000.0, 1000.0);
    let shifted = t + TO_INTEGER;
    let r = t - (shifted - TO_INTEGER);
    let power = COEFFICIENTS
        .iter()
        .rev()
        .fold(0.0, |sum, coefficient| sum * r + coefficient);
    let scale = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1f64.to_bits()));
    power * scale
}

/// `e^x`: [`power`] rounded once, so that the result is the nearest `f32` wherever `e^x` is not
/// within `2^-17` units in the last place of the middle between two.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    power(x) as f32
}
