//! Rounding to the type of a model's arithmetic.

use multiversion::multiversion;
use mxlab_kernels::format::FloatType;

/// Runs a loop with a rounding to a type, once compiled for each type:
/// `rounding!(dtype, |round| for x in values { *x = round(*x) })`.
macro_rules! rounding {
    ($dtype:expr, |$round:ident| $body:expr) => {
        match $dtype {
            FloatType::F32 => {
                let $round = |x: f32| x;
                $body
            }
            FloatType::Bf16 => {
                let $round = $crate::model::ops::rounding::round_to_bf16;
                $body
            }
            FloatType::F16 => {
                let $round = |x: f32| FloatType::F16.round(x);
                $body
            }
        }
    };
}
pub(super) use rounding;

/// Rounds values to a type.
#[multiversion(targets = "simd")]
pub fn narrow(values: &mut [f32], dtype: FloatType) {
    if dtype != FloatType::F32 {
        apply(values, |x| x, dtype);
    }
}

/// `x = function(x)`, rounded to `dtype`. For inlining into functions that are compiled for
/// vectors.
#[inline(always)]
pub(super) fn apply(values: &mut [f32], function: impl Fn(f32) -> f32, dtype: FloatType) {
    rounding!(dtype, |round| for x in values {
        *x = round(function(*x));
    });
}

/// [`FloatType::round`] to bf16 without a branch, for loops on vector registers.
#[inline(always)]
pub(super) fn round_to_bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let quiet_nan = bits | 0x0040_0000;
    f32::from_bits(if x.is_nan() { quiet_nan } else { nearest } & 0xffff_0000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_rounding_to_bf16_equals_the_definition() {
        for high in 0..=u32::from(u16::MAX) {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(high << 16 | low);
                let (fast, law) = (round_to_bf16(x), FloatType::Bf16.round(x));
                assert_eq!(fast.to_bits(), law.to_bits(), "{x:e}");
            }
        }
    }
}
