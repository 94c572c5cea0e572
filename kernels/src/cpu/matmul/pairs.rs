//! Decodes codes to pairs of bf16 by tables, without f32 in between, with AVX-512 and VBMI.
//!
//! A multishift brings the code of an even column to the high half of every word and that of the
//! odd one to the low half; a table of bf16 turns both into values. The scale, a power of two, is
//! applied by a saturating subtraction from their exponents, so zero stays zero. For 8-bit codes
//! the table has the magnitudes, and the sign is added at the end.

use super::coding::PanelCodes;
use super::columns::lowering;
use super::panels::{PANEL_ROWS, Panels};
use super::step::Pairs;
use super::vectors::{Vectors, sixes};
use super::weights::RUN;
use super::words::WordSink;
use crate::cpu::simd::{Avx512, Simd};
use std::arch::x86_64::*;
use std::ops::Range;

/// Decodes `columns`, whole runs, of `V` vectors of rows from `first` on by the panels' table.
#[inline(always)]
pub(super) fn decode<const V: usize>(
    s: Avx512,
    step: Pairs,
    panels: &Panels,
    first: usize,
    columns: Range<usize>,
    sink: &mut impl WordSink<Avx512>,
) {
    let lifted = panels.codecs().lifted(0.0);
    let table = lifted.expect("a table where codes are read by it");
    let decoder = Decoder::<V> {
        s,
        _step: step,
        vectors: Vectors::new(s, panels, first),
        block_size: panels.coding().block_size,
        values: [
            s.load_bits(&table.pairs),
            s.load_bits(&table.pairs[16..]),
            s.load_bits(&table.pairs[32..]),
            s.load_bits(&table.pairs[48..]),
        ],
        unscaled: table.unscaled,
    };
    match panels.coding().width {
        PanelCodes::Bits4 => decoder.run::<4>(columns, sink),
        PanelCodes::Bits6 => decoder.run::<6>(columns, sink),
        PanelCodes::Bits8 => decoder.run::<8>(columns, sink),
    }
}

struct Decoder<'a, const V: usize> {
    s: Avx512,
    /// Proof of VBMI.
    _step: Pairs,
    vectors: Vectors<'a, V>,
    block_size: usize,
    /// Of [`super::codecs::Lifted`].
    values: [__m512i; 4],
    unscaled: u32,
}

/// Where a multishift takes pair `pair` of a word's codes from, for both words of 64 bits.
const fn sources(bits: u64, pair: u64) -> u64 {
    let (even, odd) = (2 * bits * pair, 2 * bits * pair + bits);
    let word = odd | odd << 8 | even << 16 | even << 24;
    word | (word + 0x2020_2020) << 32
}

impl<const V: usize> Decoder<'_, V> {
    /// For codes of `BITS` bits.
    #[inline(always)]
    fn run<const BITS: usize>(&self, columns: Range<usize>, sink: &mut impl WordSink<Avx512>) {
        const { assert!(matches!(BITS, 4 | 6 | 8), "a width of `PanelCodes`") };
        let s = self.s;
        let pairs = if BITS == 4 { 4 } else { 2 };
        // Codes of six bits stand in bytes.
        let bits = if BITS == 4 { 4 } else { 8 };
        let mut from = [s.splat_bits(0); 4];
        for (pair, from) in from.iter_mut().enumerate() {
            // SAFETY: `s` proves that the CPU has AVX-512.
            *from = unsafe { _mm512_set1_epi64(sources(bits, pair as u64) as i64) };
        }
        let mut lower = [s.splat_bits(0); V];
        let mut block_end = columns.start;
        for start in columns.clone().step_by(RUN) {
            if start == block_end {
                for (v, lower) in lower.iter_mut().enumerate() {
                    let code = self
                        .vectors
                        .scale_codes(s, v, start / self.block_size, false);
                    *lower = lowering(s, self.unscaled, code);
                }
                block_end = (start / self.block_size + 1) * self.block_size;
            }
            sink.run((start - columns.start) / 2, RUN / 2);
            let (first, count) = (start * BITS / 32, RUN * BITS / 32);
            let run = self.vectors.run(s, first, count);
            for i in 0..RUN / 2 / pairs {
                let mut words = [s.splat_bits(0); V];
                for (words, run) in words.iter_mut().zip(run) {
                    *words = if BITS == 6 && i == 3 {
                        sixes(s, run, i)
                    } else {
                        s.load_bits(&run[i * PANEL_ROWS..])
                    };
                }
                for (pair, &from) in from[..pairs].iter().enumerate() {
                    for v in 0..V {
                        let values = self.values::<BITS>(words[v], from, lower[v]);
                        sink.put(i * pairs + pair, v, values);
                    }
                }
            }
        }
    }

    /// The values of the pair of codes that lies `from` there.
    #[inline(always)]
    fn values<const BITS: usize>(&self, words: __m512i, from: __m512i, lower: __m512i) -> __m512i {
        let [a, b, c, d] = self.values;
        // SAFETY: `s` proves that the CPU has AVX-512, `_step` that it has VBMI.
        unsafe {
            let codes = _mm512_multishift_epi64_epi8(from, words);
            if BITS == 4 {
                return _mm512_subs_epu16(_mm512_permutexvar_epi16(codes, a), lower);
            }
            let values = _mm512_permutex2var_epi16(a, codes, b);
            if BITS == 6 {
                return _mm512_subs_epu16(values, lower);
            }
            let others = _mm512_permutex2var_epi16(c, codes, d);
            let is_other = _mm512_test_epi16_mask(codes, _mm512_set1_epi16(1 << 6));
            let values = _mm512_mask_mov_epi16(values, is_other, others);
            let sign = _mm512_and_si512(codes, _mm512_set1_epi16(i16::MIN));
            _mm512_or_si512(_mm512_subs_epu16(values, lower), sign)
        }
    }
}
