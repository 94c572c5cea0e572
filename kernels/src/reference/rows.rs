//! Rows of activations in bf16: RMSNorm and SwiGLU.

use super::exponential::{exp, power};
use crate::format::FloatType;
use std::ops::Add;

/// Threads that share a row.
const THREADS: usize = 256;
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
    let warps = sums.chunks(32).map(|lanes| {
        let mut lanes = lanes.to_vec();
        for apart in [16, 8, 4, 2, 1] {
            let pair = |i: usize| lanes[i] + lanes[i ^ apart];
            lanes = (0..32).map(pair).collect();
        }
        lanes[0]
    });
    warps.reduce(|sum, warp| sum + warp).unwrap_or_default()
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

/// `bf16(bf16(x / sqrt(mean(x^2) + eps)) gain)`, the squares added as by [`sum_of_squares`].
pub fn norm(x: &[f32], gain: &[f32], eps: f32) -> Vec<f32> {
    let scale = 1.0 / (sum_of_squares(x) / x.len() as f32 + eps).sqrt();
    let normed = x.iter().zip(gain);
    normed
        .map(|(&x, &gain)| bf16(bf16(x * scale) * gain))
        .collect()
}

/// `bf16(bf16(silu(gate)) up)` with `silu(x) = x / (1 + e^-x)`.
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let silu = |x: f32| bf16(x / (1.0 + exp(-x)));
    gate.iter()
        .zip(up)
        .map(|(&gate, &up)| bf16(silu(gate) * up))
        .collect()
}

/// A head turned by its position's angles: the first half of its features pairs with the second.
/// Both products, and their sum, are bf16.
pub fn rotate(x: &[f32], cos: &[f32], sin: &[f32]) -> Vec<f32> {
    let (low, high) = x.split_at(x.len() / 2);
    let turned = |a: f32, b: f32, (cos, sin): (&f32, &f32)| bf16(bf16(a * cos) + bf16(b * sin));
    let angles = || cos.iter().zip(sin);
    let lows = low.iter().zip(high).zip(angles());
    let highs = high.iter().zip(low).zip(angles());
    let lows = lows.map(|((&low, &high), angle)| turned(low, -high, angle));
    let highs = highs.map(|((&high, &low), angle)| turned(high, low, angle));
    lows.chain(highs).collect()
}
