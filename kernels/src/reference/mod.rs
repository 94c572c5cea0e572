//! The scalar definition of every operation: plain loops, no SIMD, no unsafe.
//!
//! Every other implementation must equal it: bit for bit where it rounds to a format, within a
//! derived bound where it sums.

#![forbid(unsafe_code)]

mod attention;
mod block;
pub mod exponential;
mod hadamard;
mod integer;
mod matmul;
mod rows;
pub(crate) mod sample;

pub use attention::{AttentionShape, attention};
pub use hadamard::hadamard;
pub use integer::integer_matmul;
pub use matmul::{Operand, matmul};
pub use rows::{
    GELU, LogProbs, add, geglu, gelu, gelu_row, head_norm, head_squares, layer_norm, log_probs,
    moments, multiply, norm, norm_once, norm_scale, rotate, soft_cap, sum_of_squares, swiglu, tanh,
};
pub use sample::{MOST_LOGITS, SampleError, Sampling, sample};

use block::round_block;
pub(crate) use block::{BlockContext, quantize_block};

use crate::format::{BlockFormat, FloatType, FormatError, PackedTensor};

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

/// The scale of a tensor as a whole: `RN(amax / largest)` over its finite elements, with
/// [`BlockFormat::largest`], at least 2^-126; 1 for a tensor of zeros or a format that has none.
pub fn tensor_scale(x: &[f32], format: &BlockFormat) -> f32 {
    let finite = x.iter().filter(|x| x.is_finite());
    tensor_scale_of(finite.fold(0.0, |amax: f32, x| amax.max(x.abs())), format)
}

/// [`tensor_scale`] of a tensor whose largest finite magnitude is `amax`.
pub(crate) fn tensor_scale_of(amax: f32, format: &BlockFormat) -> f32 {
    if !format.has_tensor_scale() || amax == 0.0 {
        return 1.0;
    }
    (amax / format.largest()).max(f32::MIN_POSITIVE)
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
    let part = Part {
        rows,
        cols,
        first_row: 0,
        tensor_scale: tensor_scale(x, format),
        source,
    };
    quantize_part(x, part, format)
}

/// Rows of a tensor that is quantised in parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Rows of this part.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Where the part begins in the tensor: what a stochastic rounding draws depends on it.
    pub first_row: usize,
    /// That of the whole tensor, [`tensor_scale`]; 1 where the format has none.
    pub tensor_scale: f32,
    /// The tensor's own type.
    pub source: FloatType,
}

/// [`quantize`] for a part of a tensor.
///
/// # Errors
/// As [`quantize`].
pub fn quantize_part(
    x: &[f32],
    part: Part,
    format: &BlockFormat,
) -> Result<PackedTensor, FormatError> {
    check(x.len(), part.rows, part.cols, format, part.source)?;
    let mut packed = PackedTensor::zeroed(*format, part.rows, part.cols)?;
    let (packed_codes, scales, packed_tensor_scale) = packed.parts_mut();
    *packed_tensor_scale = part.tensor_scale;
    let mut scales = scales.chunks_mut(format.scale().storage_bytes());
    visit_blocks(
        x,
        part,
        format,
        packed_codes,
        |block, index, context, codes| {
            let scale = quantize_block(block, index, context, codes);
            if let Some(bytes) = scales.next() {
                crate::format::write_scale(scale, bytes);
            }
        },
    );
    Ok(packed)
}

/// Rounds the elements of a part of a tensor to the scales that its blocks have: the codes,
/// packed. `scales` lie as those of a [`PackedTensor`]. Under a scale that is NaN codes are zero.
///
/// # Errors
/// [`FormatError::Length`] also if there are more or fewer scales than blocks.
pub fn round_part(
    x: &[f32],
    scales: &[u8],
    part: Part,
    format: &BlockFormat,
) -> Result<Vec<u8>, FormatError> {
    check(x.len(), part.rows, part.cols, format, part.source)?;
    let zero = PackedTensor::zeroed(*format, part.rows, part.cols)?;
    let mut codes = zero.codes().to_vec();
    let zero = PackedTensor::new(
        *format,
        part.rows,
        part.cols,
        codes.clone(),
        scales.to_vec(),
        1.0,
    )?;
    let mut scales = zero.scales().chunks(format.scale().storage_bytes());
    visit_blocks(
        x,
        part,
        format,
        &mut codes,
        |block, index, context, codes| {
            if let Some(bytes) = scales.next() {
                let scale = crate::format::read_scale(bytes);
                round_block(block, scale, index, context, codes);
            }
        },
    );
    Ok(codes)
}

/// Rounds elements one by one to the scales that their blocks have: what [`round_part`] does.
#[derive(Clone, Copy, Debug)]
pub struct ElementRounding<'a> {
    /// The format of the tensor.
    pub format: &'a BlockFormat,
    /// That of the tensor; 1 where the format has none.
    pub tensor_scale: f32,
    /// The tensor's own type.
    pub source: FloatType,
}

impl ElementRounding<'_> {
    /// The code of `x`, the row-major element `index` of the tensor, under a scale's code.
    pub fn code(&self, x: f32, scale: u32, index: u64) -> u8 {
        let context = BlockContext {
            format: self.format,
            source: self.source,
            tensor_scale: self.tensor_scale,
        };
        let mut code = [0];
        round_block(&[x], scale, index, &context, &mut code);
        code[0]
    }

    /// The value of a code under a scale's code, as [`dequantize`] has it.
    pub fn value(&self, code: u8, scale: u32) -> f32 {
        let scale = self.format.scale().decode(scale);
        self.format.element().decode(code) * scale * self.tensor_scale
    }
}

/// Calls `visit` for each block with its elements, the position of the first one in the whole
/// tensor, and its codes, one a byte, to write; packs those.
fn visit_blocks(
    x: &[f32],
    part: Part,
    format: &BlockFormat,
    packed_codes: &mut [u8],
    mut visit: impl FnMut(&[f32], u64, &BlockContext, &mut [u8]),
) {
    let context = BlockContext {
        format,
        source: part.source,
        tensor_scale: part.tensor_scale,
    };
    let layout = format.element().layout();
    let row_bytes = layout.bytes(part.cols);
    let mut codes = vec![0; part.cols];
    for row in 0..part.rows {
        for first in (0..part.cols).step_by(format.block_size()) {
            let end = part.cols.min(first + format.block_size());
            let block = &x[row * part.cols + first..row * part.cols + end];
            let index = (part.first_row + row) as u64 * part.cols as u64 + first as u64;
            visit(block, index, &context, &mut codes[first..end]);
        }
        let packed = &mut packed_codes[row * row_bytes..][..row_bytes];
        layout.pack(&codes, packed);
    }
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
