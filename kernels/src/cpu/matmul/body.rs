//! The products of some rows of W with all tokens. `inline(always)` as in [`super::columns`].

use super::columns::{Sink, decode_columns, decode_scales};
use super::step::{Fused, Step};
use super::weights::Reading;
use super::{CHAIN, Job, TASK_ROWS};
use crate::cpu::dequantize::dequantize_rows;
use crate::cpu::simd::Simd;
use std::marker::PhantomData;
use std::ops::Range;

/// Vectors of rows whose chains interleave for one token, to hide the latency of a step.
const VECTORS_OF_ONE: usize = 4;
/// Vectors of rows of a tile, whose tokens are chains enough.
const VECTORS: usize = 2;

/// What a task allocates once.
#[derive(Default)]
struct Scratch {
    /// `[blocks, rows]`.
    scales: Vec<f32>,
    /// Words of a chain of some rows of W: `[steps, rows]`.
    panel: Vec<f32>,
    /// `[rows, cols]`, where codes are not read as words.
    values: Vec<f32>,
}

/// Rows `rows` of W times all tokens, by `step` where it is exact and in f32 elsewhere.
#[inline(always)]
pub(in crate::cpu) fn multiply_rows<S: Simd, P: Step<S>>(
    s: S,
    step: P,
    job: &Job,
    rows: Range<usize>,
) {
    const { assert!(TASK_ROWS.is_multiple_of(VECTORS_OF_ONE * S::LANES)) };
    let body = Body { s, job };
    let mut scratch = Scratch::default();
    for first in rows.clone().step_by(VECTORS_OF_ONE * S::LANES) {
        let end = rows.end.min(first + VECTORS_OF_ONE * S::LANES);
        if S::DECODES_WORDS && job.x.tokens() == 1 && body.one_token(first..end, &mut scratch) {
            continue;
        }
        for first in (first..end).step_by(VECTORS * S::LANES) {
            let end = end.min(first + VECTORS * S::LANES);
            body.all_tokens(step, first..end, &mut scratch);
        }
    }
}

struct Body<'j, 'a, S: Simd> {
    s: S,
    job: &'j Job<'a>,
}

impl<S: Simd> Body<'_, '_, S> {
    /// Multiplies codes as they are decoded, or returns false if they are not read as words.
    #[inline(always)]
    fn one_token(&self, rows: Range<usize>, scratch: &mut Scratch) -> bool {
        const V: usize = VECTORS_OF_ONE;
        let (s, job) = (self.s, self.job);
        let scales = &mut scratch.scales;
        let [least, _] = decode_scales::<S, V>(s, &job.weights, rows.start, scales);
        if job.weights.reading(least, None) == Reading::Rows {
            return false;
        }
        let (x, cols) = (job.x.rows(), job.weights.cols());
        for start in (0..cols).step_by(CHAIN) {
            let columns = start..cols.min(start + CHAIN);
            let mut sums = Sums {
                s,
                x,
                step: x,
                sums: [s.splat(0.0); V],
            };
            decode_columns::<S, V>(s, &job.weights, rows.start, columns, scales, &mut sums);
            self.add::<V>(0, rows.clone(), sums.sums, start == 0);
        }
        true
    }

    #[inline(always)]
    fn all_tokens<P: Step<S>>(&self, step: P, rows: Range<usize>, scratch: &mut Scratch) {
        let (s, job) = (self.s, self.job);
        let scales = &mut scratch.scales;
        let [least, _] = decode_scales::<S, VECTORS>(s, &job.weights, rows.start, scales);
        let x_unit = job.x.pairs_unit().filter(|_| P::COLUMNS == 2);
        let reading = job.weights.reading(least, x_unit);
        if !S::DECODES_WORDS || reading == Reading::Rows {
            self.dequantize(rows.clone(), &mut scratch.values);
            self.chains(Fused, rows, scratch, false);
        } else if reading == Reading::Pairs {
            self.chains(step, rows, scratch, true);
        } else {
            self.chains(Fused, rows, scratch, true);
        }
    }

    /// Chain by chain, makes the panel, from codes or from values, and multiplies every group of
    /// tokens by it.
    #[inline(always)]
    fn chains<P: Step<S>>(
        &self,
        step: P,
        rows: Range<usize>,
        scratch: &mut Scratch,
        from_codes: bool,
    ) {
        let x = &self.job.x;
        let cols = self.job.weights.cols();
        let words = x.words(P::COLUMNS);
        for start in (0..cols).step_by(CHAIN) {
            let columns = start..cols.min(start + CHAIN);
            let steps = columns.len().div_ceil(P::COLUMNS);
            scratch.panel.resize(steps * VECTORS * S::LANES, 0.0);
            if S::DECODES_WORDS && from_codes {
                self.decode::<P>(rows.clone(), columns, scratch);
            } else {
                self.transpose(rows.clone(), columns, scratch);
            }
            for group in x.groups() {
                let tile = Tile {
                    step,
                    panel: &scratch.panel,
                    words: &words.words[group.first * words.stride + start / P::COLUMNS..],
                    stride: words.stride,
                    token: group.first,
                    rows: rows.clone(),
                    is_first: start == 0,
                };
                match group.tokens {
                    1 => self.tile::<P, 1>(tile),
                    2 => self.tile::<P, 2>(tile),
                    3 => self.tile::<P, 3>(tile),
                    4 => self.tile::<P, 4>(tile),
                    5 => self.tile::<P, 5>(tile),
                    6 => self.tile::<P, 6>(tile),
                    7 => self.tile::<P, 7>(tile),
                    8 => self.tile::<P, 8>(tile),
                    9 => self.tile::<P, 9>(tile),
                    10 => self.tile::<P, 10>(tile),
                    11 => self.tile::<P, 11>(tile),
                    _ => self.tile::<P, 12>(tile),
                }
            }
        }
    }

    /// A panel from codes.
    #[inline(always)]
    fn decode<P: Step<S>>(&self, rows: Range<usize>, columns: Range<usize>, scratch: &mut Scratch) {
        let s = self.s;
        let Scratch { scales, panel, .. } = scratch;
        let has_half = !columns.len().is_multiple_of(P::COLUMNS);
        let mut words = Words::<S, P> {
            s,
            rest: panel,
            window: &mut [],
            high: [s.splat_bits(0); VECTORS],
            step: PhantomData,
        };
        decode_columns::<S, VECTORS>(
            s,
            &self.job.weights,
            rows.start,
            columns,
            scales,
            &mut words,
        );
        if has_half {
            let last = words.window.len() - VECTORS * S::LANES;
            for (v, high) in words.high.into_iter().enumerate() {
                s.store(s.float(high), &mut words.window[last + v * S::LANES..]);
            }
        }
    }

    /// The values of rows, rounded.
    #[inline(always)]
    fn dequantize(&self, rows: Range<usize>, values: &mut Vec<f32>) {
        let weights = &self.job.weights;
        values.resize(rows.len() * weights.cols(), 0.0);
        dequantize_rows(self.s, weights.packed, rows, values);
        for value in values {
            *value = weights.value_type.round(*value);
        }
    }

    /// A panel from values; rows that are missing keep what was there.
    fn transpose(&self, rows: Range<usize>, columns: Range<usize>, scratch: &mut Scratch) {
        let width = VECTORS * S::LANES;
        let values = scratch.values.chunks_exact(self.job.weights.cols());
        for (lane, values) in values.take(rows.len()).enumerate() {
            let panel = scratch.panel[lane..].iter_mut().step_by(width);
            for (to, &value) in panel.zip(&values[columns.clone()]) {
                *to = value;
            }
        }
    }

    /// A panel times `N` tokens.
    #[inline(always)]
    fn tile<P: Step<S>, const N: usize>(&self, tile: Tile<P>) {
        let s = self.s;
        let mut sums = [[s.splat(0.0); VECTORS]; N];
        let panel = tile.panel.chunks_exact(VECTORS * S::LANES);
        let mut x = [&tile.words[..0]; N];
        for (token, x) in x.iter_mut().enumerate() {
            *x = &tile.words[token * tile.stride..][..panel.len()];
        }
        for (step, w) in panel.enumerate() {
            let w: [S::U; VECTORS] = [s.bits(s.load(w)), s.bits(s.load(&w[S::LANES..]))];
            for token in 0..N {
                let x = s.splat_bits(x[token][step].to_bits());
                for v in 0..VECTORS {
                    sums[token][v] = tile.step.add(s, sums[token][v], w[v], x);
                }
            }
        }
        for (token, sums) in sums.into_iter().enumerate() {
            self.add(tile.token + token, tile.rows.clone(), sums, tile.is_first);
        }
    }

    /// Adds the sums of a chain to y, or puts them there if it is the first one.
    #[inline(always)]
    fn add<const V: usize>(
        &self,
        token: usize,
        rows: Range<usize>,
        sums: [S::F; V],
        is_first: bool,
    ) {
        let s = self.s;
        // SAFETY: the rows are of this task alone.
        let y = unsafe { self.job.y.part(token, rows) };
        if y.len() == V * S::LANES {
            for (v, mut sum) in sums.into_iter().enumerate() {
                let y = &mut y[v * S::LANES..];
                if !is_first {
                    sum = s.add(s.load(y), sum);
                }
                s.store(sum, y);
            }
            return;
        }
        let mut values = [0.0; TASK_ROWS];
        for (v, sum) in sums.into_iter().enumerate() {
            s.store(sum, &mut values[v * S::LANES..]);
        }
        for (y, value) in y.iter_mut().zip(values) {
            *y = if is_first { value } else { *y + value };
        }
    }
}

/// Adds the products with one token.
struct Sums<'a, S: Simd, const V: usize> {
    s: S,
    x: &'a [f32],
    /// Of the columns of the step.
    step: &'a [f32],
    sums: [S::F; V],
}

impl<S: Simd, const V: usize> Sink<S> for Sums<'_, S, V> {
    #[inline(always)]
    fn step(&mut self, columns: Range<usize>) {
        self.step = &self.x[columns];
    }

    #[inline(always)]
    fn put(&mut self, v: usize, index: usize, w: S::F) {
        let x = self.s.splat(self.step[index]);
        self.sums[v] = self.s.fma(w, x, self.sums[v]);
    }
}

/// Writes the words of a panel.
struct Words<'a, S: Simd, P> {
    s: S,
    rest: &'a mut [f32],
    /// Words of the step.
    window: &'a mut [f32],
    /// Even columns that wait for the odd ones.
    high: [S::U; VECTORS],
    step: PhantomData<P>,
}

impl<S: Simd, P: Step<S>> Sink<S> for Words<'_, S, P> {
    #[inline(always)]
    fn step(&mut self, columns: Range<usize>) {
        let words = columns.len().div_ceil(P::COLUMNS) * VECTORS * S::LANES;
        (self.window, self.rest) = std::mem::take(&mut self.rest).split_at_mut(words);
    }

    #[inline(always)]
    fn put(&mut self, v: usize, index: usize, w: S::F) {
        let s = self.s;
        let at = (index / P::COLUMNS * VECTORS + v) * S::LANES;
        if P::COLUMNS == 1 {
            s.store(w, &mut self.window[at..]);
        } else if index.is_multiple_of(2) {
            self.high[v] = s.bits(w);
        } else {
            let pair = s.or(self.high[v], s.shift_right(s.bits(w), 16));
            s.store(s.float(pair), &mut self.window[at..]);
        }
    }
}

/// A panel and the words of some tokens.
struct Tile<'a, P> {
    step: P,
    panel: &'a [f32],
    /// Rows of words, `stride` apart.
    words: &'a [f32],
    stride: usize,
    /// The first.
    token: usize,
    rows: Range<usize>,
    /// Whether y holds nothing yet.
    is_first: bool,
}
