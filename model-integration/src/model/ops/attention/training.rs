//! Weights and gradients of a head that has no past, window, cap or sink.

use std::ops::Range;

use mxlab_kernels::format::FloatType;

use super::Scores;
use super::softmax::causal_softmax;
use crate::model::ops::{Matrix, multiply};

/// Queries that are multiplied with the keys at a time; a block needs no key beyond its own end.
const ROW_BLOCK: usize = 64;

/// One head of one sequence inside `[tokens, features]` matrices.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Number of positions.
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

impl Head {
    fn query<'a>(&self, data: &'a [f32]) -> Matrix<'a> {
        Matrix::new(data, self.length, self.head_dim, self.query_stride)
    }

    fn key<'a>(&self, data: &'a [f32]) -> Matrix<'a> {
        Matrix::new(data, self.length, self.head_dim, self.key_stride)
    }

    fn square<'a>(&self, data: &'a [f32]) -> Matrix<'a> {
        Matrix::new(data, self.length, self.length, self.length)
    }

    fn row_blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let length = self.length;
        let starts = (0..length).step_by(ROW_BLOCK);
        starts.map(move |start| start..length.min(start + ROW_BLOCK))
    }

    /// `weights = softmax(scale query key^T)`, causal; a row for each query.
    pub fn weights(&self, weights: &mut [f32], query: &[f32], key: &[f32]) {
        let length = self.length;
        for rows in self.row_blocks() {
            let block = &mut weights[rows.start * length..rows.end * length];
            let (query, key) = (self.query(query), self.key(key));
            let (query, key) = (query.rows(rows.clone()), key.rows(0..rows.end));
            multiply(block, length, query, key.t(), 1.0, false);
            causal_softmax(block, length, rows.start, self.scores, FloatType::F32);
        }
    }

    /// `out = weights value`.
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

    /// Gradients. Writes `d_query`; adds to `d_key` and `d_value`, because
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
