//! Causal softmax attention of one head of one sequence, forward and backward.

use std::ops::Range;

use multiversion::multiversion;
use mxlab_kernels::format::FloatType;

use super::{Matrix, exp, multiply, narrow_inline};

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

    /// `weights = softmax(query key^T / sqrt(head_dim))`, causal, for a head without past; a row
    /// for each query. Product, scaled product and weights are rounded to `dtype`; the softmax
    /// itself is `f32`.
    pub fn weights(&self, weights: &mut [f32], query: &[f32], key: &[f32], dtype: FloatType) {
        for rows in self.row_blocks() {
            let block = &mut weights[rows.start * self.length..rows.end * self.length];
            self.block_weights(block, self.length, rows, query, key, dtype);
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
            let seen = self.past + rows.end;
            scratch.resize(rows.len() * seen, 0.0);
            self.block_weights(scratch, seen, rows.clone(), query, key, dtype);
            multiply(
                &mut out[rows.start * self.query_stride..],
                self.query_stride,
                Matrix::new(scratch, rows.len(), seen, seen),
                self.key(value).rows(0..seen),
                1.0,
                false,
            );
        }
    }

    /// The rows of [`Head::weights`] for a block of positions, `stride` apart.
    fn block_weights(
        &self,
        block: &mut [f32],
        stride: usize,
        rows: Range<usize>,
        query: &[f32],
        key: &[f32],
        dtype: FloatType,
    ) {
        multiply(
            block,
            stride,
            self.query(query).rows(rows.clone()),
            self.key(key).rows(0..self.past + rows.end).t(),
            1.0,
            false,
        );
        let scale = (1.0 / (self.head_dim as f64).sqrt()) as f32;
        causal_softmax(block, stride, self.past + rows.start, scale, dtype);
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
        let scale = (1.0 / (self.head_dim as f64).sqrt()) as f32;
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

/// Causal softmax of `scale` times every row, in place. Rows are `stride` apart; the first one has
/// query position `first`.
#[multiversion(targets = "simd")]
fn causal_softmax(rows: &mut [f32], stride: usize, first: usize, scale: f32, dtype: FloatType) {
    for (position, row) in (first..).zip(rows.chunks_exact_mut(stride)) {
        let (seen, unseen) = row.split_at_mut(position + 1);
        narrow_inline(seen, dtype);
        for x in seen.iter_mut() {
            *x *= scale;
        }
        narrow_inline(seen, dtype);
        softmax(seen);
        narrow_inline(seen, dtype);
        unseen.fill(0.0);
    }
}

/// Softmax of one row in place.
#[inline(always)]
fn softmax(row: &mut [f32]) {
    let max = reduce(row, f32::NEG_INFINITY, f32::max);
    for x in row.iter_mut() {
        *x = exp(*x - max);
    }
    let sum = reduce(row, 0.0, |sum, x| sum + x);
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
