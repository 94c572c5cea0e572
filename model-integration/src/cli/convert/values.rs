//! The bytes of a tensor's rows: floats, codes, and the order of rows.

use anyhow::Result;
use mxlab_kernels::cpu;
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor};

use crate::checkpoint::TensorView;
use crate::model::ops::narrow;

/// Appends the values of a tensor in the type `written`: those of `codes`, if it is quantised on
/// the way. Values in a block format are `rounded` to this type first.
pub fn append_floats(
    bytes: &mut Vec<u8>,
    view: &TensorView,
    codes: Option<&PackedTensor>,
    rounded: Option<FloatType>,
    written: FloatType,
) -> Result<()> {
    if let (None, Some(stored)) = (rounded, view.bytes())
        && view.dtype() == Some(written)
    {
        bytes.extend_from_slice(stored);
        return Ok(());
    }
    let mut values = vec![0.0; view.len()];
    match codes {
        Some(codes) => cpu::dequantize(codes, &mut values)?,
        None => view.read_f32(0..view.len(), &mut values),
    }
    if let Some(dtype) = rounded {
        narrow(&mut values, dtype);
    }
    for value in values {
        let bits = written.to_bits(value).to_le_bytes();
        bytes.extend_from_slice(&bits[..written.bytes()]);
    }
    Ok(())
}

/// The codes and scales that a loaded model has: the stored ones if they have this format, else
/// those of the values in the type of the model's arithmetic.
pub fn packed(view: &TensorView, format: &BlockFormat, dtype: FloatType) -> Result<PackedTensor> {
    if let Some(stored) = view.packed(format) {
        return Ok(stored);
    }
    let mut values = vec![0.0; view.len()];
    view.read_f32(0..values.len(), &mut values);
    narrow(&mut values, dtype);
    let (rows, cols) = (view.shape()[0], view.shape()[1]);
    Ok(cpu::quantize(&values, rows, cols, format, dtype)?)
}

/// Rows of `row_bytes` bytes, with the two halves of every head of `head_dim` rows interleaved.
pub fn interleaved(bytes: &[u8], row_bytes: usize, head_dim: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for head in bytes.chunks_exact(head_dim * row_bytes) {
        let (first, second) = head.split_at(head.len() / 2);
        let pairs = first.chunks(row_bytes).zip(second.chunks(row_bytes));
        for (first, second) in pairs {
            out.extend_from_slice(first);
            out.extend_from_slice(second);
        }
    }
    out
}
