//! Error bounds of sums of products in f32, in any order: on tensor cores, by the bound of
//! [`mxlab_harness::tensor_core`], and by f32 instructions.

pub(crate) use mxlab_harness::tensor_core::lowest_bit;
use mxlab_harness::tensor_core::{Operand, Sums, Term, Terms};

use crate::format::pow2;

/// The least power of a bf16 operand.
pub(crate) const BF16: f64 = Operand::Bf16.least_power();

/// Products of bf16 operands. `least` holds the least powers of both operands, times their scales.
pub(crate) fn products(operands: impl IntoIterator<Item = [f64; 2]>, least: [f64; 2]) -> Terms {
    let product = |operands| Term::product(operands, least);
    operands.into_iter().map(product).collect()
}

/// The sum of `products` products on tensor cores, and its error bound, including `additions`
/// further additions.
pub(crate) fn multiplied(terms: &Terms, products: usize, additions: usize) -> (f64, f64) {
    let bound = terms.bound(Sums::F32, products, additions);
    (bound.exact, bound.error)
}

/// The sum of numbers, and the error bound of `additions` f32 additions.
///
/// Each is off by at most 2^-23 of its result, so that all are off by at most
/// `additions 2^-23 sum |x|`, to first order; where all x are multiples of a q and
/// `sum |x| <= 2^24 q` every partial sum is an f32, and nothing is lost. (Higham, Accuracy and
/// Stability of Numerical Algorithms, 4.2.)
pub(crate) fn sum(numbers: &[f64], additions: usize) -> (f64, f64) {
    let exact: f64 = numbers.iter().sum();
    if !exact.is_finite() {
        return (exact, 0.0);
    }
    let magnitude: f64 = numbers.iter().map(|p| p.abs()).sum();
    let nonzero = numbers.iter().filter(|p| **p != 0.0);
    let unit = nonzero
        .map(|p| lowest_bit(*p))
        .fold(f64::INFINITY, f64::min);
    if magnitude <= unit * pow2(24) && unit >= pow2(-149) {
        return (exact, 0.0);
    }
    let error = additions as f64 * (pow2(-23) * magnitude + pow2(-149));
    (exact, error)
}
