//! The functions of MLPs, and functions of single values.

use multiversion::multiversion;
use mxlab_kernels::format::FloatType;

use super::rounding::{apply, rounding};
use super::table::RoundedTable;
use super::{exp, multiply_by};
use crate::description::kinds::ActivationFunction;
use crate::model::Map;

/// `gate = function(gate) * up`. The function's value and the product are rounded to `dtype`.
pub fn gate(gate: &mut [f32], up: &[f32], function: ActivationFunction, dtype: FloatType) {
    if let ActivationFunction::ClampedSwiglu { alpha, limit } = function {
        clamped_swiglu(gate, up, [alpha as f32, limit as f32], dtype);
    } else {
        activate(gate, function, dtype);
        multiply_by(gate, up, dtype);
    }
}

/// `x = function(x)`, rounded to `dtype`.
pub fn activate(x: &mut [f32], function: ActivationFunction, dtype: FloatType) {
    static SILU: RoundedTable = RoundedTable::new(silu);
    static GELU_TANH: RoundedTable = RoundedTable::new(gelu_tanh);
    static GELU: RoundedTable = RoundedTable::new(gelu);
    match function {
        ActivationFunction::Silu | ActivationFunction::ClampedSwiglu { .. } => SILU.map(x, dtype),
        ActivationFunction::GeluTanh => GELU_TANH.map(x, dtype),
        ActivationFunction::Gelu => GELU.map(x, dtype),
        ActivationFunction::Relu => apply(x, |x| x.max(0.0), dtype),
    }
}

#[multiversion(targets = "simd")]
fn silu(x: &mut [f32], dtype: FloatType) {
    apply(x, |x| x / (1.0 + exp(-x)), dtype);
}

#[multiversion(targets = "simd")]
fn gelu_tanh(x: &mut [f32], dtype: FloatType) {
    /// `sqrt(2 / pi)`.
    const SCALE: f32 = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
    const CUBIC: f32 = 0.044_715;
    let gelu = |x: f32| {
        let inner = SCALE * (x + CUBIC * (x * x * x));
        0.5 * x * (1.0 + tanh(inner))
    };
    apply(x, gelu, dtype);
}

fn gelu(x: &mut [f32], dtype: FloatType) {
    let gelu = |x: f32| x * 0.5 * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2));
    apply(x, gelu, dtype);
}

/// `x = map(x)`, each step rounded to `dtype`.
pub fn map(x: &mut [f32], map: Map, dtype: FloatType) {
    match map {
        Map::Times(factor) => apply(x, |x| x * factor, dtype),
        Map::Over(divisor) => apply(x, |x| x / divisor, dtype),
        Map::SoftCap(cap) => soft_cap(x, cap, dtype),
    }
}

/// [`ActivationFunction::ClampedSwiglu`], rounded after every product, sum and sigmoid.
#[multiversion(targets = "simd")]
fn clamped_swiglu(gate: &mut [f32], up: &[f32], [alpha, limit]: [f32; 2], dtype: FloatType) {
    rounding!(dtype, |round| for (gate, &up) in gate.iter_mut().zip(up) {
        let clamped = gate.min(limit);
        let sigmoid = round(1.0 / (1.0 + exp(-round(clamped * alpha))));
        let up = round(up.clamp(-limit, limit) + 1.0);
        *gate = round(round(sigmoid * clamped) * up);
    });
}

/// `c tanh(x / c)`, rounded after each of the three steps.
#[multiversion(targets = "simd")]
pub fn soft_cap(x: &mut [f32], cap: f32, dtype: FloatType) {
    soft_cap_inline(x, cap, dtype);
}

/// [`soft_cap`] for inlining into loops that are compiled for vectors.
#[inline(always)]
pub(super) fn soft_cap_inline(x: &mut [f32], cap: f32, dtype: FloatType) {
    apply(x, |x| x / cap, dtype);
    apply(x, tanh, dtype);
    apply(x, |x| x * cap, dtype);
}

/// The hyperbolic tangent, within two units in the last place: an odd polynomial (Cephes' `tanhf`)
/// near zero, exponentials elsewhere.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    /// From where on exponentials lose no digits.
    const NEAR: f32 = 0.625;
    /// From where on the result is 1.
    const FAR: f32 = 10.0;
    let size = x.abs().min(FAR);
    let square = size * size;
    let polynomial = [
        -5.704_988_7e-3,
        2.063_908_8e-2,
        -5.373_971_5e-2,
        1.333_144_2e-1,
        -3.333_328e-1,
    ];
    let sum = polynomial.iter().fold(0.0, |sum, c| sum * square + c);
    let near = size * square * sum + size;
    let far = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
    let value = if size < NEAR { near } else { far };
    // NaN stays NaN.
    if x.is_nan() { x } else { value.copysign(x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_within_two_units() {
        for step in 0..200_000 {
            let x = (step as f32 - 100_000.0) * 1.3e-4;
            let expected = f64::from(x).tanh();
            let unit = f64::from((expected.abs() as f32).next_up()) - expected.abs();
            let error = (f64::from(tanh(x)) - expected).abs();
            assert!(error <= 2.0 * unit.max(1e-45), "{x:e}: {error:e}");
        }
        assert!(tanh(f32::NAN).is_nan());
        assert_eq!(
            (tanh(-0.0).to_bits(), tanh(f32::INFINITY)),
            ((-0.0_f32).to_bits(), 1.0)
        );
    }

    /// Values of PyTorch 2.15, `torch.nn.functional`, in float32.
    #[test]
    fn functions_are_those_of_pytorch() {
        let x = [-3.0_f32, -0.7, 0.1, 2.5];
        let up = [1.5_f32, -8.0, 0.25, 7.5];
        for (function, expected) in EXPECTED {
            let mut values = x;
            activate(&mut values, function, FloatType::F32);
            for (value, expected) in values.iter().zip(expected) {
                assert!(
                    (value - expected).abs() < 1e-6,
                    "{function:?} {value} {expected}"
                );
            }
        }
        let function = ActivationFunction::ClampedSwiglu {
            alpha: 1.702,
            limit: 2.0,
        };
        let mut out = x;
        gate(&mut out, &up, function, FloatType::F32);
        for (value, expected) in out.iter().zip(CLAMPED) {
            assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        }
    }

    const EXPECTED: [(ActivationFunction, [f32; 4]); 4] = [
        (
            ActivationFunction::Silu,
            [-0.142_277_61, -0.232_268_56, 0.052_497_92, 2.310_354_5],
        ),
        (
            ActivationFunction::GeluTanh,
            [-0.003_637_433, -0.169_429_85, 0.053_982_783, 2.484_915_7],
        ),
        (
            ActivationFunction::Gelu,
            [-0.004_050_225, -0.169_374_56, 0.053_982_783, 2.484_475_9],
        ),
        (ActivationFunction::Relu, [0.0, 0.0, 0.1, 2.5]),
    ];
    const CLAMPED: [f32; 4] = [-0.045_178_276, 0.163_106_04, 0.067_805_946, 5.806_976];
}
