//! Causal softmax attention of one head of one sequence, forward and backward.

use std::ops::Range;

use multiversion::multiversion;
use mxlab_kernels::format::FloatType;

use super::matrix::CHAIN;
use super::{Matrix, exp, multiply, narrow_inline, soft_cap_inline};

/// Query positions that are multiplied with the keys at a time.
const ROW_BLOCK: usize = 64;

/// One head of one sequence inside `[tokens, features]` matrices. Queries are of the last
/// positions, keys and values of all positions.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Number of positions before the first query.
    pub past: usize,
    /// Number of queries.
    pub length: usize,
    /// Features of the head.
    pub head_dim: usize,
    /// Distance between tokens in queries and outputs.
    pub query_stride: usize,
    /// Distance between tokens in keys and values.
    pub key_stride: usize,
    /// How scores become weights.
    pub scores: Scores,
}

/// How products of queries and keys become weights.
#[derive(Clone, Copy, Debug)]
pub struct Scores {
    /// Multiplies products.
    pub scale: f32,
    /// The soft cap of scaled products.
    pub cap: Option<f32>,
    /// How many keys a query sees at most, its own included.
    pub window: Option<usize>,
    /// A score without a key, which takes its share of the weights.
    pub sink: Option<f32>,
}

impl Scores {
    /// Those of a Llama: all keys, no cap, no sink.
    pub fn plain(head_dim: usize) -> Self {
        Self {
            scale: (1.0 / (head_dim as f64).sqrt()) as f32,
            cap: None,
            window: None,
            sink: None,
        }
    }
}

impl Head {
    fn query<'a>(&self, data: &'a [f32]) -> Matrix<'a> {
        Matrix::new(data, self.length, self.head_dim, self.query_stride)
    }

    fn key<'a>(&self, data: &'a [f32]) -> Matrix<'a> {
        Matrix::new(
            data,
            self.past + self.length,
            self.head_dim,
            self.key_stride,
        )
    }

    fn square<'a>(&self, data: &'a [f32]) -> Matrix<'a> {
        Matrix::new(data, self.length, self.length, self.length)
    }

    /// `weights = softmax(scale query key^T)`, causal, for a head without past and window; a row
    /// for each query. Product, scaled product and weights are rounded to `dtype`; the softmax
    /// itself is `f32`.
    pub fn weights(&self, weights: &mut [f32], query: &[f32], key: &[f32], dtype: FloatType) {
        for rows in self.row_blocks() {
            let block = &mut weights[rows.start * self.length..rows.end * self.length];
            self.block_weights(block, self.length, rows, 0, query, key, dtype);
        }
    }

    /// `out = weights value`, computed by blocks of rows so that the weights are never whole in
    /// memory. `scratch` grows as needed.
    pub fn attend(
        &self,
        out: &mut [f32],
        [query, key, value]: [&[f32]; 3],
        dtype: FloatType,
        scratch: &mut Vec<f32>,
    ) {
        for rows in self.row_blocks() {
            let seen = self.first_key(&rows)..self.past + rows.end;
            scratch.resize(rows.len() * seen.len(), 0.0);
            self.block_weights(
                scratch,
                seen.len(),
                rows.clone(),
                seen.start,
                query,
                key,
                dtype,
            );
            multiply(
                &mut out[rows.start * self.query_stride..],
                self.query_stride,
                Matrix::new(scratch, rows.len(), seen.len(), seen.len()),
                self.key(value).rows(seen),
                1.0,
                false,
            );
        }
    }

    /// The first key of which a block of queries takes notice: one that the window shows, or one
    /// before it where a chain of sums begins, so that sums do not depend on the block.
    fn first_key(&self, rows: &Range<usize>) -> usize {
        let first = self.past + rows.start + 1;
        let hidden = self
            .scores
            .window
            .map_or(0, |window| first.saturating_sub(window));
        hidden / CHAIN * CHAIN
    }

    /// The rows of [`Head::weights`] for a block of positions, `stride` apart, for keys from
    /// `first_key` on.
    #[expect(
        clippy::too_many_arguments,
        reason = "two operands, a buffer and its place"
    )]
    fn block_weights(
        &self,
        block: &mut [f32],
        stride: usize,
        rows: Range<usize>,
        first_key: usize,
        query: &[f32],
        key: &[f32],
        dtype: FloatType,
    ) {
        multiply(
            block,
            stride,
            self.query(query).rows(rows.clone()),
            self.key(key).rows(first_key..self.past + rows.end).t(),
            1.0,
            false,
        );
        let first = self.past + rows.start - first_key;
        causal_softmax(block, stride, first, self.scores, dtype);
    }

    /// `out = weights value` for a head without past.
    pub fn mix(&self, out: &mut [f32], weights: &[f32], value: &[f32]) {
        for rows in self.row_blocks() {
            multiply(
                &mut out[rows.start * self.query_stride..],
                self.query_stride,
                self.square(weights).rows(rows.clone()).cols(0..rows.end),
                self.key(value).rows(0..rows.end),
                1.0,
                false,
            );
        }
    }

    /// Blocks of queries; a block needs no key beyond its own end.
    fn row_blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let length = self.length;
        let starts = (0..length).step_by(ROW_BLOCK);
        starts.map(move |start| start..length.min(start + ROW_BLOCK))
    }

    /// Gradients of one head without past. Writes `d_query`; adds to `d_key` and `d_value`, because
    /// query heads share key heads. `scratch` is another `[length, length]`.
    #[expect(
        clippy::too_many_arguments,
        reason = "three operands, their gradients, two buffers"
    )]
    pub fn backward(
        &self,
        query: &[f32],
        key: &[f32],
        value: &[f32],
        d_out: &[f32],
        d_query: &mut [f32],
        d_key: &mut [f32],
        d_value: &mut [f32],
        weights: &[f32],
        scratch: &mut [f32],
    ) {
        let scale = self.scores.scale;
        let key_stride = self.key_stride;
        let weights_view = self.square(weights);
        multiply(
            d_value,
            key_stride,
            weights_view.t(),
            self.query(d_out),
            1.0,
            true,
        );
        multiply(
            scratch,
            self.length,
            self.query(d_out),
            self.key(value).t(),
            1.0,
            false,
        );
        let rows = scratch
            .chunks_exact_mut(self.length)
            .zip(weights.chunks_exact(self.length));
        for (d_row, row) in rows {
            let dot: f32 = d_row.iter().zip(row).map(|(d, w)| d * w).sum();
            for (d, &w) in d_row.iter_mut().zip(row) {
                *d = w * (*d - dot);
            }
        }
        let d_scores = self.square(scratch);
        multiply(
            d_query,
            self.query_stride,
            d_scores,
            self.key(key),
            scale,
            false,
        );
        multiply(
            d_key,
            key_stride,
            d_scores.t(),
            self.query(query),
            scale,
            true,
        );
    }
}

/// Partial results of a row: one for each element of the widest vector.
const LANES: usize = 16;

/// Causal softmax of scaled and capped rows, in place. Rows are `stride` apart; the first one has
/// query position `first`.
#[multiversion(targets = "simd")]
fn causal_softmax(rows: &mut [f32], stride: usize, first: usize, scores: Scores, dtype: FloatType) {
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
