//! The products of integers by the base instructions: rows are decoded one by one.

use super::IntegerJob;
use super::arrange::pack_group;
use super::operand::Operand;
use super::rows::GROUP;
use crate::format::read_scale;
use std::ops::Range;

/// Words of a group.
const GROUP_WORDS: usize = GROUP / Operand::Words.columns();

/// Rows `rows` of W times all tokens; operands are [`Operand::Words`].
pub(in crate::cpu) fn multiply_integers_portable(job: &IntegerJob, rows: Range<usize>) {
    let (x, tables) = (job.x, &job.tables);
    let packed = job.panels.packed_rows(rows.clone());
    let packed = packed.expect("rows of a tensor that is there");
    let (scale, layout) = (packed.scale(), packed.element().layout());
    let cols = packed.cols();
    let (mut codes, mut words) = (
        vec![0; cols.next_multiple_of(GROUP)],
        vec![0.0; cols.div_ceil(GROUP) * GROUP_WORDS],
    );
    for (i, row) in rows.enumerate() {
        layout.unpack(packed.row_codes(i), &mut codes[..cols]);
        let groups = codes.as_chunks::<GROUP>().0.iter();
        for (words, codes) in words.chunks_exact_mut(GROUP_WORDS).zip(groups) {
            let values = codes.map(|code| tables.integers[usize::from(code)]);
            pack_group(tables.arrangement, &values, words);
        }
        let scales = packed.row_scales(i).chunks_exact(scale.storage_bytes());
        let factors = scales.map(|bytes| scale.decode(read_scale(bytes)) * tables.element.unit());
        let factors: Vec<f32> = factors.collect();
        for token in 0..job.tokens {
            let x_words = &x.words[token * x.token_words..][..x.token_words];
            let x_factors = &x.factors[token * x.blocks..];
            let blocks = words
                .chunks(x.block_words)
                .zip(x_words.chunks(x.block_words));
            let mut sum = 0.0f32;
            for ((w, x), (w_factor, x_factor)) in blocks.zip(factors.iter().zip(x_factors)) {
                sum = (dot(w, x) as f32).mul_add(w_factor * x_factor, sum);
            }
            // SAFETY: the rows are of this task alone.
            let y = unsafe { job.y.part(token, row..row + 1) };
            y[0] = sum * job.tensor_scales[token];
        }
    }
}

/// The sum of the products of i16, two a word.
fn dot(w: &[f32], x: &[f32]) -> i32 {
    let low = |word: u32| i32::from(word as i16);
    let high = |word: u32| word as i32 >> 16;
    let words = w.iter().zip(x).map(|(w, x)| (w.to_bits(), x.to_bits()));
    words
        .map(|(w, x)| low(w) * low(x) + high(w) * high(x))
        .sum()
}
