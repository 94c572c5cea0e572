//! The exponential function in a form that loops can run on vector registers.

use std::f64::consts::{LN_2, LOG2_E};

/// Taylor coefficients `ln(2)^i / i!` of `2^r`; for `|r| <= 1/2` what they leave out is below
/// `2^-41` of the sum.
const COEFFICIENTS: [f64; 11] = {
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

/// `e^x`: computed in `f64` as `2^n 2^r` with integer `n` and rounded once, so that the result
/// is the nearest `f32` wherever `e^x` is not within `2^-17` units in the last place of the
/// middle between two. No branch, no table, no fused multiply: the same bits on every CPU.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Far beyond what an f32 result distinguishes, well inside the exponents of f64.
    let t = (f64::from(x) * LOG2_E).clamp(-1000.0, 1000.0);
    let shifted = t + TO_INTEGER;
    let r = t - (shifted - TO_INTEGER);
    let power = COEFFICIENTS
        .iter()
        .rev()
        .fold(0.0, |sum, coefficient| sum * r + coefficient);
    let scale = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1f64.to_bits()));
    (power * scale) as f32
}

#[cfg(test)]
mod tests {
    use multiversion::multiversion;

    use super::*;

    #[multiversion(targets = "simd")]
    fn exp_all(values: &mut [f32]) {
        for x in values {
            *x = exp(*x);
        }
    }

    #[test]
    fn is_the_nearest_f32_on_every_path() {
        let step = 251;
        let inputs: Vec<f32> = (0..=u32::MAX).step_by(step).map(f32::from_bits).collect();
        let mut vectors = inputs.clone();
        exp_all(&mut vectors);
        let mut inexact = 0;
        for (&x, vector) in inputs.iter().zip(vectors) {
            let scalar = exp(x);
            assert_eq!(scalar.to_bits(), vector.to_bits(), "{x:e}");
            let law = f64::from(x).exp() as f32;
            if law.is_nan() {
                assert!(scalar.is_nan(), "{x:e}");
            } else {
                let apart = scalar.to_bits().abs_diff(law.to_bits());
                assert!(apart <= 1, "{x:e}: {scalar:e}, not {law:e}");
                inexact += apart;
            }
        }
        assert!(inexact as usize <= inputs.len() >> 17, "{inexact} inexact");
    }

    #[test]
    fn keeps_the_edges() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }
}
