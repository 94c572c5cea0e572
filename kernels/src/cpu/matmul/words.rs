//! From decoded values to the words that a step multiplies.

use super::columns::{Sink, decode_columns};
use super::panels::Panels;
use crate::cpu::simd::Simd;
use std::ops::Range;

/// Takes words.
pub(in crate::cpu) trait WordSink<S: Simd> {
    /// Those that the rows of vector `v` have at a step; steps follow each other.
    fn put(&mut self, step: usize, v: usize, words: S::U);
}

/// Decodes `columns` of `V` vectors of rows from `first` on to words of an f32, or of two values
/// that are bf16.
#[inline(always)]
pub(super) fn decode_words<S: Simd, const V: usize, const COLUMNS: usize>(
    s: S,
    panels: &Panels,
    first: usize,
    columns: Range<usize>,
    sink: &mut impl WordSink<S>,
) {
    let mut values = Values::<S, _, V, COLUMNS> {
        s,
        sink,
        start: columns.start,
        step: 0,
        high: [s.splat_bits(0); V],
    };
    decode_columns::<S, V>(s, panels, first, columns.clone(), &mut values);
    if !columns.len().is_multiple_of(COLUMNS) {
        let Values { sink, high, .. } = values;
        for (v, high) in high.into_iter().enumerate() {
            sink.put(columns.len() / COLUMNS, v, high);
        }
    }
}

/// Makes words of values.
struct Values<'a, S: Simd, K, const V: usize, const COLUMNS: usize> {
    s: S,
    sink: &'a mut K,
    /// The first column.
    start: usize,
    /// Of the first word of what follows.
    step: usize,
    /// Even columns that wait for the odd ones.
    high: [S::U; V],
}

impl<S: Simd, K: WordSink<S>, const V: usize, const COLUMNS: usize> Sink<S>
    for Values<'_, S, K, V, COLUMNS>
{
    #[inline(always)]
    fn step(&mut self, columns: Range<usize>) {
        self.step = (columns.start - self.start) / COLUMNS;
    }

    #[inline(always)]
    fn put(&mut self, v: usize, index: usize, w: S::F) {
        let s = self.s;
        let step = self.step + index / COLUMNS;
        if COLUMNS == 1 {
            self.sink.put(step, v, s.bits(w));
        } else if index.is_multiple_of(2) {
            self.high[v] = s.bits(w);
        } else {
            let pair = s.or(self.high[v], s.shift_right(s.bits(w), 16));
            self.sink.put(step, v, pair);
        }
    }
}
