//! Rows of activations in bf16: RMSNorm and SwiGLU.

use super::exponential::exp;
use crate::format::FloatType;

/// Threads that share a row.
const THREADS: usize = 256;
/// Columns that a thread takes at once.
const CHUNK: usize = 8;

fn bf16(x: f32) -> f32 {
    FloatType::Bf16.round(x)
}

/// The sum of squares of a row, by fused multiply-adds: the columns 8 i .. 8 i + 7 of every 2048 by one of 256; the
/// sums of 32 are added in pairs 16, 8, 4, 2, 1 apart, and those of the eight groups of 32 in order.
pub fn sum_of_squares(x: &[f32]) -> f32 {
    let mut sums = [0f32; THREADS];
    for (i, chunk) in x.chunks(CHUNK).enumerate() {
        let sum = &mut sums[i % THREADS];
        *sum = chunk.iter().fold(*sum, |sum, &x| x.mul_add(x, sum));
    }
    let warps = sums.chunks(32).map(|lanes| {
        let mut lanes = lanes.to_vec();
        for apart in [16, 8, 4, 2, 1] {
            let pair = |i: usize| lanes[i] + lanes[i ^ apart];
            lanes = (0..32).map(pair).collect();
        }
        lanes[0]
    });
    warps.reduce(|sum, warp| sum + warp).unwrap_or(0.0)
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
