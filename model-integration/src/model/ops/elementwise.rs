//! Norms, rotation and sums: operations on single rows.

use multiversion::multiversion;
use mxlab_kernels::format::FloatType;

use super::rounding::rounding;
use crate::model::RopeTable;

/// `1 / sqrt(mean(x^2) + eps)` of one row.
///
/// Squares are added in the order of PyTorch's CPU kernel for contiguous rows (see `sum_squares`).
/// With another order the norm can differ in the last bit, which moves elements over rounding
/// boundaries of the next quantiser; a comparison with PyTorch would then compare noise.
#[inline(always)]
pub fn rms(x: &[f32], eps: f64) -> f32 {
    let mean = sum_squares(x) / x.len() as f32;
    1.0 / (mean + eps as f32).sqrt()
}

const LANES: usize = 8;
const CHAINS: usize = 4;
const STRIPE: usize = LANES * CHAINS;
const LEVELS: usize = 4;

/// The sum of squares as a cascade of four chains of eight lanes. Every 2^p stripes a chain's sum
/// moves to the next of four levels, with `p = max(4, ceil(log2 stripes) / 4)`.
#[inline(always)]
fn sum_squares(x: &[f32]) -> f32 {
    let stripes = x.len() / STRIPE;
    let power = (stripes.next_power_of_two().ilog2() as usize / LEVELS).max(4);
    let mask = (1 << power) - 1;
    let mut levels = [[0f32; STRIPE]; LEVELS];
    for (index, stripe) in x.as_chunks::<STRIPE>().0.iter().enumerate() {
        for i in 0..STRIPE {
            levels[0][i] += stripe[i] * stripe[i];
        }
        let done = index + 1;
        if done & mask == 0 {
            for level in 1..LEVELS {
                let lower = std::mem::replace(&mut levels[level - 1], [0.0; STRIPE]);
                for (sum, lower) in levels[level].iter_mut().zip(lower) {
                    *sum += lower;
                }
                if done & (mask << (level * power)) != 0 {
                    break;
                }
            }
        }
    }
    let [mut sums, upper @ ..] = levels;
    for level in upper {
        for (sum, upper) in sums.iter_mut().zip(level) {
            *sum += upper;
        }
    }
    // Elements beyond the last stripe go to the first chain, those beyond the last chain to the
    // total.
    let rest = x.chunks_exact(STRIPE).remainder().chunks_exact(LANES);
    let tail = rest.remainder();
    for chunk in rest {
        for (sum, &v) in sums.iter_mut().zip(chunk) {
            *sum += v * v;
        }
    }
    let (first, chains) = sums.split_at_mut(LANES);
    for chain in chains.chunks_exact(LANES) {
        for (sum, &chain) in first.iter_mut().zip(chain) {
            *sum += chain;
        }
    }
    let tail = tail.iter().fold(0.0, |sum, &v| sum + v * v);
    first.iter().fold(tail, |sum, &lane| sum + lane)
}

/// `out = x * rms(x) * gain` for every row of `gain.len()` features. The normed row and the result
/// are rounded to `dtype`.
#[multiversion(targets = "simd")]
pub fn rms_norm(out: &mut [f32], x: &[f32], gain: &[f32], eps: f64, dtype: FloatType) {
    let rows = out
        .chunks_exact_mut(gain.len())
        .zip(x.chunks_exact(gain.len()));
    for (out, x) in rows {
        let scale = rms(x, eps);
        let values = out.iter_mut().zip(x.iter().zip(gain));
        rounding!(dtype, |round| for (out, (&x, &gain)) in values {
            *out = round(round(x * scale) * gain);
        });
    }
}

/// As [`rms_norm`], rounded once. The gains are `offset` more than the given ones.
#[multiversion(targets = "simd")]
pub fn rms_norm_once(
    out: &mut [f32],
    x: &[f32],
    gain: &[f32],
    offset: f32,
    eps: f64,
    dtype: FloatType,
) {
    let rows = out
        .chunks_exact_mut(gain.len())
        .zip(x.chunks_exact(gain.len()));
    for (out, x) in rows {
        let scale = rms(x, eps);
        let values = out.iter_mut().zip(x.iter().zip(gain));
        rounding!(dtype, |round| for (out, (&x, &gain)) in values {
            *out = round(x * scale * (offset + gain));
        });
    }
}

/// `out = (x - mean(x)) / sqrt(variance(x) + eps) * gain + bias` for every row of `gain.len()`
/// features, rounded once. Statistics are sums in f64.
#[multiversion(targets = "simd")]
pub fn layer_norm(
    out: &mut [f32],
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    eps: f64,
    dtype: FloatType,
) {
    let rows = out
        .chunks_exact_mut(gain.len())
        .zip(x.chunks_exact(gain.len()));
    for (out, x) in rows {
        let count = x.len() as f64;
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let square = |&x: &f32| (f64::from(x) - mean) * (f64::from(x) - mean);
        let variance = x.iter().map(square).sum::<f64>() / count;
        let (mean, scale) = (mean as f32, (1.0 / (variance + eps).sqrt()) as f32);
        let values = out.iter_mut().zip(x).zip(gain.iter().zip(bias));
        rounding!(dtype, |round| for ((out, &x), (&gain, &bias)) in values {
            *out = round((x - mean) * scale * gain + bias);
        });
    }
}

/// Rotates every head of a token at `position` by the table's angles. The first half of the rotated
/// features of a head is paired with the second; features behind them stay. Both products, if the
/// table is rounded, and their sum are rounded to `dtype`.
#[multiversion(targets = "simd")]
pub fn rotate(token: &mut [f32], table: &RopeTable, position: usize, dtype: FloatType) {
    rounding!(dtype, |round| match table.is_rounded {
        true => rotate_heads(token, table, position, round, round),
        false => rotate_heads(token, table, position, |product| product, round),
    });
}

#[inline(always)]
fn rotate_heads(
    token: &mut [f32],
    table: &RopeTable,
    position: usize,
    product: impl Fn(f32) -> f32,
    round: impl Fn(f32) -> f32,
) {
    let half = table.pairs;
    let cos = &table.cos[position * half..][..half];
    let sin = &table.sin[position * half..][..half];
    for head in token.chunks_exact_mut(table.head_dim) {
        let (lows, highs) = head.split_at_mut(half);
        let (highs, rest) = highs.split_at_mut(half);
        let pairs = lows.iter_mut().zip(highs);
        for ((low, high), (&cos, &sin)) in pairs.zip(cos.iter().zip(sin)) {
            let (x, y) = (*low, *high);
            *low = round(product(x * cos) - product(y * sin));
            *high = round(product(y * cos) + product(x * sin));
        }
        for x in rest {
            *x = round(*x);
        }
    }
}

/// `out += x`, rounded to `dtype`.
#[multiversion(targets = "simd")]
pub fn add(out: &mut [f32], x: &[f32], dtype: FloatType) {
    rounding!(dtype, |round| for (out, &x) in out.iter_mut().zip(x) {
        *out = round(*out + x);
    });
}

/// `out = round(round(out) + x)`.
#[multiversion(targets = "simd")]
pub fn add_residual(out: &mut [f32], x: &[f32], dtype: FloatType) {
    rounding!(dtype, |round| for (out, &x) in out.iter_mut().zip(x) {
        *out = round(round(*out) + x);
    });
}

/// `out *= x`, rounded to `dtype`.
#[multiversion(targets = "simd")]
pub fn multiply_by(out: &mut [f32], x: &[f32], dtype: FloatType) {
    rounding!(dtype, |round| for (out, &x) in out.iter_mut().zip(x) {
        *out = round(*out * x);
    });
}

/// `row += bias` for every row of `bias.len()` features.
#[multiversion(targets = "simd")]
pub fn add_bias(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (value, &bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    }
}
