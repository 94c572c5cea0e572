//! The scalar definition of every operation: plain loops, no SIMD, no unsafe.
//!
//! This is the law: every other implementation must equal it, bit for bit where it rounds to
//! a format and within a derived bound where it sums.

#![forbid(unsafe_code)]

mod attention;
mod block;
mod matmul;

pub use attention::{AttentionShape, attention};
pub use matmul::{Operand, matmul};

use block::round_block;
pub(crate) use block::{BlockContext, quantize_block};

use crate::format::{
    BlockFormat, FloatType, FormatError, PackedTensor, pack_row, packed_row_bytes,
};

/// Checks that `x` is [rows, cols] and the format's dialect works on its type.
pub(crate) fn check(
    len: usize,
    rows: usize,
    cols: usize,
    format: &BlockFormat,
    source: FloatType,
) -> Result<(), FormatError> {
    format.dialect().check_source(source)?;
    let expected = rows.checked_mul(cols);
    let expected = expected.ok_or(FormatError::TooLarge { rows, cols })?;
    if len == expected {
        Ok(())
    } else {
        Err(FormatError::Length {
            what: "elements",
            got: len,
            expected,
        })
    }
}

/// The scale of a tensor as a whole: `RN(amax / RN(largest X * largest element))` over its
/// finite elements, at least 2^-126; 1 for a tensor of zeros or a format that has none.
pub fn tensor_scale(x: &[f32], format: &BlockFormat) -> f32 {
    let finite = x.iter().filter(|x| x.is_finite());
    tensor_scale_of(finite.fold(0.0, |amax: f32, x| amax.max(x.abs())), format)
}

/// [`tensor_scale`] of a tensor whose largest finite magnitude is `amax`.
pub(crate) fn tensor_scale_of(amax: f32, format: &BlockFormat) -> f32 {
    if !format.has_tensor_scale() || amax == 0.0 {
        return 1.0;
    }
    let largest = format.scale().max() * format.element().max_normal();
    (amax / largest).max(f32::MIN_POSITIVE)
}

/// Quantises a row-major [rows, cols] matrix, blocks of k along the rows.
///
/// `source` is the type the values came from (all are representable in it); only dialects
/// that compute in it look at it.
///
/// # Errors
/// [`FormatError::Length`] if `x` is not rows * cols long, [`FormatError::DialectSource`] if the
/// dialect is not defined for `source`.
pub fn quantize(
    x: &[f32],
    rows: usize,
    cols: usize,
    format: &BlockFormat,
    source: FloatType,
) -> Result<PackedTensor, FormatError> {
    check(x.len(), rows, cols, format, source)?;
    let mut packed = PackedTensor::zeroed(*format, rows, cols)?;
    let context = BlockContext {
        format,
        source,
        tensor_scale: tensor_scale(x, format),
    };
    let bits = format.element().bits();
    let scale_bytes = format.scale().storage_bytes();
    let (packed_codes, scales, packed_tensor_scale) = packed.parts_mut();
    *packed_tensor_scale = context.tensor_scale;

    let mut codes = vec![0; cols];
    let mut scales = scales.chunks_mut(scale_bytes);
    for row in 0..rows {
        for first in (0..cols).step_by(format.block_size()) {
            let end = cols.min(first + format.block_size());
            let index = row * cols + first;
            let block = &x[index..row * cols + end];
            let scale = quantize_block(block, index as u64, &context, &mut codes[first..end]);
            if let Some(bytes) = scales.next() {
                crate::format::write_scale(scale, bytes);
            }
        }
        let row_bytes = packed_row_bytes(bits, cols);
        pack_row(
            bits,
            &codes,
            &mut packed_codes[row * row_bytes..][..row_bytes],
        );
    }
    Ok(packed)
}

/// Codes of `x` under scales that are given: those of `scales`, its tensor scale included. Its own
/// codes are not read.
///
/// A NaN or infinite element under a finite scale is what [`crate::format::ElementFormat::encode`]
/// makes of it (zero, for a NaN that the dialect ignores); every code under a NaN is 0.
///
/// # Errors
/// As [`quantize`], for rows and cols of `scales`.
pub fn round(
    x: &[f32],
    scales: &PackedTensor,
    source: FloatType,
) -> Result<PackedTensor, FormatError> {
    let (rows, cols, format) = (scales.rows(), scales.cols(), scales.format());
    check(x.len(), rows, cols, format, source)?;
    let context = BlockContext {
        format,
        source,
        tensor_scale: scales.tensor_scale(),
    };
    let mut rounded = scales.clone();
    let row_bytes = rounded.row_code_bytes();
    let (packed_codes, _, _) = rounded.parts_mut();
    let mut codes = vec![0; cols];
    for row in 0..rows {
        for (block, first) in (0..cols).step_by(format.block_size()).enumerate() {
            let end = cols.min(first + format.block_size());
            let index = row * cols;
            let x = &x[index + first..index + end];
            let (scale, index) = (scales.scale_code(row, block), (index + first) as u64);
            round_block(x, scale, index, &context, &mut codes[first..end]);
        }
        let packed = &mut packed_codes[row * row_bytes..][..row_bytes];
        pack_row(format.element().bits(), &codes, packed);
    }
    Ok(rounded)
}

/// The values of a packed tensor, row-major: `RN(RN(value(code) * X) * tensor scale)`.
pub fn dequantize(packed: &PackedTensor) -> Vec<f32> {
    let mut values = Vec::with_capacity(packed.rows() * packed.cols());
    for row in 0..packed.rows() {
        for col in 0..packed.cols() {
            let block = col / packed.format().block_size();
            let scale = packed.scale().decode(packed.scale_code(row, block));
            let element = packed.element().decode(packed.code(row, col));
            values.push(element * scale * packed.tensor_scale());
        }
    }
    values
}

/// [`quantize`], then [`dequantize`].
///
/// # Errors
/// As [`quantize`].
pub fn fake_quantize(
    x: &[f32],
    rows: usize,
    cols: usize,
    format: &BlockFormat,
    source: FloatType,
) -> Result<Vec<f32>, FormatError> {
    Ok(dequantize(&quantize(x, rows, cols, format, source)?))
}
