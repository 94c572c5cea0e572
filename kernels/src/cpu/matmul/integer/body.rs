//! The products of integers of some rows of W with all tokens. `inline(always)` as in
//! [`super::decode`].

use super::IntegerJob;
use super::bytes::Bytes;
use super::decode::{Decoder, IntegerSink};
use super::dot::Dot;
use super::rows::GROUP;
use crate::cpu::matmul::TASK_ROWS;
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
            dot.outline(
                s,
                #[inline(always)]
                || body.one_token(rows),
            );
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

    /// The words of some columns from a group's first on.
    #[inline(always)]
    fn words(columns: usize) -> usize {
        columns.div_ceil(GROUP) * (GROUP / D::OPERAND.columns())
    }

    /// Multiplies integers as they are decoded.
    #[inline(always)]
    fn one_token(&self, rows: Range<usize>) {
        const V: usize = VECTORS_OF_ONE;
        let (s, job) = (self.s, self.job);
        let decoder = Decoder::<S, D, V>::new(s, job.panels, &job.tables, rows.start);
        let mut sums = [s.splat(0.0); V];
        for block in 0..job.x.blocks {
            let columns = self.columns(block);
            let mut products = Products {
                s,
                dot: self.dot,
                x: &job.x.words[columns.start / D::OPERAND.columns()..],
                run: job.run,
                in_run: 0,
                narrow: [s.splat_bits(0); V],
                wide: [s.splat_bits(job.x.starts[block] as u32); V],
            };
            decoder.groups(columns, &mut products);
            products.widen_all();
            let x = s.splat(job.x.factors[block]);
            let factors = decoder.factors(block);
            for v in 0..V {
                let factor = s.mul(factors[v], x);
                sums[v] = s.fma(s.convert(products.wide[v]), factor, sums[v]);
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
            let count = job.tokens.div_ceil(job.tokens_at_once);
            let start = |group: usize| group * job.tokens / count;
            for group in 0..count {
                let (token, tokens) = (start(group), start(group + 1) - start(group));
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
                    8 => self.tile::<8>(tile),
                    9 => self.tile::<9>(tile),
                    10 => self.tile::<10>(tile),
                    11 => self.tile::<11>(tile),
                    _ => self.tile::<12>(tile),
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
            group: Self::words(GROUP) * Self::LANES_OF_TILE,
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
        let (s, dot, job) = (self.s, self.dot, self.job);
        let (x, first) = (job.x, self.columns(tile.blocks.start).start);
        let mut x_words = [&x.words[..0]; N];
        let mut sums = [[s.splat(0.0); VECTORS]; N];
        for (t, x_words) in x_words.iter_mut().enumerate() {
            let at = (tile.token + t) * x.stride + first / D::OPERAND.columns();
            *x_words = &x.words[at..];
            if tile.blocks.start > 0 {
                sums[t] = self.load(tile.token + t, tile.rows.clone());
            }
        }
        let mut start = 0;
        for (i, block) in tile.blocks.clone().enumerate() {
            let words = Self::words(self.columns(block).len());
            let panel = &tile.panel.words[start * Self::LANES_OF_TILE..];
            let panel = &panel[..words * Self::LANES_OF_TILE];
            let mut x_block = [&x.words[..0]; N];
            let mut wide = [[s.splat_bits(0); VECTORS]; N];
            for t in 0..N {
                x_block[t] = &x_words[t][start..][..words];
                let begin = x.starts[(tile.token + t) * x.blocks + block];
                wide[t] = [s.splat_bits(begin as u32); VECTORS];
            }
            start += words;
            if D::IS_NARROW {
                for run in (0..words).step_by(job.run) {
                    let run = run..words.min(run + job.run);
                    let mut narrow = [[s.splat_bits(0); VECTORS]; N];
                    self.add_run(&mut narrow, panel, &x_block, run);
                    for t in 0..N {
                        for v in 0..VECTORS {
                            wide[t][v] = s.add_bits(wide[t][v], dot.widen(s, narrow[t][v]));
                        }
                    }
                }
            } else {
                self.add_run(&mut wide, panel, &x_block, 0..words);
            }
            let factors = &tile.panel.factors[i * Self::LANES_OF_TILE..];
            for v in 0..VECTORS {
                let factor_w = s.load(&factors[v * S::LANES..]);
                for t in 0..N {
                    let factor_x = s.splat(x.factors[(tile.token + t) * x.blocks + block]);
                    let factor = s.mul(factor_w, factor_x);
                    sums[t][v] = s.fma(s.convert(wide[t][v]), factor, sums[t][v]);
                }
            }
        }
        let is_last = tile.blocks.end == x.blocks;
        for (t, sums) in sums.into_iter().enumerate() {
            self.store(tile.token + t, tile.rows.clone(), sums, is_last);
        }
    }

    /// Adds the products of some words.
    #[inline(always)]
    fn add_run<const N: usize>(
        &self,
        sums: &mut [[S::U; VECTORS]; N],
        panel: &[f32],
        x: &[&[u32]; N],
        words: Range<usize>,
    ) {
        let (s, dot) = (self.s, self.dot);
        for word in words {
            let w = &panel[word * Self::LANES_OF_TILE..][..Self::LANES_OF_TILE];
            let w: [S::U; VECTORS] = [s.bits(s.load(w)), s.bits(s.load(&w[S::LANES..]))];
            for t in 0..N {
                let x = s.splat_bits(x[t][word]);
                for v in 0..VECTORS {
                    sums[t][v] = dot.add(s, sums[t][v], w[v], x);
                }
            }
        }
    }

    /// The sums so far.
    #[inline(always)]
    fn load<const V: usize>(&self, token: usize, rows: Range<usize>) -> [S::F; V] {
        let s = self.s;
        // SAFETY: the rows are of this task alone.
        let y = unsafe { self.job.y.part(token, rows) };
        let mut values = [0.0; TASK_ROWS];
        values[..y.len()].copy_from_slice(y);
        let mut sums = [s.splat(0.0); V];
        for (v, sum) in sums.iter_mut().enumerate() {
            *sum = s.load(&values[v * S::LANES..]);
        }
        sums
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
        let mut values = [0.0; TASK_ROWS];
        for (v, mut sum) in sums.into_iter().enumerate() {
            if is_whole {
                sum = s.mul(sum, s.splat(job.tensor_scales[token]));
            }
            s.store(sum, &mut values[v * S::LANES..]);
        }
        // SAFETY: the rows are of this task alone.
        let y = unsafe { job.y.part(token, rows) };
        y.copy_from_slice(&values[..y.len()]);
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
    /// Words of a group.
    group: usize,
    /// From the group on.
    rest: &'p mut [f32],
}

impl<S: Bytes> IntegerSink<S> for PanelWords<'_, S> {
    #[inline(always)]
    fn put(&mut self, index: usize, v: usize, word: S::U) {
        let at = (index * VECTORS + v) * S::LANES;
        self.s.store(self.s.float(word), &mut self.rest[at..]);
    }

    #[inline(always)]
    fn next_group(&mut self) {
        self.rest = &mut std::mem::take(&mut self.rest)[self.group..];
    }
}

/// Adds the products with one token.
struct Products<'a, S: Simd, D, const V: usize> {
    s: S,
    dot: D,
    /// Its words from the group on.
    x: &'a [u32],
    /// Words whose sums stay narrow.
    run: usize,
    /// Words in the narrow sums.
    in_run: usize,
    narrow: [S::U; V],
    wide: [S::U; V],
}

impl<S: Bytes, D: Dot<S>, const V: usize> Products<'_, S, D, V> {
    const GROUP_WORDS: usize = GROUP / D::OPERAND.columns();

    #[inline(always)]
    fn widen(&mut self, v: usize) {
        let s = self.s;
        self.wide[v] = s.add_bits(self.wide[v], self.dot.widen(s, self.narrow[v]));
        self.narrow[v] = s.splat_bits(0);
    }

    #[inline(always)]
    fn widen_all(&mut self) {
        for v in 0..V {
            self.widen(v);
        }
        self.in_run = 0;
    }
}

impl<S: Bytes, D: Dot<S>, const V: usize> IntegerSink<S> for Products<'_, S, D, V> {
    #[inline(always)]
    fn put(&mut self, index: usize, v: usize, word: S::U) {
        let s = self.s;
        let x = s.splat_bits(self.x[index]);
        self.narrow[v] = self.dot.add(s, self.narrow[v], word, x);
        if D::IS_NARROW && self.run < Self::GROUP_WORDS {
            self.widen(v);
        }
    }

    #[inline(always)]
    fn next_group(&mut self) {
        self.x = &self.x[Self::GROUP_WORDS..];
        self.in_run += Self::GROUP_WORDS;
        if D::IS_NARROW && self.in_run + Self::GROUP_WORDS > self.run {
            self.widen_all();
        }
    }
}
