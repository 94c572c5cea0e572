//! The products of integers by the base instructions: rows are decoded one by one.

use super::IntegerJob;
use super::dot::Operand;
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
    let order = tables.arrangement.columns();
    let (mut codes, mut words) = (
        vec![0; cols.next_multiple_of(GROUP)],
        vec![0; cols.div_ceil(GROUP) * GROUP_WORDS],
    );
    let block_words = job.block_size / Operand::Words.columns();
    for (i, row) in rows.enumerate() {
        layout.unpack(packed.row_codes(i), &mut codes[..cols]);
        for (words, codes) in words
            .chunks_exact_mut(GROUP_WORDS)
            .zip(codes.as_chunks::<GROUP>().0)
        {
            let values = codes.map(|code| tables.integers[usize::from(code)]);
            Operand::Words.pack(words, &values, &order);
        }
        let scales = packed.row_scales(i).chunks_exact(scale.storage_bytes());
        let factors = scales.map(|bytes| scale.decode(read_scale(bytes)) * tables.element.unit());
        let factors: Vec<f32> = factors.collect();
        for token in 0..job.tokens {
            let x_words = &x.words[token * x.stride..];
            let x_factors = &x.factors[token * x.blocks..];
            let blocks = words.chunks(block_words).zip(x_words.chunks(block_words));
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
fn dot(w: &[u32], x: &[u32]) -> i32 {
    let low = |word: u32| i32::from(word as i16);
    let high = |word: u32| word as i32 >> 16;
    let products = w.iter().zip(x);
    let products = products.map(|(&w, &x)| low(w) * low(x) + high(w) * high(x));
    products.sum()
}
