//! The model of `.approx` instructions: the function in `f64`, rounded once to the result's
//! format. That is the correctly rounded result but for about one argument in 2^28, where it is
//! the neighbour. Hardware may differ from it by what [`DOCUMENTED_ERROR`] says.

/// An instruction and the largest error that PTX ISA 9.7.3 and 9.7.4 allow it.
pub const DOCUMENTED_ERROR: [(&str, &str); 15] = [
    ("div.full.f32", "2 ulp over the full range"),
    ("div.approx.f32", "2 ulp for 2^-126 <= |b| <= 2^126"),
    ("rcp.approx.f32", "1 ulp"),
    ("rcp.approx.ftz.f64", "20 bits of mantissa"),
    ("sqrt.approx.f32", "2^-23 relative"),
    ("rsqrt.approx.f32", "2^-22.9 relative"),
    ("rsqrt.approx.f64", "2^-20.9 relative"),
    ("sin.approx.f32", "2^-20.5 absolute for |a| <= 2 pi"),
    ("cos.approx.f32", "2^-20.5 absolute for |a| <= 2 pi"),
    (
        "lg2.approx.f32",
        "2^-22 absolute for 0.5 < a < 2, else 2^-22 relative",
    ),
    ("ex2.approx.f32", "2^-22.5 relative"),
    ("ex2.approx.f16", "2^-9.9 relative"),
    ("ex2.approx.ftz.bf16", "2^-7 relative"),
    ("tanh.approx.f32", "2^-11 relative"),
    (
        "tanh.approx.f16, .bf16",
        "2^-10.987 (f16), 2^-8 (bf16) absolute",
    ),
];

/// `div.approx`: as `div`, but zero for a finite `a` and NaN for an infinite one when
/// `2^126 < |b| < 2^128`.
#[inline(always)]
pub fn divide(a: f64, b: f64) -> f64 {
    let is_huge = b.abs() > 2f64.powi(126) && b.is_finite();
    let quotient = a / b;
    if !is_huge || quotient.is_nan() {
        quotient
    } else if a.is_infinite() {
        f64::NAN
    } else {
        0.0f64.copysign(quotient)
    }
}

/// `rsqrt`.
#[inline(always)]
pub fn reciprocal_square_root(a: f64) -> f64 {
    if a == 0.0 {
        f64::INFINITY.copysign(a)
    } else {
        1.0 / a.sqrt()
    }
}

/// `rcp.approx.ftz.f64`: the reciprocal of the upper 32 bits of `a`, without the lower 32 bits
/// of the result; subnormals count as zeros.
#[inline(always)]
pub fn reciprocal_upper(a: f64) -> f64 {
    upper_only(a, |x| 1.0 / x)
}

/// `rsqrt.approx.ftz.f64`, with the same precision as [`reciprocal_upper`].
#[inline(always)]
pub fn reciprocal_square_root_upper(a: f64) -> f64 {
    upper_only(a, reciprocal_square_root)
}

#[inline(always)]
fn upper_only(a: f64, f: impl Fn(f64) -> f64) -> f64 {
    const UPPER: u64 = 0xffff_ffff_0000_0000;
    use super::float::Float;
    let upper = f64::from_bits(a.to_bits() & UPPER).flushed();
    let result = f(if a.is_nan() { a } else { upper }).flushed().canonical();
    f64::from_bits(result.to_bits() & UPPER)
}
