//! The products of some rows of W with all tokens. `inline(always)` as in [`super::columns`].

use super::dense::{Bf16Rows, widened};
use super::panels::Panels;
use super::step::{Fused, Step};
use super::weights::{Decoding, Kind, PackedWeights, Reading, Weights};
use super::words::{Sums, Words};
use super::{CHAIN, Job, TASK_ROWS};
use crate::cpu::dequantize::dequantize_rows;
use crate::cpu::simd::Simd;
use std::ops::Range;

/// Vectors of rows whose chains interleave for one token, to hide the latency of a step. With
/// eight, AVX2 has too few registers.
const VECTORS_OF_ONE: usize = 4;
/// Vectors of rows of a tile, whose tokens are chains enough.
const VECTORS: usize = 2;

/// Evaluates a generic expression for the kind that a variable tells.
macro_rules! by_kind {
    ($kind:expr, $name:ident => $($call:tt)*) => {
        by_kind!(@ $kind, $name, ($($call)*), PAIRS LIFTED SMALL WIDE SPLIT_6 SPLIT_8 INTEGERS)
    };
    (@ $kind:expr, $name:ident, $call:tt, $($one:ident)*) => {
        match $kind {
            $(Kind::$one => {
                const $name: u8 = Kind::$one;
                $call
            })*
            kind => unreachable!("there is no kind {kind}"),
        }
    };
}

/// The buffers that a task allocates once.
#[derive(Default)]
struct Scratch {
    /// Words of a chain of some rows of W: `[steps, rows]`.
    panel: Vec<f32>,
    /// `[rows, cols]`, where codes are not read as words.
    values: Vec<f32>,
    /// Sums of tiles, `[tokens, rows]`.
    sums: Vec<f32>,
}

/// Rows `rows` of W times all tokens, by `step` where it is exact and in f32 elsewhere.
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
        let is_stepwise = P::TILES.is_none();
        if S::DECODES_WORDS
            && is_stepwise
            && job.x.tokens() == 1
            && body.one_token(step, first..end)
        {
            continue;
        }
        for first in (first..end).step_by(VECTORS * S::LANES) {
            let end = end.min(first + VECTORS * S::LANES);
            body.all_tokens(step, first..end, &mut scratch);
        }
    }
}

/// log2 of the smallest normal f32.
const LEAST_NORMAL: i32 = -126;

/// The source of a panel.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// Codes.
    Codes(&'a Panels, Decoding),
    /// The values in the scratch.
    Values,
    /// Rows of bf16.
    Dense(&'a Bf16Rows<'a>),
}

struct Body<'j, 'a, S: Simd> {
    s: S,
    job: &'j Job<'a>,
}

impl<S: Simd> Body<'_, '_, S> {
    /// Multiplies codes as they are decoded, or returns false if they are not read as words.
    fn one_token<P: Step<S>>(&self, step: P, rows: Range<usize>) -> bool {
        let Weights::Packed(weights) = &self.job.weights else {
            return false;
        };
        let range = weights.panels.range(&rows);
        match weights.reading(range, &self.job.x, P::COLUMNS == 2, false) {
            Reading::Rows => return false,
            Reading::Pairs(by) => self.one_token_outlined(step, weights.panels, rows, by),
            Reading::Words(by) => self.one_token_outlined(Fused, weights.panels, rows, by),
        }
        true
    }

    /// [`Self::one_token_by`] as a function of its own for each kind of step and of codes.
    fn one_token_outlined<P: Step<S>>(
        &self,
        step: P,
        panels: &Panels,
        rows: Range<usize>,
        decoding: Decoding,
    ) {
        by_kind!(decoding.kind, KIND => step.outline(
            self.s,
            #[inline(always)]
            || self.one_token_by::<P, KIND>(step, panels, rows, decoding.rounds),
        ));
    }

    #[inline(always)]
    fn one_token_by<P: Step<S>, const KIND: u8>(
        &self,
        step: P,
        panels: &Panels,
        rows: Range<usize>,
        rounds: bool,
    ) {
        const V: usize = VECTORS_OF_ONE;
        let (s, job) = (self.s, self.job);
        let (x, cols) = (&job.x.words(P::COLUMNS).words, panels.cols());
        for start in (0..cols).step_by(CHAIN) {
            let columns = start..cols.min(start + CHAIN);
            let mut sums = Sums::<S, P, V>::new(s, step, &x[start / P::COLUMNS..]);
            step.decode::<V, KIND>(s, panels, rows.start, columns, rounds, &mut sums);
            self.add::<V>(0, rows.clone(), sums.sums, start == 0);
        }
    }

    fn all_tokens<P: Step<S>>(&self, step: P, rows: Range<usize>, scratch: &mut Scratch) {
        // Tiles have their own order, where what is subnormal counts as zero.
        let is_tiled = P::TILES.is_some();
        let (source, may_pair) = match &self.job.weights {
            Weights::Packed(weights) => {
                let panels = weights.panels;
                let range = panels.range(&rows);
                match weights.reading(range, &self.job.x, P::COLUMNS == 2, is_tiled) {
                    Reading::Pairs(by) => (Source::Codes(panels, by), true),
                    Reading::Words(by) if S::DECODES_WORDS => (Source::Codes(panels, by), false),
                    Reading::Words(_) | Reading::Rows => {
                        self.dequantize(weights, rows.clone(), &mut scratch.values);
                        (Source::Values, false)
                    }
                }
            }
            Weights::Dense(dense) => {
                let stays_normal =
                    |x: i32| is_tiled || dense.unit(rows.clone()).saturating_add(x) >= LEAST_NORMAL;
                let x_unit = self.job.x.pairs_unit().filter(|_| P::COLUMNS == 2);
                (Source::Dense(dense), x_unit.is_some_and(stays_normal))
            }
        };
        if may_pair {
            self.chains(step, rows, scratch, source);
        } else {
            self.chains(Fused, rows, scratch, source);
        }
    }

    /// Chain by chain, makes the panel of some rows and multiplies every group of tokens by it.
    fn chains<P: Step<S>>(
        &self,
        step: P,
        rows: Range<usize>,
        scratch: &mut Scratch,
        source: Source,
    ) {
        let x = &self.job.x;
        let cols = self.job.weights.cols();
        let words = x.words(P::COLUMNS);
        for start in (0..cols).step_by(CHAIN) {
            let columns = start..cols.min(start + CHAIN);
            let steps = columns.len().div_ceil(P::COLUMNS);
            let whole = steps.next_multiple_of(P::TILES.map_or(1, |tiles| tiles.steps));
            let size = whole * VECTORS * S::LANES;
            // It never shrinks: the last chain of each row is shorter, and growing writes zeros.
            if scratch.panel.len() < size {
                scratch.panel.resize(size, 0.0);
            }
            scratch.panel[steps * VECTORS * S::LANES..size].fill(0.0);
            match source {
                Source::Codes(panels, by) if S::DECODES_WORDS => {
                    let panel = &mut scratch.panel[..size];
                    self.decode(step, panels, rows.start, columns, by, panel);
                }
                // Codes are never left to vectors that do not decode them.
                Source::Codes(..) | Source::Values => {
                    self.transpose(cols, rows.len(), columns, scratch);
                }
                Source::Dense(dense) => {
                    let rows = dense.bits(rows.clone(), columns);
                    let panel = &mut scratch.panel[..size];
                    step.outline(
                        self.s,
                        #[inline(always)]
                        || self.interleave::<P>(rows, panel),
                    );
                }
            }
            let at_once = P::TILES.map_or(self.job.tokens_at_once, |tiles| tiles.tokens);
            for group in x.groups(at_once) {
                let tile = Tile {
                    step,
                    panel: &scratch.panel[..size],
                    words: &words.words[group.first * words.stride + start / P::COLUMNS..],
                    stride: words.stride,
                    token: group.first,
                    rows: rows.clone(),
                    is_first: start == 0,
                };
                if P::TILES.is_some() {
                    self.tiles(tile, group.tokens, &mut scratch.sums);
                    continue;
                }
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

    /// A panel of codes; `first` is the first of the rows.
    fn decode<P: Step<S>>(
        &self,
        step: P,
        panels: &Panels,
        first: usize,
        columns: Range<usize>,
        decoding: Decoding,
        panel: &mut [f32],
    ) {
        let s = self.s;
        by_kind!(decoding.kind, KIND => step.outline(
            s,
            #[inline(always)]
            || {
                let mut words = Words::<S, VECTORS>::new(s, panel);
                let rounds = decoding.rounds;
                step.decode::<VECTORS, KIND>(s, panels, first, columns, rounds, &mut words);
            },
        ));
    }

    /// The values of rows, rounded.
    fn dequantize(&self, weights: &PackedWeights, rows: Range<usize>, values: &mut Vec<f32>) {
        let panels = weights.panels;
        values.resize(rows.len() * panels.cols(), 0.0);
        let s = self.s;
        match panels.packed_rows(rows.clone()) {
            Ok(packed) => s.outline(
                #[inline(always)]
                || dequantize_rows(s, &packed, 0..packed.rows(), values),
            ),
            // Of blocks of ggml.
            Err(_) => {
                let done = panels.dequantize_rows(rows, values);
                done.expect("rows that are there, and room for them");
            }
        }
        for value in values {
            *value = weights.value_type.round(*value);
        }
    }

    /// A panel from values; rows that are missing keep what was there.
    fn transpose(&self, cols: usize, rows: usize, columns: Range<usize>, scratch: &mut Scratch) {
        let width = VECTORS * S::LANES;
        let values = scratch.values.chunks_exact(cols);
        for (lane, values) in values.take(rows).enumerate() {
            let panel = scratch.panel[lane..].iter_mut().step_by(width);
            for (to, &value) in panel.zip(&values[columns.clone()]) {
                *to = value;
            }
        }
    }

    /// A panel from rows of bf16, as the words that a step takes; rows that are missing keep what
    /// was there.
    #[inline(always)]
    fn interleave<'b, P: Step<S>>(
        &self,
        rows: impl Iterator<Item = &'b [[u8; 2]]>,
        panel: &mut [f32],
    ) {
        let width = VECTORS * S::LANES;
        for (lane, row) in rows.enumerate() {
            let mut words = panel[lane..].iter_mut().step_by(width);
            if P::COLUMNS == 1 {
                for (word, &element) in words.zip(row) {
                    *word = f32::from_bits(widened(element));
                }
                continue;
            }
            let (pairs, rest) = row.as_chunks::<2>();
            for (&[high, low], word) in pairs.iter().zip(words.by_ref()) {
                *word = f32::from_bits(widened(high) | widened(low) >> 16);
            }
            if let (&[element], Some(word)) = (rest, words.next()) {
                *word = f32::from_bits(widened(element));
            }
        }
    }

    /// A panel times `N` tokens.
    fn tile<P: Step<S>, const N: usize>(&self, tile: Tile<P>) {
        tile.step.outline(
            self.s,
            #[inline(always)]
            || self.tile_by::<P, N>(tile),
        );
    }

    #[inline(always)]
    fn tile_by<P: Step<S>, const N: usize>(&self, tile: Tile<P>) {
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

    /// A panel times some tokens, by tiles.
    fn tiles<P: Step<S>>(&self, tile: Tile<P>, tokens: usize, sums: &mut Vec<f32>) {
        let s = self.s;
        let width = VECTORS * S::LANES;
        debug_assert!(P::TILES.is_some_and(|tiles| tiles.rows == width));
        sums.resize(tokens * width, 0.0);
        let (words, stride) = (tile.words, tile.stride);
        tile.step
            .multiply_tiles(tile.panel, words, stride, tokens, sums);
        let sums = &*sums;
        tile.step.outline(
            s,
            #[inline(always)]
            || {
                for (token, sums) in sums.chunks_exact(width).enumerate() {
                    let mut loaded = [s.splat(0.0); VECTORS];
                    for (v, loaded) in loaded.iter_mut().enumerate() {
                        *loaded = s.load(&sums[v * S::LANES..]);
                    }
                    self.add(tile.token + token, tile.rows.clone(), loaded, tile.is_first);
                }
            },
        );
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
