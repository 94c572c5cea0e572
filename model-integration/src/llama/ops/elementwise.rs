//! Norm, rotation and gate: operations on one row at a time.

use mxlab_kernels::format::FloatType;

use crate::llama::RopeTable;

/// `1 / sqrt(mean(x^2) + eps)` of one row.
pub fn rms(x: &[f32], eps: f64) -> f32 {
    // Sixteen partial sums keep the order fixed and let the loop run on vector registers.
    let mut sums = [0f32; 16];
    let chunks = x.chunks_exact(16);
    for (i, &v) in chunks.remainder().iter().enumerate() {
        sums[i] += v * v;
    }
    for chunk in chunks {
        for (sum, &v) in sums.iter_mut().zip(chunk) {
            *sum += v * v;
        }
    }
    let mean = sums.iter().sum::<f32>() / x.len() as f32;
    1.0 / (mean + eps as f32).sqrt()
}

/// `out = x * rms(x) * gain` for every row of `gain.len()` features.
pub fn rms_norm(out: &mut [f32], x: &[f32], gain: &[f32], eps: f64) {
    for (out, x) in out
        .chunks_exact_mut(gain.len())
        .zip(x.chunks_exact(gain.len()))
    {
        let scale = rms(x, eps);
        for ((out, &x), &gain) in out.iter_mut().zip(x).zip(gain) {
            *out = gain * (x * scale);
        }
    }
}

/// Rotates every head of a token at `position` by the table's angles. The first half of a head
/// pairs with its second half. Both products are rounded to `dtype` before they are added;
/// rounding the sum is left to the caller.
pub fn rotate(out: &mut [f32], x: &[f32], table: &RopeTable, position: usize, dtype: FloatType) {
    let half = table.head_dim / 2;
    let cos = &table.cos[position * half..][..half];
    let sin = &table.sin[position * half..][..half];
    for (out, x) in out
        .chunks_exact_mut(table.head_dim)
        .zip(x.chunks_exact(table.head_dim))
    {
        let (low, high) = x.split_at(half);
        let (out_low, out_high) = out.split_at_mut(half);
        if dtype == FloatType::F32 {
            for i in 0..half {
                out_low[i] = low[i] * cos[i] - high[i] * sin[i];
                out_high[i] = high[i] * cos[i] + low[i] * sin[i];
            }
        } else {
            for i in 0..half {
                out_low[i] = dtype.round(low[i] * cos[i]) - dtype.round(high[i] * sin[i]);
                out_high[i] = dtype.round(high[i] * cos[i]) + dtype.round(low[i] * sin[i]);
            }
        }
    }
}

/// `x / (1 + exp(-x))`.
pub fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

/// `out = silu(gate) * up`.
pub fn swiglu(out: &mut [f32], gate: &[f32], up: &[f32]) {
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        *out = silu(gate) * up;
    }
}

/// Rounds values to a type.
pub fn narrow(values: &mut [f32], dtype: FloatType) {
    if dtype != FloatType::F32 {
        for value in values {
            *value = dtype.round(*value);
        }
    }
}
