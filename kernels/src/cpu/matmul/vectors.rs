//! Where the codes and scales of vectors of rows lie in panels.

use super::elements::SIX_BITS;
use super::panels::{PANEL_ROWS, Panels};
use crate::cpu::simd::Simd;

/// How far ahead of their use words are fetched into the cache. Weights are read once, from memory,
/// in more streams than the CPU foresees.
const AHEAD: usize = 40 * PANEL_ROWS;
/// Bytes of a cache line.
const LINE: usize = 64;

/// The positions of `V` vectors of rows in their panels.
pub(super) struct Vectors<'a, const V: usize> {
    words: [&'a [u32]; V],
    scales: [&'a [u8]; V],
    /// Bytes of a block's scale and minimum, and of either.
    block_bytes: usize,
    scale_bytes: usize,
    /// Bits of a scale's code in use.
    scale_mask: u32,
    /// Words of a panel, and of the panels between a vector's and that of the next vectors' rows.
    panel_words: usize,
    skipped_words: usize,
}

impl<'a, const V: usize> Vectors<'a, V> {
    /// The vectors of the rows from `first` on, a multiple of the lanes. Beyond the last panel they
    /// repeat it.
    #[inline(always)]
    pub fn new<S: Simd>(s: S, panels: &'a Panels, first: usize) -> Self {
        let last = (panels.rows() - 1) / PANEL_ROWS;
        let coding = panels.coding();
        let mut vectors = Self {
            words: [&[]; V],
            scales: [&[]; V],
            block_bytes: coding.scale_bytes(),
            scale_bytes: coding.scale.storage_bytes(),
            scale_mask: u32::MAX >> (32 - coding.scale.bits()),
            panel_words: panels.words(0, 0).len(),
            skipped_words: 0,
        };
        let together = (V * S::LANES).div_ceil(PANEL_ROWS);
        vectors.skipped_words = (together - 1) * vectors.panel_words;
        let panel_scales = panels.scale_bytes(0, 0).len();
        for v in 0..V {
            let row = first + v * S::LANES;
            let (panel, lane) = ((row / PANEL_ROWS).min(last), row % PANEL_ROWS);
            vectors.words[v] = &panels.words(panel, 0)[lane..];
            let scales = panels.scale_bytes(panel, 0);
            for byte in (0..panel_scales).step_by(LINE) {
                s.prefetch(scales, together * panel_scales + byte);
            }
            vectors.scales[v] = &scales[lane..];
        }
        vectors
    }

    /// `count` words from `first` on of the rows of each vector, as they lie in panels.
    #[inline(always)]
    pub fn run<S: Simd>(&self, s: S, first: usize, count: usize) -> [&'a [u32]; V] {
        let mut run = self.words;
        // Behind a panel's end come the words of the next vectors.
        let ahead = match first * PANEL_ROWS + AHEAD < self.panel_words {
            true => AHEAD,
            false => AHEAD + self.skipped_words,
        };
        for words in &mut run {
            *words = &words[first * PANEL_ROWS..][..(count - 1) * PANEL_ROWS + S::LANES];
            for word in 0..count {
                s.prefetch(&words[word * PANEL_ROWS..], ahead);
            }
        }
        run
    }

    /// The code of the scale of every row's block, or of the minimum that follows it.
    #[inline(always)]
    pub fn scale_codes<S: Simd>(&self, s: S, v: usize, block: usize, is_minimum: bool) -> S::U {
        let mut code = s.splat_bits(0);
        let first = block * self.block_bytes + if is_minimum { self.scale_bytes } else { 0 };
        if self.scale_bytes == 1 {
            code = s.load_bytes(&self.scales[v][first * PANEL_ROWS..]);
            return s.and(code, s.splat_bits(self.scale_mask));
        }
        for byte in 0..self.scale_bytes {
            let bytes = &self.scales[v][(first + byte) * PANEL_ROWS..];
            code = s.or(code, s.shift_left(s.load_bytes(bytes), 8 * byte as u32));
        }
        s.and(code, s.splat_bits(self.scale_mask))
    }
}

/// Four codes of six bits a lane, one a byte, of the words of a run: `quarter` of the columns.
#[inline(always)]
pub(super) fn sixes<S: Simd>(s: S, run: &[u32], quarter: usize) -> S::U {
    if quarter < 3 {
        let word = s.load_bits(&run[quarter * PANEL_ROWS..]);
        return s.and(word, s.splat_bits(SIX_BITS));
    }
    let mut codes = s.splat_bits(0);
    for (word, shift, mask) in [
        (0, 6, 0x0303_0303),
        (1, 4, 0x0C0C_0C0C),
        (2, 2, 0x3030_3030),
    ] {
        let moved = s.shift_right(s.load_bits(&run[word * PANEL_ROWS..]), shift);
        codes = s.or(codes, s.and(moved, s.splat_bits(mask)));
    }
    codes
}
