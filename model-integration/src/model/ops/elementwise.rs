//! Norms, rotation and sums: operations on single rows.

use multiversion::multiversion;
use mxlab_kernels::format::FloatType;

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
    for (index, stripe) in x.chunks_exact(STRIPE).enumerate() {
        for (sum, &v) in levels[0].iter_mut().zip(stripe) {
            *sum += v * v;
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
        for (out, &x) in out.iter_mut().zip(x) {
            *out = x * scale;
        }
        narrow_inline(out, dtype);
        for (out, &gain) in out.iter_mut().zip(gain) {
            *out *= gain;
        }
        narrow_inline(out, dtype);
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
        for (out, (&x, &gain)) in out.iter_mut().zip(x.iter().zip(gain)) {
            *out = x * scale * (offset + gain);
        }
        narrow_inline(out, dtype);
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
        for (i, (out, &x)) in out.iter_mut().zip(x).enumerate() {
            *out = (x - mean) * scale * gain[i] + bias[i];
        }
        narrow_inline(out, dtype);
    }
}

/// Rotates every head of a token at `position` by the table's angles. The first half of the rotated
/// features of a head is paired with the second; features behind them stay. Both products, if the
/// table is rounded, and their sum are rounded to `dtype`.
#[multiversion(targets = "simd")]
pub fn rotate(token: &mut [f32], table: &RopeTable, position: usize, dtype: FloatType) {
    match dtype {
        _ if !table.is_rounded => rotate_heads(token, table, position, |product| product),
        FloatType::F32 => rotate_heads(token, table, position, |product| product),
        FloatType::Bf16 => rotate_heads(token, table, position, round_to_bf16),
        FloatType::F16 => rotate_heads(token, table, position, |product| dtype.round(product)),
    }
    narrow_inline(token, dtype);
}

#[inline(always)]
fn rotate_heads(token: &mut [f32], table: &RopeTable, position: usize, round: impl Fn(f32) -> f32) {
    let half = table.pairs;
    let cos = &table.cos[position * half..][..half];
    let sin = &table.sin[position * half..][..half];
    for head in token.chunks_exact_mut(table.head_dim) {
        let (lows, highs) = head.split_at_mut(half);
        let pairs = lows.iter_mut().zip(highs);
        for ((low, high), (&cos, &sin)) in pairs.zip(cos.iter().zip(sin)) {
            let (x, y) = (*low, *high);
            *low = round(x * cos) - round(y * sin);
            *high = round(y * cos) + round(x * sin);
        }
    }
}

/// `out += x`, rounded to `dtype`.
#[multiversion(targets = "simd")]
pub fn add(out: &mut [f32], x: &[f32], dtype: FloatType) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out += x;
    }
    narrow_inline(out, dtype);
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

/// Rounds values to a type.
#[multiversion(targets = "simd")]
pub fn narrow(values: &mut [f32], dtype: FloatType) {
    narrow_inline(values, dtype);
}

/// [`narrow`] for inlining into loops that are compiled for vectors.
#[inline(always)]
pub(super) fn narrow_inline(values: &mut [f32], dtype: FloatType) {
    match dtype {
        FloatType::F32 => {}
        FloatType::Bf16 => {
            for value in values {
                *value = round_to_bf16(*value);
            }
        }
        FloatType::F16 => {
            for value in values {
                *value = dtype.round(*value);
            }
        }
    }
}

/// [`FloatType::round`] to bf16 without a branch, for loops on vector registers.
#[inline(always)]
fn round_to_bf16(x: f32) -> f32 {
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
