//! A tensor of a GGUF file: floats, codes and scales, or blocks whose values are computed when they
//! are read.

use std::path::Path;
use std::sync::Arc;

use mxlab_kernels::format::{
    BlockFormat, GgmlFormat, ggml_mxfp4_codes, ggml_nvfp4_codes, ggml_nvfp4_scale,
};
use safetensors::Dtype;

use super::types::{Blocks, Content, GgmlType, names};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::decoded::DecodedRows;
use crate::checkpoint::packed::{CodedRows, Packed, Place, bytes, mxfp4};
use crate::checkpoint::tensor::TensorView;
use crate::checkpoint::weights::Weights;

/// A factor of all elements of a matrix, in a tensor of its own beside `NAME.weight`.
const SCALE: &str = "scale";

/// The tensor `name`, with `shape`.
///
/// # Errors
/// `MissingTensor`, `Shape`; `Gguf` for a type that is not read, or a bad scale of the tensor.
pub(in crate::checkpoint) fn view(
    weights: &Weights,
    name: &str,
    shape: &[usize],
) -> Result<TensorView, CheckpointError> {
    let (file, index) = weights.required(name, shape)?;
    let of = file.ggml_type(index).expect("a GGUF file");
    let refused = |reason| CheckpointError::Gguf {
        file: file.path().to_owned(),
        reason,
    };
    if let Content::Unread = of.content {
        let reason = format!(
            "tensor `{name}` has ggml type {}; expected one of {}: quantise the model to one of \
             them",
            of.name,
            names()
        );
        return Err(refused(reason));
    }
    let found = of.sizes(&file.tensors()[index].1.shape);
    if found != shape {
        return Err(CheckpointError::Shape {
            file: file.path().to_owned(),
            tensor: name.to_owned(),
            expected: shape.to_owned(),
            found,
        });
    }
    let factor = factor(weights, name)?;
    let is_packed = matches!(of.content, Content::Packed(_));
    if let Some(factor) = factor.filter(|&factor| factor != 1.0 && !is_packed) {
        let reason = format!(
            "tensor `{name}` of type {} has the factor {factor} in a tensor of its own; expected \
             none, or MXFP4 or NVFP4",
            of.name
        );
        return Err(refused(reason));
    }
    let matrix: Result<[usize; 2], _> = shape.try_into();
    let row_bytes = shape.last().map_or(0, |cols| cols / of.block * of.bytes);
    match (&of.content, matrix) {
        (Content::Packed(blocks), Ok(matrix)) => {
            let rows = CodedBlocks {
                place: (file, index),
                of: *blocks,
                row_bytes,
            };
            let factor = factor.unwrap_or(1.0);
            let packed = Packed::made(blocks.format(), matrix[1], Box::new(rows), factor);
            Ok(TensorView::of_packed(name, matrix, packed))
        }
        (Content::Decoded(format), Ok(matrix)) => {
            let rows = BlockRows {
                place: (file, index),
                of,
                format: *format,
                row_bytes,
            };
            Ok(TensorView::of_decoded(name, matrix, Arc::new(rows)))
        }
        (Content::Float(_), _) => TensorView::new(file, index),
        (_, Err(_)) => Err(refused(format!(
            "tensor `{name}` with sizes {shape:?} has ggml type {}; expected F32, F16 or BF16",
            of.name
        ))),
        (Content::Unread, Ok(_)) => unreachable!("refused above"),
    }
}

/// The factor of all elements of the matrix `name`, if its file has one.
fn factor(weights: &Weights, name: &str) -> Result<Option<f32>, CheckpointError> {
    let Some(module) = name.strip_suffix("weight") else {
        return Ok(None);
    };
    let Some((file, index)) = weights.find(&format!("{module}{SCALE}")) else {
        return Ok(None);
    };
    let (scale, info, bytes) = &file.tensors()[index];
    let bytes: Result<[u8; 4], _> = file.bytes()[bytes.clone()].try_into();
    let factor = match (info.dtype, bytes) {
        (Dtype::F32, Ok(bytes)) => Some(f32::from_le_bytes(bytes)),
        _ => None,
    };
    let is_good = |factor: &f32| factor.is_finite() && *factor > 0.0;
    let factor = factor
        .filter(is_good)
        .ok_or_else(|| CheckpointError::Gguf {
            file: file.path().to_owned(),
            reason: format!(
                "tensor `{scale}`: expected one finite F32 above 0, a factor of `{name}`"
            ),
        })?;
    Ok(Some(factor))
}

/// A matrix in blocks of integers.
struct BlockRows {
    place: Place,
    of: &'static GgmlType,
    format: GgmlFormat,
    row_bytes: usize,
}

impl DecodedRows for BlockRows {
    fn layout(&self) -> &str {
        self.of.name
    }

    fn place(&self) -> Option<(&Path, &str)> {
        let (file, tensor) = &self.place;
        Some((file.path(), &file.tensors()[*tensor].0))
    }

    fn ggml(&self, row: usize) -> Option<(GgmlFormat, &[u8])> {
        let row = &bytes(&self.place)[row * self.row_bytes..][..self.row_bytes];
        Some((self.format, row))
    }

    fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        if let Some((format, row)) = self.ggml(row) {
            format.decode(row, out);
        }
    }
}

/// A matrix in blocks of codes and scales.
struct CodedBlocks {
    place: Place,
    of: Blocks,
    row_bytes: usize,
}

impl CodedRows for CodedBlocks {
    fn write(&self, row: usize, codes: &mut [u8], scales: &mut [u8]) {
        let row = &bytes(&self.place)[row * self.row_bytes..][..self.row_bytes];
        match self.of {
            // The scale, then byte i with element i in its low and element i + 16 in its high
            // nibble.
            Blocks::Mxfp4 => {
                let blocks = codes.chunks_exact_mut(16).zip(scales);
                for ((codes, own), [scale, pairs @ ..]) in blocks.zip(row.as_chunks::<17>().0) {
                    *own = *scale;
                    codes.copy_from_slice(&ggml_mxfp4_codes(*pairs));
                }
            }
            // Four scales, then for each block byte i with element i in its low and element i + 8
            // in its high nibble.
            Blocks::Nvfp4 => {
                let blocks = codes.chunks_exact_mut(32).zip(scales.chunks_exact_mut(4));
                let stored = row.as_chunks::<36>().0;
                for ((codes, scales), [a, b, c, d, pairs @ ..]) in blocks.zip(stored) {
                    scales.copy_from_slice(&[*a, *b, *c, *d].map(ggml_nvfp4_scale));
                    let pairs = pairs.as_chunks::<8>().0;
                    for (codes, pairs) in codes.chunks_exact_mut(8).zip(pairs) {
                        codes.copy_from_slice(&ggml_nvfp4_codes(*pairs));
                    }
                }
            }
        }
    }

    fn scales(&self) -> &Place {
        &self.place
    }

    /// ggml's table has no negative zero.
    fn zero_code(&self) -> Option<u8> {
        Some(8)
    }
}

impl Blocks {
    fn format(self) -> BlockFormat {
        match self {
            Self::Mxfp4 => mxfp4(),
            Self::Nvfp4 => BlockFormat::NVFP4,
        }
    }
}
