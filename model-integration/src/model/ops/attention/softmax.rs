//! From products of queries and keys to weights.

use multiversion::multiversion;
use mxlab_kernels::format::FloatType;

use super::Scores;
use crate::model::ops::{exp, narrow_inline, soft_cap_inline};

/// Partial results of a row: one for each element of the widest vector.
const LANES: usize = 16;

/// Causal softmax of scaled and capped rows, in place. Rows are `stride` apart; the first one has
/// query position `first`.
#[multiversion(targets = "simd")]
pub(super) fn causal_softmax(
    rows: &mut [f32],
    stride: usize,
    first: usize,
    scores: Scores,
    dtype: FloatType,
) {
    for (position, row) in (first..).zip(rows.chunks_exact_mut(stride)) {
        let (seen, unseen) = row.split_at_mut(position + 1);
        let hidden = scores
            .window
            .map_or(0, |window| (position + 1).saturating_sub(window));
        let (hidden, seen) = seen.split_at_mut(hidden);
        narrow_inline(seen, dtype);
        for x in seen.iter_mut() {
            *x *= scores.scale;
        }
        narrow_inline(seen, dtype);
        if let Some(cap) = scores.cap {
            soft_cap_inline(seen, cap, dtype);
        }
        match scores.sink {
            None => softmax(seen),
            Some(sink) => softmax_with_sink(seen, sink, dtype),
        }
        narrow_inline(seen, dtype);
        hidden.fill(0.0);
        unseen.fill(0.0);
    }
}

/// Softmax of one row and of a score without a key, in place. Differences to the largest score are
/// rounded to `dtype`.
#[inline(always)]
fn softmax_with_sink(row: &mut [f32], sink: f32, dtype: FloatType) {
    let max = reduce(row, sink, f32::max);
    for x in row.iter_mut() {
        *x -= max;
    }
    let mut sink = [sink - max];
    narrow_inline(row, dtype);
    narrow_inline(&mut sink, dtype);
    softmax_of(row, 0.0, exp(sink[0]));
}

/// Softmax of one row in place.
#[inline(always)]
fn softmax(row: &mut [f32]) {
    let max = reduce(row, f32::NEG_INFINITY, f32::max);
    softmax_of(row, max, 0.0);
}

/// Softmax of a row whose largest element is `max`, with `more` in the sum of exponentials.
#[inline(always)]
fn softmax_of(row: &mut [f32], max: f32, more: f32) {
    for x in row.iter_mut() {
        *x = exp(*x - max);
    }
    let sum = reduce(row, 0.0, |sum, x| sum + x) + more;
    for x in row.iter_mut() {
        *x /= sum;
    }
}

/// Combines the values of a row in lanes.
#[inline(always)]
fn reduce(row: &[f32], start: f32, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = combine(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = combine(*lane, x);
    }
    lanes.into_iter().fold(start, combine)
}
