//! Causal softmax attention of one head of one sequence. `backward` has its gradients.

mod backward;
mod softmax;

use std::ops::Range;

use mxlab_kernels::cpu::{Isa, Strided, StridedProduct};
use mxlab_kernels::format::FloatType;

use self::softmax::causal_softmax;
use crate::model::buffer::Buffer;

/// Queries that are multiplied with the keys at a time: as many rows as a tile of products has.
const ROW_BLOCK: usize = 6;
/// Scores of a query are computed in multiples of this, for whole vectors.
const SCORES: usize = 16;

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

/// The keys of a head by feature, `[head_dim, width]`, as products read them: a position in every
/// lane. `width` is a multiple of `SCORES`.
pub struct KeyPanel {
    values: Buffer,
    width: usize,
}

impl KeyPanel {
    /// From the keys of `positions`, `stride` apart.
    pub fn new(keys: &[f32], positions: usize, head_dim: usize, stride: usize) -> Self {
        let mut panel = Self::empty(positions, head_dim);
        // Runs of positions whose columns stay in the first cache.
        for first in (0..positions).step_by(SCORES) {
            let run = first..positions.min(first + SCORES);
            panel.set(run.clone(), &keys[run.start * stride..], stride);
        }
        panel
    }

    /// From runs of [`KeyPanel::RUN`] positions. `read` writes the keys of a run, one behind
    /// another.
    pub fn of_runs(
        positions: usize,
        head_dim: usize,
        mut read: impl FnMut(Range<usize>, &mut [f32]),
    ) -> Self {
        let mut panel = Self::empty(positions, head_dim);
        let mut keys = Buffer::of_any_values(SCORES * head_dim);
        for first in (0..positions).step_by(SCORES) {
            let run = first..positions.min(first + SCORES);
            read(run.clone(), &mut keys[..run.len() * head_dim]);
            panel.set(run, &keys, head_dim);
        }
        panel
    }

    /// Positions of a run.
    pub const RUN: usize = SCORES;

    /// Zeros behind the last position, anything before.
    fn empty(positions: usize, head_dim: usize) -> Self {
        let width = positions.next_multiple_of(SCORES);
        let mut values = Buffer::of_any_values(head_dim * width);
        for row in values.chunks_exact_mut(width) {
            row[positions..].fill(0.0);
        }
        Self { values, width }
    }

    /// The keys of at most a run of positions.
    fn set(&mut self, positions: Range<usize>, keys: &[f32], stride: usize) {
        let columns = self.values.chunks_exact_mut(self.width);
        for (feature, column) in columns.enumerate() {
            let column = &mut column[positions.clone()];
            let keys = &keys[feature..];
            match column.as_chunks_mut::<SCORES>() {
                // A store for all of them.
                ([run], []) => {
                    for (index, to) in run.iter_mut().enumerate() {
                        *to = keys[index * stride];
                    }
                }
                _ => {
                    for (to, &x) in column.iter_mut().zip(keys.iter().step_by(stride)) {
                        *to = x;
                    }
                }
            }
        }
    }
}

impl Head {
    /// `out = softmax(scale query key^T) value`, causal. Product, scaled product and weights are
    /// rounded to `dtype`; the softmax itself is `f32`. Computed by blocks of queries so that the
    /// weights are never whole in memory. `scratch` grows as needed.
    pub fn attend(
        &self,
        isa: Isa,
        out: &mut [f32],
        (query, keys, value): (&[f32], &KeyPanel, &[f32]),
        dtype: FloatType,
        scratch: &mut Vec<f32>,
    ) {
        for first in (0..self.length).step_by(ROW_BLOCK) {
            let rows = first..self.length.min(first + ROW_BLOCK);
            let seen = self.seen(&rows);
            let width = seen.len().next_multiple_of(SCORES);
            scratch.resize(rows.len() * width, 0.0);
            let scores = StridedProduct {
                a: Strided::new(&query[first * self.query_stride..], self.query_stride),
                b: Strided::new(&keys.values[seen.start..], keys.width),
                size: [rows.len(), self.head_dim, width],
                first: 0,
            };
            scores.write(isa, scratch, width);
            let position = self.past + first - seen.start;
            causal_softmax(scratch, width, position, self.scores, dtype);
            let context = StridedProduct {
                a: Strided::new(scratch, width),
                b: Strided::new(&value[seen.start * self.key_stride..], self.key_stride),
                size: [rows.len(), seen.len(), self.head_dim],
                first: seen.start,
            };
            let out = &mut out[first * self.query_stride..];
            context.write(isa, out, self.query_stride);
        }
    }

    /// The keys that the window shows to a block of queries, and some before them.
    fn seen(&self, rows: &Range<usize>) -> Range<usize> {
        let first = self.past + rows.start + 1;
        let window = self.scores.window;
        let hidden = window.map_or(0, |window| first.saturating_sub(window));
        hidden / SCORES * SCORES..self.past + rows.end
    }
}
