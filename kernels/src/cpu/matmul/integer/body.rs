//! The products of integers of some rows of W with all tokens. `inline(always)` as in
//! [`super::decode`].

use super::IntegerJob;
use super::bytes::Bytes;
use super::decode::{Decoder, IntegerSink};
use super::dot::Dot;
use super::rows::GROUP;
use crate::cpu::matmul::TASK_ROWS;
use crate::cpu::matmul::coding::PanelCodes;
use crate::cpu::simd::Simd;
use std::ops::Range;

/// Vectors of rows for one token, to hide the latency of sums.
const VECTORS_OF_ONE: usize = 4;
/// Vectors of rows of a tile, whose tokens are sums enough.
const VECTORS: usize = 2;
/// Columns whose integers are decoded before they are multiplied, or a block if it has more.
const CHUNK: usize = 512;

/// Rows `rows` of W times all tokens.
pub(in crate::cpu) fn multiply_integers<S: Bytes, D: Dot<S>>(
    s: S,
    dot: D,
    job: &IntegerJob,
    rows: Range<usize>,
) {
    const { assert!(TASK_ROWS.is_multiple_of(VECTORS_OF_ONE * S::LANES)) };
    let body = Body { s, dot, job };
    if job.tokens == 1 {
        for first in rows.clone().step_by(VECTORS_OF_ONE * S::LANES) {
            let rows = first..rows.end.min(first + VECTORS_OF_ONE * S::LANES);
            match job.panels.coding().width {
                PanelCodes::Bits4 => body.one_token::<4>(rows),
                PanelCodes::Bits6 => body.one_token::<6>(rows),
                PanelCodes::Bits8 => body.one_token::<8>(rows),
            }
        }
        return;
    }
    let mut panel = Panel::default();
    for first in rows.clone().step_by(VECTORS * S::LANES) {
        body.all_tokens(first..rows.end.min(first + VECTORS * S::LANES), &mut panel);
    }
}

/// Decoded columns of some rows of W.
#[derive(Default)]
struct Panel {
    /// [words of a row, rows], as f32 bits.
    words: Vec<f32>,
    /// [blocks, rows].
    factors: Vec<f32>,
}

#[derive(Clone, Copy)]
struct Body<'j, 'a, S, D> {
    s: S,
    dot: D,
    job: &'j IntegerJob<'a>,
}

impl<S: Bytes, D: Dot<S>> Body<'_, '_, S, D> {
    const LANES_OF_TILE: usize = VECTORS * S::LANES;

    /// The columns of a block.
    #[inline(always)]
    fn columns(&self, block: usize) -> Range<usize> {
        let (k, cols) = (self.job.block_size, self.job.panels.cols());
        block * k..cols.min((block + 1) * k)
    }

    /// The runs of a block: their positions among those of a token, and their columns.
    #[inline(always)]
    fn runs(&self, block: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
        let (columns, x) = (self.columns(block), self.job.x);
        let run = x.run_words * D::OPERAND.columns();
        let starts = columns.clone().step_by(run).enumerate();
        let first = block * x.block_runs;
        starts.map(move |(i, start)| (first + i, start..columns.end.min(start + run)))
    }

    /// The words of some columns from a group's first on.
    #[inline(always)]
    fn words(columns: usize) -> usize {
        columns.div_ceil(GROUP) * (GROUP / D::OPERAND.columns())
    }

    /// Multiplies integers as they are decoded.
    fn one_token<const BITS: usize>(&self, rows: Range<usize>) {
        self.dot.outline(
            self.s,
            #[inline(always)]
            || self.one_token_by::<BITS>(rows),
        );
    }

    #[inline(always)]
    fn one_token_by<const BITS: usize>(&self, rows: Range<usize>) {
        const V: usize = VECTORS_OF_ONE;
        let (s, job) = (self.s, self.job);
        let decoder = Decoder::<S, D, V>::new(s, job.panels, &job.tables, rows.start);
        let mut sums = [s.splat(0.0); V];
        for block in 0..job.x.blocks {
            let mut wide = [s.splat_bits(0); V];
            for (run, columns) in self.runs(block) {
                let mut products = Products {
                    s,
                    dot: self.dot,
                    rest: &job.x.words[columns.start / D::OPERAND.columns()..],
                    group: &[],
                    sums: [s.splat_bits(job.x.starts[run]); V],
                };
                decoder.groups_of::<BITS>(columns, &mut products);
                for (wide, sum) in wide.iter_mut().zip(products.sums) {
                    *wide = s.add_bits(*wide, self.dot.widen(s, sum));
                }
            }
            let x = s.splat(job.x.factors[block]);
            let factors = decoder.factors(block);
            for v in 0..V {
                let factor = s.mul(factors[v], x);
                sums[v] = s.fma(s.convert(wide[v]), factor, sums[v]);
            }
        }
        self.store(0, rows, sums, true);
    }

    /// Chunk by chunk, decodes some rows and multiplies every group of tokens by them.
    fn all_tokens(&self, rows: Range<usize>, panel: &mut Panel) {
        let job = self.job;
        let step = (CHUNK / job.block_size).max(1);
        for first in (0..job.x.blocks).step_by(step) {
            let blocks = first..job.x.blocks.min(first + step);
            self.dot.outline(
                self.s,
                #[inline(always)]
                || self.decode(rows.start, blocks.clone(), panel),
            );
            for group in job.x.groups() {
                let (token, tokens) = (group.start, group.len());
                let tile = Tile {
                    panel,
                    blocks: blocks.clone(),
                    token,
                    rows: rows.clone(),
                };
                match tokens {
                    1 => self.tile::<1>(tile),
                    2 => self.tile::<2>(tile),
                    3 => self.tile::<3>(tile),
                    4 => self.tile::<4>(tile),
                    5 => self.tile::<5>(tile),
                    6 => self.tile::<6>(tile),
                    7 => self.tile::<7>(tile),
                    _ => self.tile::<8>(tile),
                }
            }
        }
    }

    #[inline(always)]
    fn decode(&self, first: usize, blocks: Range<usize>, panel: &mut Panel) {
        let (s, job) = (self.s, self.job);
        let decoder = Decoder::<S, D, VECTORS>::new(s, job.panels, &job.tables, first);
        let columns = self.columns(blocks.start).start..self.columns(blocks.end - 1).end;
        let words = Self::words(columns.len());
        panel.words.resize(words * Self::LANES_OF_TILE, 0.0);
        panel
            .factors
            .resize(blocks.len() * Self::LANES_OF_TILE, 0.0);
        let mut sink = PanelWords {
            s,
            len: Self::words(GROUP) * Self::LANES_OF_TILE,
            group: &mut [],
            rest: &mut panel.words,
        };
        decoder.groups(columns, &mut sink);
        let factors = panel.factors.chunks_exact_mut(Self::LANES_OF_TILE);
        for (block, to) in blocks.zip(factors) {
            for (v, factors) in decoder.factors(block).into_iter().enumerate() {
                s.store(factors, &mut to[v * S::LANES..]);
            }
        }
    }

    /// A panel times `N` tokens.
    fn tile<const N: usize>(&self, tile: Tile) {
        self.dot.outline(
            self.s,
            #[inline(always)]
            || self.tile_by::<N>(tile),
        );
    }

    #[inline(always)]
    fn tile_by<const N: usize>(&self, tile: Tile) {
        let (s, dot, x) = (self.s, self.dot, self.job.x);
        let first = self.columns(tile.blocks.start).start / D::OPERAND.columns();
        let of_group = |each: usize, at: usize| tile.token * each + at * N;
        let mut x_words = &x.words[of_group(x.token_words, first)..];
        let starts = of_group(x.blocks * x.block_runs, tile.blocks.start * x.block_runs);
        let starts = x.starts[starts..].chunks_exact(x.block_runs * N);
        let factors = x.factors[of_group(x.blocks, tile.blocks.start)..]
            .as_chunks::<N>()
            .0;
        let mut panel = tile.panel.words.as_slice();
        let panel_factors = tile.panel.factors.chunks_exact(Self::LANES_OF_TILE);
        let mut sums = [[s.splat(0.0); VECTORS]; N];
        if tile.blocks.start > 0 {
            for (t, sums) in sums.iter_mut().enumerate() {
                *sums = self.load(tile.token + t, tile.rows.clone());
            }
        }
        for ((w_factors, x_factors), starts) in panel_factors.zip(factors).zip(starts) {
            let words = x.block_words.min(panel.len() / Self::LANES_OF_TILE);
            let (block_panel, rest) = panel.split_at(words * Self::LANES_OF_TILE);
            let (block_words, x_rest) = x_words.split_at(words * N);
            (panel, x_words) = (rest, x_rest);
            let starts = starts.as_chunks::<N>().0;
            let factors = (w_factors, x_factors);
            // A call for each case: sums that meet behind a branch leave their registers.
            if let [starts] = starts {
                let run = self.add_run(starts, block_panel, block_words);
                let mut wide = run;
                for t in 0..N {
                    for v in 0..VECTORS {
                        wide[t][v] = dot.widen(s, run[t][v]);
                    }
                }
                self.end_block(&mut sums, &wide, factors);
                continue;
            }
            let mut wide = [[s.splat_bits(0); VECTORS]; N];
            let runs = block_panel.chunks(x.run_words * Self::LANES_OF_TILE);
            let runs = runs.zip(block_words.chunks(x.run_words * N));
            for ((panel, x), starts) in runs.zip(starts) {
                let run = self.add_run(starts, panel, x);
                for t in 0..N {
                    for v in 0..VECTORS {
                        wide[t][v] = s.add_bits(wide[t][v], dot.widen(s, run[t][v]));
                    }
                }
            }
            self.end_block(&mut sums, &wide, factors);
        }
        let is_last = tile.blocks.end == x.blocks;
        for (t, sums) in sums.into_iter().enumerate() {
            self.store(tile.token + t, tile.rows.clone(), sums, is_last);
        }
    }

    /// Adds a block to the sums, times the factors [rows] and [tokens].
    #[inline(always)]
    fn end_block<const N: usize>(
        &self,
        sums: &mut [[S::F; VECTORS]; N],
        wide: &[[S::U; VECTORS]; N],
        (w_factors, x_factors): (&[f32], &[f32; N]),
    ) {
        let s = self.s;
        let w: [S::F; VECTORS] = [s.load(w_factors), s.load(&w_factors[S::LANES..])];
        for t in 0..N {
            let x = s.splat(x_factors[t]);
            for v in 0..VECTORS {
                sums[t][v] = s.fma(s.convert(wide[t][v]), s.mul(w[v], x), sums[t][v]);
            }
        }
    }

    /// `starts` plus the products of the words of a panel and of tokens. By value, to stay in
    /// registers.
    #[inline(always)]
    fn add_run<const N: usize>(
        &self,
        starts: &[u32; N],
        panel: &[f32],
        x: &[f32],
    ) -> [[S::U; VECTORS]; N] {
        let (s, dot) = (self.s, self.dot);
        let mut sums = [[s.splat_bits(0); VECTORS]; N];
        for t in 0..N {
            sums[t] = [s.splat_bits(starts[t]); VECTORS];
        }
        let panel = panel.chunks_exact(Self::LANES_OF_TILE);
        for (w, x) in panel.zip(x.as_chunks::<N>().0) {
            let w: [S::U; VECTORS] = [s.bits(s.load(w)), s.bits(s.load(&w[S::LANES..]))];
            for t in 0..N {
                let x = s.splat_bits(x[t].to_bits());
                for v in 0..VECTORS {
                    sums[t][v] = dot.add(s, sums[t][v], w[v], x);
                }
            }
        }
        sums
    }

    /// The sums so far.
    #[inline(always)]
    fn load(&self, token: usize, rows: Range<usize>) -> [S::F; VECTORS] {
        let s = self.s;
        // SAFETY: the rows are of this task alone.
        let y = unsafe { self.job.y.part(token, rows) };
        if y.len() == Self::LANES_OF_TILE {
            return [s.load(y), s.load(&y[S::LANES..])];
        }
        let mut values = [0.0; TASK_ROWS];
        values[..y.len()].copy_from_slice(y);
        [s.load(&values), s.load(&values[S::LANES..])]
    }

    /// Puts sums into y, times the tensor scales if they are whole.
    #[inline(always)]
    fn store<const V: usize>(
        &self,
        token: usize,
        rows: Range<usize>,
        sums: [S::F; V],
        is_whole: bool,
    ) {
        let (s, job) = (self.s, self.job);
        let factor = match is_whole {
            true => job.tensor_scales[token],
            false => 1.0,
        };
        // SAFETY: the rows are of this task alone.
        let y = unsafe { job.y.part(token, rows) };
        let mut values = [0.0; TASK_ROWS];
        let is_full = y.len() == V * S::LANES;
        let to = match is_full {
            true => &mut *y,
            false => &mut values[..],
        };
        for (v, sum) in sums.into_iter().enumerate() {
            s.store(s.mul(sum, s.splat(factor)), &mut to[v * S::LANES..]);
        }
        if !is_full {
            y.copy_from_slice(&values[..y.len()]);
        }
    }
}

/// A panel and the tokens that it is multiplied with.
struct Tile<'p> {
    panel: &'p Panel,
    blocks: Range<usize>,
    /// The first.
    token: usize,
    rows: Range<usize>,
}

/// Writes the words of a panel.
struct PanelWords<'p, S> {
    s: S,
    /// The words of a group.
    len: usize,
    /// Those of this one, and those behind it.
    group: &'p mut [f32],
    rest: &'p mut [f32],
}

impl<S: Bytes> IntegerSink<S> for PanelWords<'_, S> {
    #[inline(always)]
    fn put(&mut self, index: usize, v: usize, word: S::U) {
        let at = (index * VECTORS + v) * S::LANES;
        self.s.store(self.s.float(word), &mut self.group[at..]);
    }

    #[inline(always)]
    fn begin_group(&mut self) {
        (self.group, self.rest) = std::mem::take(&mut self.rest).split_at_mut(self.len);
    }
}

/// Adds the products with one token.
struct Products<'a, S: Simd, D, const V: usize> {
    s: S,
    dot: D,
    /// Its words behind the group's, and those.
    rest: &'a [f32],
    group: &'a [f32],
    sums: [S::U; V],
}

impl<S: Bytes, D: Dot<S>, const V: usize> IntegerSink<S> for Products<'_, S, D, V> {
    #[inline(always)]
    fn put(&mut self, index: usize, v: usize, word: S::U) {
        let s = self.s;
        let x = s.splat_bits(self.group[index].to_bits());
        self.sums[v] = self.dot.add(s, self.sums[v], word, x);
    }

    #[inline(always)]
    fn begin_group(&mut self) {
        (self.group, self.rest) = self.rest.split_at(GROUP / D::OPERAND.columns());
    }
}
