//! Causal softmax attention of queries that share keys and values. `training` has its gradients.

mod softmax;
mod training;

use std::ops::Range;

use mxlab_kernels::cpu::{Isa, PAGE, Paged, Strided, StridedProduct};
use mxlab_kernels::format::FloatType;

use self::softmax::causal_softmax;
pub use self::training::Head;

/// Queries that are multiplied with the keys at a time: as many rows as a tile of products has.
const ROW_BLOCK: usize = 6;

/// Queries that share the keys and values of one head of a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// Which queries they are.
    pub of: QueriesOf<'a>,
    /// Number of positions before the first query.
    pub past: usize,
    /// Number of queries.
    pub count: usize,
    /// Features of the head.
    pub head_dim: usize,
    /// Distance between queries, and between outputs.
    pub stride: usize,
    /// How scores become weights; [`QueriesOf`] says which sink they have.
    pub scores: Scores,
}

/// Keys that queries see last, as they are.
#[derive(Clone, Copy, Debug)]
pub struct Recent<'a> {
    /// By feature, in pages, from a position on.
    pub keys: Paged<'a>,
    /// That position: a multiple of [`PAGE`], at or before the first key that is seen.
    pub from: usize,
    /// How many of them a query sees, its own included.
    pub count: usize,
}

/// What sets queries apart.
#[derive(Clone, Copy, Debug)]
pub enum QueriesOf<'a> {
    /// Consecutive positions. All have this sink.
    Positions(Option<f32>),
    /// Heads, at one position, of which each may have its sink.
    Heads(Option<&'a [f32]>),
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

impl Queries<'_> {
    /// `out = softmax(scale query key^T) value`, causal. Product, scaled product and weights are
    /// rounded to `dtype`; the softmax itself is `f32`. Computed by blocks of queries so that the
    /// weights are never whole in memory. Keys are by feature, `[head_dim, positions]`, in pages of
    /// columns; values `[positions, head_dim]` in pages of rows. `scratch` grows as needed.
    pub fn attend(
        &self,
        isa: Isa,
        out: &mut [f32],
        query: &[f32],
        ([keys, values], recent): ([Paged; 2], Option<Recent>),
        (dtype, scratch): (FloatType, &mut Vec<f32>),
    ) {
        for first in (0..self.count).step_by(ROW_BLOCK) {
            let rows = first..self.count.min(first + ROW_BLOCK);
            let seen = self.seen(&rows);
            let width = seen.len().next_multiple_of(PAGE);
            scratch.resize(rows.len() * width, 0.0);
            let scores = StridedProduct {
                a: Strided::new(&query[first * self.stride..], self.stride),
                b: keys.skip(seen.start),
                size: [rows.len(), self.head_dim, width],
                first: 0,
            };
            scores.write(isa, scratch, width);
            if let Some(recent) = recent {
                self.see_recent(isa, recent, query, (&rows, &seen), scratch);
            }
            for (row, weights) in rows.clone().zip(scratch.chunks_exact_mut(width)) {
                let position = self.position(row) - seen.start;
                causal_softmax(weights, width, position, self.scores_of(row), dtype);
            }
            let context = StridedProduct {
                a: Strided::new(scratch, width),
                b: values.skip(seen.start),
                size: [rows.len(), seen.len(), self.head_dim],
                first: seen.start,
            };
            context.write(isa, &mut out[first * self.stride..], self.stride);
        }
    }

    /// Puts the products with recent keys in the place of those with packed ones, in `[rows, keys]`
    /// of the seen.
    fn see_recent(
        &self,
        isa: Isa,
        recent: Recent,
        query: &[f32],
        (rows, seen): (&Range<usize>, &Range<usize>),
        scores: &mut [f32],
    ) {
        let oldest = |row| (self.position(row) + 1).saturating_sub(recent.count);
        let from = (oldest(rows.start) / PAGE * PAGE).max(seen.start);
        let width = (seen.end - from).next_multiple_of(PAGE);
        let mut exact = vec![0.0; rows.len() * width];
        let product = StridedProduct {
            a: Strided::new(&query[rows.start * self.stride..], self.stride),
            b: recent.keys.skip(from - recent.from),
            size: [rows.len(), self.head_dim, width],
            first: 0,
        };
        product.write(isa, &mut exact, width);
        let scores = scores.chunks_exact_mut(seen.len().next_multiple_of(PAGE));
        for ((row, scores), exact) in rows.clone().zip(scores).zip(exact.chunks_exact(width)) {
            let keys = oldest(row).max(from)..self.position(row) + 1;
            let (to, of) = (keys.start - seen.start, keys.start - from);
            scores[to..to + keys.len()].copy_from_slice(&exact[of..of + keys.len()]);
        }
    }

    /// The position of a query.
    fn position(&self, row: usize) -> usize {
        match self.of {
            QueriesOf::Positions(_) => self.past + row,
            QueriesOf::Heads(_) => self.past,
        }
    }

    fn scores_of(&self, row: usize) -> Scores {
        let sink = match self.of {
            QueriesOf::Positions(sink) => sink,
            QueriesOf::Heads(sinks) => sinks.map(|sinks| sinks[row]),
        };
        Scores {
            sink,
            ..self.scores
        }
    }

    /// The keys that the window shows to a block of queries, and some before them.
    fn seen(&self, rows: &Range<usize>) -> Range<usize> {
        let window = self.scores.window;
        let first = self.position(rows.start) + 1;
        let hidden = window.map_or(0, |window| first.saturating_sub(window));
        hidden / PAGE * PAGE..self.position(rows.end - 1) + 1
    }
}
