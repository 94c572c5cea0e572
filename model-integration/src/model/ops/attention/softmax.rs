//! From products of queries and keys to weights.

use multiversion::multiversion;
use mxlab_kernels::format::FloatType;

use super::Scores;
use crate::model::ops::rounding::{apply, rounding};
use crate::model::ops::{exp, soft_cap_inline};

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
        rounding!(dtype, |round| for x in seen.iter_mut() {
            *x = round(round(*x) * scores.scale);
        });
        if let Some(cap) = scores.cap {
            soft_cap_inline(seen, cap, dtype);
        }
        match scores.sink {
            None => {
                let max = reduce(seen, f32::NEG_INFINITY, f32::max);
                softmax(seen, max, 0.0, dtype);
            }
            Some(sink) => softmax_with_sink(seen, sink, dtype),
        }
        hidden.fill(0.0);
        unseen.fill(0.0);
    }
}

/// Softmax of one row and of a score without a key, in place. Differences to the largest score are
/// rounded to `dtype`.
#[inline(always)]
fn softmax_with_sink(row: &mut [f32], sink: f32, dtype: FloatType) {
    let max = reduce(row, sink, f32::max);
    apply(row, |x| x - max, dtype);
    softmax(row, 0.0, exp(dtype.round(sink - max)), dtype);
}

/// Softmax, rounded, of a row whose largest element is `max`, with `more` in the sum of
/// exponentials.
#[inline(always)]
fn softmax(row: &mut [f32], max: f32, more: f32, dtype: FloatType) {
    for x in row.iter_mut() {
        *x = exp(*x - max);
    }
    let sum = reduce(row, 0.0, |sum, x| sum + x) + more;
    apply(row, |x| x / sum, dtype);
}

/// Combines the values of a row in lanes. No zipped iterators, which stay calls in functions that
/// are compiled for other vectors than their crate.
#[inline(always)]
fn reduce(row: &[f32], start: f32, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = combine(lanes[i], chunk[i]);
        }
    }
    for i in 0..rest.len() {
        lanes[i] = combine(lanes[i], rest[i]);
    }
    lanes.into_iter().fold(start, combine)
}
