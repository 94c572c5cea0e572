//! What adding up products in f32, in any order, can lose.
//!
//! The sum of n products p_i, added in any order, each addition off by at most 2^-23 of its result (tensor
//! cores cut rather than round), is off by at most `n 2^-23 sum |p_i|`, to first order; where all p_i are
//! multiples of a q and `sum |p_i| <= 2^24 q` every partial sum is an f32, and nothing is lost. (Higham, Accuracy
//! and Stability of Numerical Algorithms, 4.2.)

use crate::format::pow2;

/// The sum of products, and how far from it `additions` additions may end.
pub(super) fn sum(products: &[f64], additions: usize) -> (f64, f64) {
    let exact: f64 = products.iter().sum();
    let magnitude: f64 = products.iter().map(|p| p.abs()).sum();
    let nonzero = products.iter().filter(|p| **p != 0.0);
    let unit = nonzero
        .map(|p| lowest_bit(*p))
        .fold(f64::INFINITY, f64::min);
    if magnitude <= unit * pow2(24) && unit >= pow2(-149) {
        return (exact, 0.0);
    }
    let error = additions as f64 * (pow2(-23) * magnitude + pow2(-149));
    (exact, error)
}

/// The power of two that the lowest set bit of `p` stands for.
pub(super) fn lowest_bit(p: f64) -> f64 {
    let bits = p.to_bits();
    let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
    let exponent = (bits >> 52 & 0x7FF) as i32 - 1075;
    pow2(exponent + mantissa.trailing_zeros() as i32)
}
