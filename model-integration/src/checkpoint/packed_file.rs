//! A safetensors file of packed tensors.
//!
//! A quantised tensor `t` of shape `[.., cols]` becomes
//! - `t.codes`, U8 `[rows, bytes of a row]`: the packed codes of each row;
//! - `t.scales`, U8 `[rows, ceil(cols / k), bytes of a scale]`, little-endian;
//! - `t.tensor_scale`, F32 `[1]`, if the format has one.
//!
//! The metadata hold the block format as JSON (`mxlab.format`), with the field `rotation` if rows
//! are rotated; the format of a tensor in another one (`mxlab.format.t`), the format of the inputs
//! that it multiplies (`mxlab.input` and `mxlab.input.t`), and the shape of each quantised tensor
//! (`mxlab.shape.t`). All other tensors are unchanged.

use std::path::Path;

use anyhow::{Context, Result};
use mxlab_harness::record::build_version;
use mxlab_kernels::format::FloatType;
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use crate::checkpoint::encoding::{FORMAT_KEY, StoredFormat};
use crate::checkpoint::write::TensorWriter;
use crate::checkpoint::{CheckpointError, StoredTensor};

/// A tensor of the new file.
pub struct Part {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Name, shape and format of the quantised tensor that it is a part of, if any.
    original: Option<(String, Vec<usize>, StoredFormat)>,
}

impl Part {
    /// An unchanged tensor.
    pub fn copied(tensor: &StoredTensor) -> Self {
        Self {
            name: tensor.name().to_owned(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            original: None,
        }
    }

    /// A tensor that stands for itself.
    pub fn new(name: String, dtype: Dtype, shape: Vec<usize>) -> Self {
        Self {
            name,
            dtype,
            shape,
            original: None,
        }
    }

    /// The parts of the packed tensor `name` with this shape, a matrix `[rows, cols]`.
    pub fn packed(
        name: &str,
        shape: &[usize],
        [rows, cols]: [usize; 2],
        stored: impl Into<StoredFormat>,
    ) -> Vec<Self> {
        let stored = stored.into();
        let format = stored.format;
        let (blocks, width) = (format.blocks_per_row(cols), format.scale().storage_bytes());
        let original = (name.to_owned(), shape.to_vec(), stored);
        let part = |suffix: &str, dtype, shape: Vec<usize>| Self {
            name: format!("{name}.{suffix}"),
            dtype,
            shape,
            original: Some(original.clone()),
        };
        let mut parts = vec![
            part("codes", Dtype::U8, vec![rows, format.row_code_bytes(cols)]),
            part("scales", Dtype::U8, vec![rows, blocks, width]),
        ];
        if format.has_tensor_scale() {
            parts.push(part("tensor_scale", Dtype::F32, vec![1]));
        }
        parts
    }
}

/// Metadata for reading the packed ones among `parts`.
///
/// # Errors
/// None: a format is plain data.
pub fn format_metadata(parts: &[Part]) -> Result<Map<String, Value>> {
    let text = |format| serde_json::to_string(format).context("a format is plain data");
    let mut metadata = Map::new();
    metadata.insert("mxlab.version".into(), build_version().into());
    let originals = || parts.iter().filter_map(|part| part.original.as_ref());
    let Some((_, _, first)) = originals().next() else {
        return Ok(metadata);
    };
    metadata.insert(FORMAT_KEY.into(), text(first)?.into());
    for (name, shape, format) in originals() {
        let shape = json!(shape).to_string();
        metadata.insert(format!("mxlab.shape.{name}"), shape.into());
        if format != first {
            metadata.insert(format!("{FORMAT_KEY}.{name}"), text(format)?.into());
        }
    }
    Ok(metadata)
}

/// Starts a file with these parts and string metadata.
///
/// # Errors
/// If two parts have the same name, or the file cannot be written.
pub fn create(
    path: &Path,
    parts: &[Part],
    metadata: Map<String, Value>,
) -> Result<TensorWriter, CheckpointError> {
    let parts = parts.iter();
    let tensors = parts.map(|part| (part.name.clone(), part.dtype, part.shape.clone()));
    TensorWriter::create(path, tensors, metadata)
}

/// The stored type of floats.
pub fn dtype_of(dtype: FloatType) -> Dtype {
    match dtype {
        FloatType::F32 => Dtype::F32,
        FloatType::Bf16 => Dtype::BF16,
        FloatType::F16 => Dtype::F16,
    }
}
