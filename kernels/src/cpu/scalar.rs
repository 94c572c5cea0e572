//! Blocks and rows by the scalar definition, for formats and values that the vector bodies do not
//! handle.

use super::plan::Plan;
use crate::format::write_scale;
use crate::reference::quantize_block;

/// A block by the scalar definition.
#[inline(never)]
pub(super) fn quantize_special(plan: &Plan, x: &[f32], index: u64, packed: &mut [u8]) -> u32 {
    let mut codes = vec![0; x.len()];
    let scale = quantize_block(x, index, &plan.context(), &mut codes);
    plan.layout.pack(&codes, packed);
    scale
}

/// A block by the scalar definition, in place.
#[inline(never)]
pub(super) fn fake_special(plan: &Plan, x: &mut [f32], index: u64) {
    let mut codes = vec![0; x.len()];
    let scale = quantize_block(x, index, &plan.context(), &mut codes);
    let scale = plan.format.scale().decode(scale);
    for (x, code) in x.iter_mut().zip(codes) {
        *x = plan.format.element().decode(code) * scale * plan.tensor_scale;
    }
}

/// [`super::quantize::quantize_rows`] for any format, block by block through the scalar definition.
pub(super) fn quantize_rows_scalar(
    plan: &Plan,
    x: &[f32],
    cols: usize,
    first_row: usize,
    codes: &mut [u8],
    scales: &mut [u8],
) {
    let layout = plan.layout;
    let block_size = plan.format.block_size();
    let mut scales = scales.chunks_exact_mut(plan.format.scale().storage_bytes());
    let mut row_codes = vec![0; cols];
    let packed = codes.chunks_exact_mut(layout.bytes(cols));
    for (row, (x, packed)) in x.chunks_exact(cols).zip(packed).enumerate() {
        let mut index = (first_row + row) as u64 * cols as u64;
        for (x, codes) in x.chunks(block_size).zip(row_codes.chunks_mut(block_size)) {
            let scale = quantize_block(x, index, &plan.context(), codes);
            if let Some(bytes) = scales.next() {
                write_scale(scale, bytes);
            }
            index += x.len() as u64;
        }
        layout.pack(&row_codes, packed);
    }
}

/// [`super::quantize::fake_rows`] for any format, block by block through the scalar definition.
pub(super) fn fake_rows_scalar(plan: &Plan, x: &mut [f32], cols: usize, first_row: usize) {
    for (row, x) in x.chunks_exact_mut(cols).enumerate() {
        let mut index = (first_row + row) as u64 * cols as u64;
        for x in x.chunks_mut(plan.format.block_size()) {
            fake_special(plan, x, index);
            index += x.len() as u64;
        }
    }
}
