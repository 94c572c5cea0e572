//! Codes of four bits times one token, without f32 in between: what AVX-512 with VBMI does best.
//!
//! A multishift brings the code of an even column to the high half of every word and that of the odd one
//! behind it to the low half; a table of bf16 turns both into values, which the scale, a power of
//! two, makes smaller by a subtraction from their exponents. It saturates, so zero stays zero.
//! Everything else is as in [`super::body`], and so are the bits.

use super::columns::{RowWords, decode_scales};
use super::step::{Pairs, Step};
use super::weights::Reading;
use super::{CHAIN, Job, TASK_ROWS};
use crate::cpu::simd::{Avx512, Simd};
use std::arch::x86_64::*;
use std::ops::Range;

/// Vectors of rows, as for any one token.
const V: usize = TASK_ROWS / Avx512::LANES;

/// log2 of the table's values over those of the elements: the largest is just finite.
const LIFT: u32 = 125;

/// The values of sixteen codes, lifted, as bf16 twice: bit 4 of an index is another code's. -0 is
/// 0, which adds as much.
fn table(values: &[f32; 16]) -> [f32; 16] {
    let lift = f32::from_bits((LIFT + 127) << 23);
    let half = |code: usize| (values[code % 16] * lift + 0.0).to_bits() >> 16;
    std::array::from_fn(|word| f32::from_bits(half(2 * word) | half(2 * word + 1) << 16))
}

/// Where the multishift takes pair `pair` of eight codes from, for both words of 64 bits.
fn sources(pair: usize) -> u64 {
    let word = |at: usize| ((at + 8 * pair + 4) | (at + 8 * pair) << 16) as u64;
    word(0) | word(32) << 32
}

/// Rows `rows` of W times one token, or false if their scales or x do not suit.
#[inline(always)]
pub(in crate::cpu) fn multiply_rows(
    s: Avx512,
    step: Pairs,
    job: &Job,
    rows: Range<usize>,
    scales: &mut Vec<f32>,
) -> bool {
    let (packed, first) = (job.weights.packed, rows.start);
    let [least, most] = decode_scales::<Avx512, V>(s, &job.weights, first, scales);
    let is_pairs = job.weights.reading(least, job.x.pairs_unit()) == Reading::Pairs;
    if !is_pairs || rows.len() < TASK_ROWS || most.to_bits() > (LIFT + 127) << 23 {
        return false;
    }
    let (cols, block_size) = (packed.cols(), packed.format().block_size());
    let codes = RowWords::new(packed.codes(), packed.row_code_bytes(), first);
    let table = s.bits(s.load(&table(&job.weights.codec.values)));
    let mut from = [s.splat_bits(0); 4];
    for (pair, from) in from.iter_mut().enumerate() {
        // SAFETY: `s` proves that the CPU has AVX-512.
        *from = unsafe { _mm512_set1_epi64(sources(pair) as i64) };
    }
    let x = &job.x.words(2).words;
    for start in (0..cols).step_by(CHAIN) {
        let mut sums = [s.splat(0.0); V];
        for column in (start..cols.min(start + CHAIN)).step_by(32) {
            let words = codes.load::<Avx512, V>(s, column / 2);
            let block = &scales[column / block_size * TASK_ROWS..][..TASK_ROWS];
            let mut lower = [s.splat_bits(0); V];
            for v in 0..V {
                let field = s.shift_right(s.bits(s.load(&block[v * Avx512::LANES..])), 23);
                let less = s.shift_left(s.sub_bits(s.splat_bits(LIFT + 127), field), 7);
                lower[v] = s.or(less, s.shift_left(less, 16));
            }
            for (word, x) in x[column / 2..][..16].as_chunks::<4>().0.iter().enumerate() {
                for pair in 0..4 {
                    let x = s.splat_bits(x[pair].to_bits());
                    for v in 0..V {
                        // SAFETY: `step` proves that the CPU has VBMI.
                        let w = unsafe {
                            let codes = _mm512_multishift_epi64_epi8(from[pair], words[v][word]);
                            let values = _mm512_permutexvar_epi16(codes, table);
                            _mm512_subs_epu16(values, lower[v])
                        };
                        sums[v] = step.add(s, sums[v], w, x);
                    }
                }
            }
        }
        // SAFETY: the rows are of this task alone.
        let y = unsafe { job.y.part(0, rows.clone()) };
        for (v, mut sum) in sums.into_iter().enumerate() {
            let y = &mut y[v * Avx512::LANES..];
            if start > 0 {
                sum = s.add(s.load(y), sum);
            }
            s.store(sum, y);
        }
    }
    true
}
