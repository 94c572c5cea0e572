//! The 4-bit codes of bitsandbytes: blocks of consecutive elements, whatever the rows; the scale of
//! a block perhaps in 8 bits by a second table.

use std::path::Path;
use std::sync::Arc;

use mxlab_kernels::format::{BlockFormat, CodeLayout, ElementFormat, ScaleFormat};
use safetensors::Dtype;
use serde_json::{Map, Value};

use super::super::CheckpointError;
use super::super::decoded::DecodedRows;
use super::super::fields::Fields;
use super::super::packed::{CodedRows, Packed, Place, bytes};
use super::super::weights::Weights;
use super::Found;
use super::by_rows::refused;
use super::code_table::{dtype_error, shape_error};

/// Checks the `quantization_config`.
///
/// # Errors
/// `Field` for 8-bit codes.
pub(super) fn check(config: Fields) -> Result<(), CheckpointError> {
    match config.flag("load_in_8bit", false)? {
        true => Err(config.error("load_in_8bit", "false (only 4-bit codes are supported)")),
        false => Ok(()),
    }
}

/// A matrix in 4-bit codes.
struct Matrix {
    rows: usize,
    cols: usize,
    /// Elements of a block.
    block: usize,
    /// Two codes a byte, the first in the high nibble.
    codes: Place,
    /// The values of the codes.
    values: [f32; 16],
    absmax: Absmax,
    quant_type: &'static str,
}

/// The scales of blocks.
enum Absmax {
    /// As f32.
    Floats(Place),
    /// As bytes: an entry of the table, times the scale of a block of scales, plus an offset.
    Nested {
        codes: Place,
        values: Vec<f32>,
        scales: Vec<f32>,
        block: usize,
        offset: f32,
    },
}

/// The matrix `name`; `None` if it is not stored in 4-bit codes.
///
/// # Errors
/// `MissingTensor`, `Shape`, `PackedDtype`, `PackedFormat`.
pub(super) fn find(
    weights: &Weights,
    name: &str,
    [rows, cols]: [usize; 2],
) -> Result<Option<Found>, CheckpointError> {
    let types = ["nf4", "fp4"];
    let state = types.iter().find_map(|quant_type| {
        let state = format!("{name}.quant_state.bitsandbytes__{quant_type}");
        weights.place(&state).map(|place| (*quant_type, place))
    });
    let Some((quant_type, state)) = state else {
        return Ok(None);
    };
    let wrong = |reason: String| refused(weights, name, reason);
    let state: Map<String, Value> = serde_json::from_slice(bytes(&state))
        .map_err(|error| wrong(format!("its quant_state is no JSON object: {error}")))?;
    let size = |field: &str| {
        let found = state.get(field).and_then(Value::as_u64);
        let found = found.and_then(|size| usize::try_from(size).ok());
        found
            .filter(|size| (1..=1 << 24).contains(size))
            .ok_or_else(|| {
                let found = state.get(field).unwrap_or(&Value::Null);
                wrong(format!(
                    "its quant_state has `{field}` {found}; expected a size"
                ))
            })
    };
    let shape = state.get("shape");
    if shape != Some(&Value::from(vec![rows, cols])) {
        let shape = shape.unwrap_or(&Value::Null);
        return Err(wrong(format!(
            "its quant_state has shape {shape}; expected [{rows}, {cols}]"
        )));
    }
    let codes = weights.required(name, &[(rows * cols).div_ceil(2), 1])?;
    // `bnb_4bit_quant_storage` may name another type for the same bytes.
    let stored = codes.0.tensors()[codes.1].1.dtype;
    let known = [Dtype::U8, Dtype::BF16, Dtype::F16, Dtype::F32];
    if !known.contains(&stored) {
        return Err(dtype_error(&codes, &known));
    }
    sized(&codes, stored, (rows * cols).div_ceil(2))?;
    let block = size("blocksize")?;
    let blocks = (rows * cols).div_ceil(block);
    let values = floats(weights, &format!("{name}.quant_map"), 16)?;
    let absmax = weights.required(&format!("{name}.absmax"), &[blocks])?;
    let is_nested = absmax.0.tensors()[absmax.1].1.dtype == Dtype::U8;
    let absmax = match is_nested {
        false => {
            sized(&absmax, Dtype::F32, blocks * 4)?;
            Absmax::Floats(absmax)
        }
        true => {
            sized(&absmax, Dtype::U8, blocks)?;
            let block = size("nested_blocksize")?;
            let offset = state.get("nested_offset").and_then(Value::as_f64);
            let offset =
                offset.ok_or_else(|| wrong("its quant_state has no `nested_offset`".to_owned()))?;
            let scales = format!("{name}.nested_absmax");
            Absmax::Nested {
                codes: absmax,
                values: floats(weights, &format!("{name}.nested_quant_map"), 256)?,
                scales: floats(weights, &scales, blocks.div_ceil(block))?,
                block,
                offset: offset as f32,
            }
        }
    };
    let matrix = Matrix {
        rows,
        cols,
        block,
        codes,
        values: values.try_into().unwrap_or([0.0; 16]),
        absmax,
        quant_type,
    };
    Ok(Some(match matrix.format() {
        Some(format) => Found::Packed(Packed::made(format, cols, Box::new(matrix), 1.0)),
        None => Found::Decoded(Arc::new(matrix)),
    }))
}

/// Checks type and bytes of a tensor.
fn sized(place: &Place, dtype: Dtype, expected: usize) -> Result<(), CheckpointError> {
    let info = &place.0.tensors()[place.1].1;
    if info.dtype != dtype {
        return Err(dtype_error(place, &[dtype]));
    }
    match bytes(place).len() == expected {
        true => Ok(()),
        false => Err(shape_error(place, vec![expected * 8 / dtype.bitsize()])),
    }
}

/// A tensor of `count` floats.
fn floats(weights: &Weights, name: &str, count: usize) -> Result<Vec<f32>, CheckpointError> {
    let place = weights.required(name, &[count])?;
    sized(&place, Dtype::F32, count * 4)?;
    let (words, _) = bytes(&place).as_chunks::<4>();
    Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
}

impl Matrix {
    /// Our format, if the values are NF4's and no block crosses a row.
    fn format(&self) -> Option<BlockFormat> {
        let nf4 = ElementFormat::NF4;
        let same = (0..16).all(|code| nf4.decode(code) == self.values[usize::from(code)]);
        let format = BlockFormat::new(nf4).scale(ScaleFormat::Fp32);
        let fits = same && self.cols.is_multiple_of(self.block);
        format.block_size(self.block).build().ok().filter(|_| fits)
    }

    fn code(&self, element: usize) -> u8 {
        let byte = bytes(&self.codes)[element / 2];
        if element.is_multiple_of(2) {
            byte >> 4
        } else {
            byte & 0xF
        }
    }

    fn scale(&self, block: usize) -> f32 {
        match &self.absmax {
            Absmax::Floats(place) => {
                let word = bytes(place)[block * 4..].first_chunk();
                word.map_or(f32::NAN, |word| f32::from_le_bytes(*word))
            }
            Absmax::Nested {
                codes,
                values,
                scales,
                block: of_scales,
                offset,
            } => {
                let code = bytes(codes)[block];
                values[usize::from(code)] * scales[block / of_scales] + offset
            }
        }
    }
}

impl DecodedRows for Matrix {
    fn layout(&self) -> &str {
        match self.quant_type {
            "fp4" => "bitsandbytes fp4",
            _ => "bitsandbytes nf4",
        }
    }

    fn place(&self) -> Option<(&Path, &str)> {
        let (file, tensor) = &self.codes;
        Some((file.path(), &file.tensors()[*tensor].0))
    }

    fn row_bytes(&self) -> usize {
        let scales = match &self.absmax {
            Absmax::Floats(place) => bytes(place).len(),
            Absmax::Nested { codes, scales, .. } => bytes(codes).len() + 4 * scales.len(),
        };
        (bytes(&self.codes).len() + scales).div_ceil(self.rows.max(1))
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        let first = row * self.cols;
        for (col, out) in out.iter_mut().enumerate() {
            let element = first + col;
            *out = self.values[usize::from(self.code(element))] * self.scale(element / self.block);
        }
    }
}

impl CodedRows for Matrix {
    fn write(&self, row: usize, codes: &mut [u8], scales: &mut [u8]) {
        let first = row * self.cols;
        let own: Vec<u8> = (first..first + self.cols)
            .map(|element| self.code(element))
            .collect();
        CodeLayout::Bits4.pack(&own, codes);
        for (block, out) in (first / self.block..).zip(scales.chunks_exact_mut(4)) {
            out.copy_from_slice(&self.scale(block).to_le_bytes());
        }
    }

    fn values(&self) -> Option<&dyn DecodedRows> {
        Some(self)
    }

    fn scales(&self) -> &Place {
        match &self.absmax {
            Absmax::Floats(place) | Absmax::Nested { codes: place, .. } => place,
        }
    }
}
