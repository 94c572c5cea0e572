//! Writes safetensors files: tensor by tensor, atomically, so that a reader sees the old file or
//! the new one.

use std::collections::{HashMap, HashSet};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::bf16;
use mxlab_harness::record::{AtomicFile, FileError};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Map, Value};

use super::CheckpointError;
use super::file::io_error;

/// Multiple of bytes that a header has.
const HEADER_ALIGNMENT: usize = 8;

/// A tensor to write: f32 values, row-major.
#[derive(Clone, Copy, Debug)]
pub struct NamedTensor<'a> {
    /// Name in the checkpoint.
    pub name: &'a str,
    /// Sizes, slowest axis first.
    pub shape: &'a [usize],
    /// The values; their number must fit `shape`.
    pub values: &'a [f32],
}

/// Writes `tensors` to the safetensors file `path`, rounded to bf16 (half to even). The
/// same tensors always give the same bytes.
///
/// # Errors
/// `Unwritable` for a tensor whose shape does not fit its values, that is not finite after
/// rounding, or whose name occurs twice; `Io`. `path` is untouched then.
pub fn save_bf16(path: &Path, tensors: &[NamedTensor]) -> Result<(), CheckpointError> {
    let layouts = tensors.iter().map(|tensor| {
        let (name, shape) = (tensor.name.to_owned(), tensor.shape.to_vec());
        (name, Dtype::BF16, shape)
    });
    let mut file = TensorWriter::create(path, layouts, Map::new())?;
    for NamedTensor { name, values, .. } in tensors {
        if let Some(index) = values.iter().position(|&x| !bf16::from_f32(x).is_finite()) {
            let reason = format!(
                "{} at flat index {index} is not finite in bf16",
                values[index]
            );
            return Err(file.refused(name, reason));
        }
        let rounded = values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes());
        file.write(name, &rounded.collect::<Vec<u8>>())?;
    }
    file.commit()
}

/// A safetensors file that is written tensor by tensor, in any order, and appears when it is
/// complete.
pub struct TensorWriter {
    path: PathBuf,
    file: AtomicFile,
    /// Offset and length in bytes of each tensor that is not yet written.
    places: HashMap<String, (u64, usize)>,
}

impl TensorWriter {
    /// Starts a file with these tensors (name, type, sizes) and these texts as metadata.
    ///
    /// # Errors
    /// `Unwritable` if two tensors have the same name, or sizes overflow; `Io`.
    pub fn create(
        path: &Path,
        tensors: impl IntoIterator<Item = (String, Dtype, Vec<usize>)>,
        metadata: Map<String, Value>,
    ) -> Result<Self, CheckpointError> {
        let refused = |tensor: &str, reason: &str| CheckpointError::Unwritable {
            file: path.to_owned(),
            tensor: tensor.to_owned(),
            reason: reason.to_owned(),
        };
        let mut order: Vec<_> = tensors.into_iter().collect();
        // In the order of safetensors: wide types first, so that every tensor is aligned.
        order.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));

        let mut names = HashSet::new();
        if let Some((twice, ..)) = order.iter().find(|(name, ..)| !names.insert(name)) {
            return Err(refused(twice, "its name occurs twice"));
        }
        let (mut infos, mut places, mut end) = (Vec::new(), Vec::new(), 0_usize);
        for (name, dtype, shape) in order {
            let bits = shape
                .iter()
                .try_fold(dtype.bitsize(), |bits, &size| bits.checked_mul(size));
            let start = end;
            end = bits
                .and_then(|bits| end.checked_add(bits / 8))
                .ok_or_else(|| refused(&name, "its sizes overflow"))?;
            places.push((name.clone(), start..end));
            let info = TensorInfo {
                dtype,
                shape,
                data_offsets: (start, end),
            };
            infos.push((name, info));
        }
        let header = |reason: String| refused("(header)", &reason);
        let tensors = Metadata::new(None, infos).map_err(|error| header(error.to_string()))?;
        let tensors = serde_json::to_value(tensors).map_err(|error| header(error.to_string()))?;
        // The crate writes metadata in the order of a hash map, which differs from run to run.
        let mut all = Map::new();
        if !metadata.is_empty() {
            all.insert("__metadata__".to_owned(), Value::Object(metadata));
        }
        if let Value::Object(tensors) = tensors {
            all.extend(tensors);
        }
        let mut header = Value::Object(all).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(HEADER_ALIGNMENT), b' ');

        let length = (header.len() as u64).to_le_bytes();
        Self::placed(path, &[&length, header.as_slice()].concat(), places, end)
    }

    /// Starts a file of any kind: its header, and behind it the places of its tensors in `bytes`
    /// bytes of data.
    ///
    /// # Errors
    /// `Unwritable` if two tensors have the same name; `Io`.
    pub(super) fn placed(
        path: &Path,
        header: &[u8],
        places: Vec<(String, Range<usize>)>,
        bytes: usize,
    ) -> Result<Self, CheckpointError> {
        let start = header.len() as u64;
        let mut file = AtomicFile::create(path).map_err(described)?;
        file.write(|file| {
            file.write_all(header)?;
            file.set_len(start + bytes as u64)
        })
        .map_err(described)?;
        let mut writer = Self {
            path: path.to_owned(),
            file,
            places: HashMap::new(),
        };
        for (name, Range { start: at, end }) in places {
            let place = (start + at as u64, end - at);
            if writer.places.insert(name.clone(), place).is_some() {
                return Err(writer.refused(&name, "its name occurs twice".to_owned()));
            }
        }
        Ok(writer)
    }

    /// Writes a tensor.
    ///
    /// # Errors
    /// `Unwritable` if the file has no such tensor left to write, or another number of bytes; `Io`.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        let Some((offset, length)) = self.places.remove(name) else {
            return Err(self.refused(name, "it was not announced, or is written twice".to_owned()));
        };
        if length != bytes.len() {
            let reason = format!("it has {} bytes; its shape needs {length}", bytes.len());
            return Err(self.refused(name, reason));
        }
        let written = self.file.write(|file| {
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(bytes)
        });
        written.map_err(described)
    }

    /// Completes the file.
    ///
    /// # Errors
    /// `Unwritable` if a tensor was not written; `Io`.
    pub fn commit(self) -> Result<(), CheckpointError> {
        if let Some(name) = self.places.keys().next() {
            return Err(self.refused(name, "it was announced, but not written".to_owned()));
        }
        self.file.commit().map_err(described)
    }

    fn refused(&self, tensor: &str, reason: String) -> CheckpointError {
        CheckpointError::Unwritable {
            file: self.path.clone(),
            tensor: tensor.to_owned(),
            reason,
        }
    }
}

fn described(error: FileError) -> CheckpointError {
    io_error(&error.path, error.reason)
}
