//! Rows of activations in bf16: norms, gates and what scales them.

use super::exponential::{exp, power};
use crate::format::FloatType;
use std::ops::Add;

/// Threads that share a row.
const THREADS: usize = 256;
/// Lanes of a warp.
const LANES: usize = 32;
/// Columns that a thread takes at once.
const CHUNK: usize = 8;

fn bf16(x: f32) -> f32 {
    FloatType::Bf16.round(x)
}

/// A sum over a row as 256 threads make it: the columns 8 i .. 8 i + 7 of every 2048 by one of
/// them, by `step`; the sums of 32 are added in pairs 16, 8, 4, 2, 1 apart, and those of the eight
/// groups of 32 in order.
fn sum_by_threads<T: Copy + Default + Add<Output = T>>(x: &[f32], step: impl Fn(T, f32) -> T) -> T {
    let mut sums = [T::default(); THREADS];
    for (i, chunk) in x.chunks(CHUNK).enumerate() {
        let sum = &mut sums[i % THREADS];
        *sum = chunk.iter().fold(*sum, |sum, &x| step(sum, x));
    }
    let warps = sums.chunks(LANES).map(|lanes| over_lanes(lanes.to_vec()));
    warps.reduce(|sum, warp| sum + warp).unwrap_or_default()
}

/// The sum over a warp, in pairs 16, 8, 4, 2, 1 apart.
fn over_lanes<T: Copy + Add<Output = T>>(mut lanes: Vec<T>) -> T {
    for apart in [16, 8, 4, 2, 1] {
        let pair = |i: usize| lanes[i] + lanes[i ^ apart];
        lanes = (0..LANES).map(pair).collect();
    }
    lanes[0]
}

/// The sum of squares of a row, by fused multiply-adds, as 256 threads make it.
pub fn sum_of_squares(x: &[f32]) -> f32 {
    sum_by_threads(x, |sum: f32, x| x.mul_add(x, sum))
}

/// What the log-probability of a token takes of a row of logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogProbs {
    /// The greatest logit.
    pub max: f32,
    /// The first token that has it.
    pub argmax: usize,
    /// `sum e^(x - max)`.
    pub sum: f64,
}

/// Greatest logit and sum of exponentials of a row without NaN.
pub fn log_probs(x: &[f32]) -> LogProbs {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max) + 0.0;
    LogProbs {
        max,
        argmax: x.iter().position(|&x| x == max).unwrap_or(0),
        sum: sum_by_threads(x, |sum: f64, x| sum + power(x - max)),
    }
}

/// The mean of a row and the sum of squares of what is left of it, as 256 threads make them.
pub fn moments(x: &[f32]) -> (f32, f32) {
    let mean = sum_by_threads(x, |sum: f32, x| sum + x) / x.len() as f32;
    let square = |sum: f32, x: f32| (x - mean).mul_add(x - mean, sum);
    (mean, sum_by_threads(x, square))
}

/// `1 / sqrt(squares / len + eps)`.
pub fn norm_scale(squares: f32, len: usize, eps: f32) -> f32 {
    1.0 / (squares / len as f32 + eps).sqrt()
}

/// `bf16(bf16(x / sqrt(mean(x^2) + eps)) gain)`, the squares added as by [`sum_of_squares`].
pub fn norm(x: &[f32], gain: &[f32], eps: f32) -> Vec<f32> {
    scaled(x, gain, norm_scale(sum_of_squares(x), x.len(), eps))
}

/// `bf16(x / sqrt(mean(x^2) + eps) (offset + gain))`: [`norm`], rounded once.
pub fn norm_once(x: &[f32], gain: &[f32], offset: f32, eps: f32) -> Vec<f32> {
    let scale = norm_scale(sum_of_squares(x), x.len(), eps);
    scaled_once(x, gain, offset, scale)
}

/// `bf16(bf16(x scale) gain)`.
fn scaled(x: &[f32], gain: &[f32], scale: f32) -> Vec<f32> {
    let pairs = x.iter().zip(gain);
    pairs
        .map(|(x, gain)| bf16(bf16(x * scale) * gain))
        .collect()
}

/// `bf16(x scale (offset + gain))`.
fn scaled_once(x: &[f32], gain: &[f32], offset: f32, scale: f32) -> Vec<f32> {
    let pairs = x.iter().zip(gain);
    pairs
        .map(|(x, gain)| bf16(x * scale * (offset + gain)))
        .collect()
}

/// The sum of squares of a head as 32 lanes make it: lane i adds those of the features i, i + 32,
/// ... in order; the sums of lanes are added in pairs 16, 8, 4, 2, 1 apart.
pub fn head_squares(x: &[f32]) -> f32 {
    let lane = |lane: usize| {
        let features = x.iter().skip(lane).step_by(LANES);
        features.fold(0.0, |sum: f32, x| x.mul_add(*x, sum))
    };
    over_lanes((0..LANES).map(lane).collect())
}

/// [`norm`] of a head; [`norm_once`] if there is an `offset`.
pub fn head_norm(x: &[f32], gain: &[f32], offset: Option<f32>, eps: f32) -> Vec<f32> {
    let scale = norm_scale(head_squares(x), x.len(), eps);
    match offset {
        Some(offset) => scaled_once(x, gain, offset, scale),
        None => scaled(x, gain, scale),
    }
}

/// `bf16((x - mean) / sqrt(mean((x - mean)^2) + eps) gain + bias)`, see [`moments`].
pub fn layer_norm(x: &[f32], gain: &[f32], bias: &[f32], eps: f32) -> Vec<f32> {
    let (mean, squares) = moments(x);
    let scale = norm_scale(squares, x.len(), eps);
    let features = x.iter().zip(gain).zip(bias);
    features
        .map(|((&x, &gain), &bias)| bf16((x - mean) * scale * gain + bias))
        .collect()
}

/// `bf16(residual + y)`.
pub fn add(residual: &[f32], y: &[f32]) -> Vec<f32> {
    let pairs = residual.iter().zip(y);
    pairs.map(|(residual, y)| bf16(residual + y)).collect()
}

/// `bf16(x factor / divisor)`.
pub fn multiply(x: &[f32], factor: f32, divisor: f32) -> Vec<f32> {
    x.iter().map(|x| bf16(x * factor / divisor)).collect()
}

/// `bf16(cap bf16(tanh(bf16(x / cap))))`.
pub fn soft_cap(x: &[f32], cap: f32) -> Vec<f32> {
    let capped = |&x: &f32| bf16(cap * bf16(tanh(bf16(x / cap))));
    x.iter().map(capped).collect()
}

/// Below this tanh is the argument.
const TANH_IS_LINEAR: f32 = 1.0 / 4096.0;

/// The hyperbolic tangent by [`power`], as `(e^2x - 1) / (e^2x + 1)` in f64, rounded once to f32;
/// small arguments as they are, which is right to 2^-25 of them.
pub fn tanh(x: f32) -> f32 {
    let power = power(x + x);
    match x.abs() >= TANH_IS_LINEAR {
        true => ((power - 1.0) / (power + 1.0)) as f32,
        // Also NaN.
        false => x,
    }
}

/// `-2 sqrt(2 / pi)`, and 0.044715 times it.
pub const GELU: [f32; 2] = [-1.595_769_2, -0.071_354_814];

/// GELU by its tanh approximation `x / 2 (1 + tanh(u))`, `u = sqrt(2 / pi) (x + 0.044715 x^3)`,
/// which is `x / (1 + e^-2u)`.
pub fn gelu(x: f32) -> f32 {
    let [line, cube] = GELU;
    x / (1.0 + exp((x * x).mul_add(cube, line) * x))
}

/// `bf16(bf16(gelu(gate)) up)`.
pub fn geglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let pairs = gate.iter().zip(up);
    pairs
        .map(|(&gate, &up)| bf16(bf16(gelu(gate)) * up))
        .collect()
}

/// `bf16(gelu(x))`.
pub fn gelu_row(x: &[f32]) -> Vec<f32> {
    x.iter().map(|&x| bf16(gelu(x))).collect()
}

/// `bf16(bf16(silu(gate)) up)` with `silu(x) = x / (1 + e^-x)`.
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let silu = |x: f32| bf16(x / (1.0 + exp(-x)));
    gate.iter()
        .zip(up)
        .map(|(&gate, &up)| bf16(silu(gate) * up))
        .collect()
}

/// A head turned by its position's angles: of its first features, as many as there are angles pair
/// with as many that follow; the others stay. Both products, and their sum, are bf16.
pub fn rotate(x: &[f32], cos: &[f32], sin: &[f32]) -> Vec<f32> {
    let (turned_features, others) = x.split_at(2 * cos.len());
    let (low, high) = turned_features.split_at(cos.len());
    let turned = |a: f32, b: f32, (cos, sin): (&f32, &f32)| bf16(bf16(a * cos) + bf16(b * sin));
    let angles = || cos.iter().zip(sin);
    let lows = low.iter().zip(high).zip(angles());
    let highs = high.iter().zip(low).zip(angles());
    let lows = lows.map(|((&low, &high), angle)| turned(low, -high, angle));
    let highs = highs.map(|((&high, &low), angle)| turned(high, low, angle));
    lows.chain(highs).chain(others.iter().copied()).collect()
}
