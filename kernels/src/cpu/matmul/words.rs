//! Sinks of decoded columns: sums of products with one token, and panels.

use super::columns::decode_columns;
use super::panels::Panels;
use super::step::Step;
use crate::cpu::simd::Simd;
use std::ops::Range;

/// Takes words. A trait, for calls through closures are not always inlined.
pub(in crate::cpu) trait WordSink<S: Simd> {
    /// Words of `count` steps from `first` on follow.
    fn run(&mut self, first: usize, count: usize);
    /// Those that the rows of vector `v` have at a step of the run; steps follow each other.
    fn put(&mut self, step: usize, v: usize, words: S::U);
}

/// Decodes `columns` of `V` vectors of rows from `first` on to words of an f32, or of two values
/// that are bf16; see [`decode_columns`].
#[inline(always)]
pub(super) fn decode_words<S: Simd, const V: usize, const COLUMNS: usize, const KIND: u8>(
    s: S,
    panels: &Panels,
    first: usize,
    columns: Range<usize>,
    rounds: bool,
    sink: &mut impl WordSink<S>,
) {
    if COLUMNS == 1 {
        decode_columns::<S, V, KIND>(s, panels, first, columns, rounds, sink);
        return;
    }
    let is_odd = !columns.len().is_multiple_of(2);
    let mut pairs = Pairs::<S, _, V> {
        s,
        sink,
        step: 0,
        high: [s.splat_bits(0); V],
    };
    decode_columns::<S, V, KIND>(s, panels, first, columns, rounds, &mut pairs);
    if is_odd {
        let Pairs {
            sink, step, high, ..
        } = pairs;
        for (v, high) in high.into_iter().enumerate() {
            sink.put(step, v, high);
        }
    }
}

/// Makes pairs of columns.
struct Pairs<'a, S: Simd, K, const V: usize> {
    s: S,
    sink: &'a mut K,
    /// Of the last even column.
    step: usize,
    /// Even columns that wait for the odd ones.
    high: [S::U; V],
}

impl<S: Simd, K: WordSink<S>, const V: usize> WordSink<S> for Pairs<'_, S, K, V> {
    #[inline(always)]
    fn run(&mut self, first: usize, count: usize) {
        self.sink.run(first / 2, count.div_ceil(2));
    }

    #[inline(always)]
    fn put(&mut self, column: usize, v: usize, words: S::U) {
        let s = self.s;
        if column.is_multiple_of(2) {
            self.high[v] = words;
            self.step = column / 2;
        } else {
            let pair = s.or(self.high[v], s.shift_right(words, 16));
            self.sink.put(column / 2, v, pair);
        }
    }
}

/// Adds the products with one token.
pub(super) struct Sums<'a, S: Simd, P, const V: usize> {
    s: S,
    step: P,
    /// Its words, and those of the run.
    x: &'a [f32],
    run: &'a [f32],
    pub sums: [S::F; V],
}

impl<'a, S: Simd, P, const V: usize> Sums<'a, S, P, V> {
    #[inline(always)]
    pub fn new(s: S, step: P, x: &'a [f32]) -> Self {
        Self {
            s,
            step,
            x,
            run: &[],
            sums: [s.splat(0.0); V],
        }
    }
}

impl<S: Simd, P: Step<S>, const V: usize> WordSink<S> for Sums<'_, S, P, V> {
    #[inline(always)]
    fn run(&mut self, first: usize, count: usize) {
        self.run = &self.x[first..][..count];
    }

    #[inline(always)]
    fn put(&mut self, step: usize, v: usize, words: S::U) {
        let x = self.s.splat_bits(self.run[step].to_bits());
        self.sums[v] = self.step.add(self.s, self.sums[v], words, x);
    }
}

/// Writes the words of a panel `[steps, V vectors of rows]`.
pub(super) struct Words<'a, S, const V: usize> {
    s: S,
    panel: &'a mut [f32],
    /// Of the run.
    first: usize,
}

impl<'a, S: Simd, const V: usize> Words<'a, S, V> {
    #[inline(always)]
    pub fn new(s: S, panel: &'a mut [f32]) -> Self {
        Self { s, panel, first: 0 }
    }
}

impl<S: Simd, const V: usize> WordSink<S> for Words<'_, S, V> {
    #[inline(always)]
    fn run(&mut self, first: usize, _: usize) {
        self.first = first;
    }

    #[inline(always)]
    fn put(&mut self, step: usize, v: usize, words: S::U) {
        let at = ((self.first + step) * V + v) * S::LANES;
        self.s.store(self.s.float(words), &mut self.panel[at..]);
    }
}
