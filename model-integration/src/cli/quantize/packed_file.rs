//! A safetensors file of packed tensors.
//!
//! A quantised tensor `t` of shape `[.., cols]` becomes
//! - `t.codes`, U8 `[rows, bytes of a row]`: the packed codes of each row;
//! - `t.scales`, U8 `[rows, ceil(cols / k), bytes of a scale]`, little-endian;
//! - `t.tensor_scale`, F32 `[1]`, if the format has one.
//!
//! The metadata hold the block format as JSON (`mxlab.format`), the format of a tensor in another
//! one (`mxlab.format.t`), and the shape of each quantised tensor (`mxlab.shape.t`). All other
//! tensors are unchanged.

use std::collections::HashMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use mxlab_harness::record::{AtomicFile, build_version};
use mxlab_kernels::format::{BlockFormat, FloatType};
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use crate::checkpoint::StoredTensor;
use crate::checkpoint::encoding::FORMAT_KEY;

/// A tensor of the new file.
pub struct Part {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: usize,
    /// Name, shape and format of the quantised tensor that it is a part of, if any.
    original: Option<(String, Vec<usize>, BlockFormat)>,
}

impl Part {
    /// An unchanged tensor.
    pub fn copied(tensor: &StoredTensor) -> Self {
        Self {
            name: tensor.name().to_owned(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            bytes: tensor.bytes().len(),
            original: None,
        }
    }

    /// A tensor of floats with `element_bytes` bytes each.
    pub fn floats(name: &str, dtype: Dtype, shape: &[usize], element_bytes: usize) -> Self {
        Self {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
            bytes: shape.iter().product::<usize>() * element_bytes,
            original: None,
        }
    }

    /// Codes and scales of a matrix as two matrices of bytes, without metadata.
    pub fn flat(names: [String; 2], [rows, cols]: [usize; 2], format: &BlockFormat) -> Vec<Self> {
        let (codes, _) = format.packed_bytes(rows, cols);
        let scales = rows * format.blocks_per_row(cols) * format.scale().storage_bytes();
        let parts = names.into_iter().zip([codes, scales]);
        let part = |(name, bytes)| Self {
            name,
            dtype: Dtype::U8,
            shape: vec![rows, bytes / rows],
            bytes,
            original: None,
        };
        parts.map(part).collect()
    }

    /// The parts of the packed tensor `name` with this shape, a matrix `[rows, cols]`.
    pub fn packed(
        name: &str,
        shape: &[usize],
        [rows, cols]: [usize; 2],
        format: &BlockFormat,
    ) -> Vec<Self> {
        let (codes, _) = format.packed_bytes(rows, cols);
        let (blocks, width) = (format.blocks_per_row(cols), format.scale().storage_bytes());
        let original = (name.to_owned(), shape.to_vec(), *format);
        let part = |suffix: &str, dtype, shape: Vec<usize>, bytes| Self {
            name: format!("{name}.{suffix}"),
            dtype,
            shape,
            bytes,
            original: Some(original.clone()),
        };
        let scale_bytes = rows * blocks * width;
        let mut parts = vec![
            part("codes", Dtype::U8, vec![rows, codes / rows], codes),
            part("scales", Dtype::U8, vec![rows, blocks, width], scale_bytes),
        ];
        if format.has_tensor_scale() {
            parts.push(part("tensor_scale", Dtype::F32, vec![1], 4));
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

/// A file that is written part by part, in any order, and appears when it is complete.
pub struct PackedFile {
    file: AtomicFile,
    /// Offset and length in bytes of each part that is not yet written.
    places: HashMap<String, (u64, usize)>,
}

impl PackedFile {
    /// Starts a file with these parts and string metadata.
    ///
    /// # Errors
    /// If two parts have the same name, or the file cannot be written.
    pub fn create(path: &Path, parts: &[Part], metadata: Map<String, Value>) -> Result<Self> {
        let mut order: Vec<&Part> = parts.iter().collect();
        // In the order of safetensors: wide types first, so that every tensor is aligned.
        order.sort_by(|a, b| (b.dtype, &a.name).cmp(&(a.dtype, &b.name)));

        let mut header = Map::new();
        header.insert("__metadata__".into(), Value::Object(metadata));
        let mut end = 0;
        for part in &order {
            let start = end;
            end += part.bytes;
            let entry = json!({
                "dtype": part.dtype,
                "shape": part.shape,
                "data_offsets": [start, end],
            });
            let earlier = header.insert(part.name.clone(), entry);
            ensure!(
                earlier.is_none(),
                "`{}`: two tensors would be named `{}`",
                path.display(),
                part.name
            );
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');

        let mut file = AtomicFile::create(path)?;
        file.write(|file| {
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)
        })?;
        let mut offset = 8 + header.len() as u64;
        let mut places = HashMap::new();
        for part in order {
            places.insert(part.name.clone(), (offset, part.bytes));
            offset += part.bytes as u64;
        }
        Ok(Self { file, places })
    }

    /// Writes a part.
    ///
    /// # Errors
    /// If the file has no such part, its size differs, or it cannot be written.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let place = self.places.remove(name);
        let (offset, length) = place.with_context(|| format!("there is no part `{name}`"))?;
        ensure!(
            length == bytes.len(),
            "`{name}` has {} bytes, not {length}",
            bytes.len()
        );
        Ok(self.file.write(|file| {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(bytes)
        })?)
    }

    /// Completes the file.
    ///
    /// # Errors
    /// If a part is missing, or the file cannot be written.
    pub fn commit(self) -> Result<()> {
        if let Some(name) = self.places.keys().next() {
            anyhow::bail!("part `{name}` was not written");
        }
        Ok(self.file.commit()?)
    }
}

/// The stored type of floats.
pub fn dtype_of(dtype: FloatType) -> Dtype {
    match dtype {
        FloatType::F32 => Dtype::F32,
        FloatType::Bf16 => Dtype::BF16,
        FloatType::F16 => Dtype::F16,
    }
}
