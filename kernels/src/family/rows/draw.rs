//! Draws the operands of problems of rows.

use super::RowVariant;
use super::problems::len;
use crate::format::FloatType;
use crate::reference::norm_scale;
use crate::registry::{Problem, Tensor, Typical};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// How values are distributed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// Over many binades, with values that are no numbers.
    Wide,
    /// As in models.
    Typical,
}

/// A matrix of bf16 with zeros behind each row.
pub(super) fn draw(rng: &mut ChaCha8Rng, rows: usize, cols: usize, stride: usize) -> Tensor {
    let mut values = vec![0.0; len(rows, cols, stride)];
    for row in values.chunks_mut(stride) {
        let spread = rng.random_range(0..6);
        for x in &mut row[..cols] {
            let exponent = match rng.random_range(0..40) {
                0 => rng.random_range(-140..127),
                _ => rng.random_range(-spread..=0),
            };
            *x = 2f32.powi(exponent) * rng.random_range(-2.0..2.0);
        }
        if rng.random_ratio(1, 16) {
            row[rng.random_range(0..cols)] =
                [f32::NAN, f32::INFINITY, -0.0][rng.random_range(0..3)];
        }
        if rng.random_ratio(1, 16) {
            row[..cols].fill(0.0);
        }
    }
    Tensor::of_values(&values, FloatType::Bf16)
}

/// Makes the first row, or head, one whose elements are 1 and less, and chooses epsilon so that 1,
/// without the mean, times the scale is just on the middle between two bf16, or a unit in the last
/// place beside: any other sum rounds to the other side. `moments` are the mean that is subtracted,
/// and the sum of squares.
pub(super) fn scale_on_edge(
    rng: &mut ChaCha8Rng,
    problem: &mut Problem,
    cols: usize,
    moments: impl Fn(&[f32]) -> (f32, f32),
) {
    let Some(src) = problem.tensors.get_mut("src") else {
        return;
    };
    let mut x = vec![0.0; cols];
    for x in &mut x {
        let size = match rng.random_range(0..8) {
            0 => 0.0,
            1..4 => 1.0,
            // Small enough that sums are rounded.
            _ => 2f32.powi(rng.random_range(-14..0)) * rng.random_range(1.0..2.0),
        };
        *x = FloatType::Bf16.round(size) * if rng.random() { 1.0 } else { -1.0 };
    }
    for (bits, &x) in src.bits.iter_mut().zip(&x) {
        *bits = FloatType::Bf16.to_bits(x);
    }
    // 1 + 2^-8 (2 i + 1) is such a middle. Epsilons about ((1 - mean) / middle)^2 - variance are
    // tried.
    let middle = 1.0 + f32::from(2 * rng.random_range(0..8u8) + 1) / 256.0;
    let (mean, squares) = moments(&x);
    let scaled = |eps: f32| (1.0 - mean) * norm_scale(squares, cols, eps);
    let target = (f64::from(1.0 - mean) / f64::from(middle)).powi(2) as f32;
    let variance = squares / cols as f32;
    if variance >= target {
        return;
    }
    let near = (target - variance).to_bits();
    let found = (near.saturating_sub(64)..near + 64)
        .map(f32::from_bits)
        .find(|&eps| {
            scaled(eps).to_bits().abs_diff(middle.to_bits()) <= 1 && rng.random_ratio(1, 3)
        });
    if let Some(eps) = found {
        let eps = Tensor::of_values(&[eps], FloatType::F32);
        problem.tensors.insert("eps".to_owned(), eps);
        show_the_scale(rng, problem, cols);
    }
}

/// Makes nothing of half of the first row's gains, biases and residuals, where they come before the
/// first rounding.
fn show_the_scale(rng: &mut ChaCha8Rng, problem: &mut Problem, cols: usize) {
    let offset = problem.tensors.get("offset");
    let gain = offset.map(|offset| 1.0 - offset.values()[0]);
    let values = [
        ("gain", gain.unwrap_or(1.0)),
        ("bias", 0.0),
        ("residual", 0.0),
    ];
    for (name, value) in values {
        if let Some(tensor) = problem.tensors.get_mut(name) {
            for bits in &mut tensor.bits[..cols] {
                if rng.random() {
                    *bits = FloatType::Bf16.to_bits(value);
                }
            }
        }
    }
}

/// Chooses a factor, divisor or cap so that what it makes of half of the first row is just on the
/// middle between two bf16, but for the rounding of the product or quotient itself.
fn factor_on_edge(rng: &mut ChaCha8Rng, problem: &mut Problem, cols: usize) {
    let x = [3.0, 5.0, 7.0, 11.0, 13.0][rng.random_range(0..5)];
    let middle = 1.0 + f32::from(2 * rng.random_range(0..128u8) + 1) / 256.0;
    if let Some(src) = problem.tensors.get_mut("src") {
        for bits in &mut src.bits[..cols] {
            if rng.random() {
                let power = 2f32.powi(rng.random_range(-6..0));
                *bits = FloatType::Bf16.to_bits(x * power * [-1.0, 1.0][rng.random_range(0..2)]);
            }
        }
    }
    let is_divided = rng.random();
    for (name, value) in [
        ("factor", if is_divided { 1.0 } else { middle / x }),
        ("divisor", if is_divided { x / middle } else { 1.0 }),
        ("cap", x / middle),
    ] {
        if let Some(tensor) = problem.tensors.get_mut(name) {
            *tensor = Tensor::of_values(&[value], FloatType::F32);
        }
    }
}

impl RowVariant {
    /// Adds the operands of a problem beside `src`.
    pub(super) fn add_operands(&self, rng: &mut ChaCha8Rng, problem: &mut Problem, spread: Spread) {
        let size = |name| problem.sizes.get(name).map_or(1, |&size| size as usize);
        let (rows, cols) = (size("rows"), size("cols"));
        let padded = cols.next_multiple_of(8);
        let parts = self.operation().parts();
        let mut tensors = Vec::new();
        for &name in parts.vectors {
            tensors.push((name, matrix(rng, spread, [1, cols], padded)));
        }
        if let Some([name, stride]) = parts.second {
            tensors.push((name, matrix(rng, spread, [rows, cols], size(stride))));
        }
        for (name, _) in parts.numbers {
            let value = match (*name, spread) {
                ("eps", Spread::Wide) => 10f32.powi(rng.random_range(-12..2)),
                ("eps", Spread::Typical) => 1e-5,
                // A model has one of the two.
                ("divisor", _) if rng.random() => 1.0,
                ("factor", _) if rng.random_ratio(1, 4) => 1.0,
                // That of a gain of w, or of 1 + w.
                ("offset", _) if rng.random_ratio(3, 4) => f32::from(rng.random::<bool>()),
                _ => 2f32.powi(rng.random_range(-3..5)) * rng.random_range(1.0..2.0),
            };
            tensors.push((*name, Tensor::of_values(&[value], FloatType::F32)));
        }
        let named = tensors.into_iter();
        let named = named.map(|(name, tensor)| (name.to_owned(), tensor));
        problem.tensors.extend(named);
        let scales = !parts.numbers.is_empty() && !self.operation().is_norm();
        if scales && spread == Spread::Wide && rng.random() {
            factor_on_edge(rng, problem, cols);
        }
    }
}

/// A matrix of bf16.
pub(super) fn matrix(
    rng: &mut ChaCha8Rng,
    spread: Spread,
    [rows, cols]: [usize; 2],
    stride: usize,
) -> Tensor {
    match spread {
        Spread::Wide => draw(rng, rows, cols, stride),
        Spread::Typical => Typical::draw(rng, rows, cols).dense(FloatType::Bf16, stride),
    }
}
