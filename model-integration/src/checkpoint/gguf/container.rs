//! One GGUF file: its metadata, and the places of its tensors.
//!
//! Layout (little-endian): `GGUF`, version, number of tensors, number of metadata entries; metadata
//! as key, type, value; tensors as name, sizes (fastest axis first), type, offset; padding; data.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::Value;

use super::reader::{ARRAY, Array, Reader};
use super::types::{Content, GgmlType, names};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::weight_file::{WeightFile, map};

/// What every file begins with.
pub(super) const MAGIC: &[u8; 4] = b"GGUF";
/// Bytes to whose multiples tensors are aligned, unless metadata says otherwise.
pub(super) const ALIGNMENT: u64 = 32;

/// A value of metadata.
#[derive(Debug)]
pub(super) enum Entry {
    Value(Value),
    /// The place of its elements.
    Array(Array),
}

/// Metadata by key.
pub(super) type Metadata = BTreeMap<String, Entry>;

/// Opens the file at `path`.
///
/// # Errors
/// `Gguf` with what is wrong and where; `MissingFile`, `Io` and the like.
pub(super) fn open(path: &Path) -> Result<(WeightFile, Metadata), CheckpointError> {
    let map = map(path)?.ok_or_else(|| CheckpointError::MissingFile {
        file: path.to_owned(),
        purpose: "it is the GGUF file to read",
    })?;
    let refused = |reason| CheckpointError::Gguf {
        file: path.to_owned(),
        reason,
    };
    let (metadata, tensors) = parse(&map).map_err(refused)?;
    let types = tensors.iter().map(|tensor| tensor.of).collect();
    let tensors = tensors.into_iter().map(Tensor::placed).collect();
    let file = WeightFile::mapped(path.to_owned(), map, tensors, types);
    Ok((file, metadata))
}

/// A tensor of the file.
struct Tensor {
    name: String,
    of: &'static GgmlType,
    /// Sizes in elements, slowest axis first.
    shape: Vec<usize>,
    /// Its bytes in the file; from the start of the data until the header is read.
    bytes: Range<usize>,
}

impl Tensor {
    /// The tensor in the words of safetensors: blocks become U8 `[.., blocks, bytes]`.
    fn placed(self) -> (String, TensorInfo, Range<usize>) {
        let mut shape = self.shape;
        let dtype = match self.of.content {
            Content::Float(dtype) => dtype,
            Content::Packed(_) | Content::Decoded(_) | Content::Unread => {
                let cols = shape.pop().unwrap_or(1);
                shape.extend([cols / self.of.block, self.of.bytes]);
                Dtype::U8
            }
        };
        let data_offsets = (self.bytes.start, self.bytes.end);
        let info = TensorInfo {
            dtype,
            shape,
            data_offsets,
        };
        (self.name, info, self.bytes)
    }
}

fn parse(bytes: &[u8]) -> Result<(Metadata, Vec<Tensor>), String> {
    let mut reader = Reader::new(bytes, 0);
    if reader.take(MAGIC.len(), "magic")? != MAGIC {
        return Err("not a GGUF file: it does not begin with `GGUF`".to_owned());
    }
    match reader.u32("version")? {
        2 | 3 => {}
        swapped if swapped.swap_bytes() <= 3 => {
            return Err("the file is big-endian; expected little-endian, as files for x86".into());
        }
        version => {
            return Err(format!(
                "GGUF version {version}; expected 2 or 3: convert the model again"
            ));
        }
    }
    let tensor_count = reader.u64("number of tensors")?;
    let metadata_count = reader.u64("number of metadata")?;
    let mut metadata = Metadata::new();
    for _ in 0..metadata_count {
        let key = reader.text("a key of metadata")?;
        let entry = match reader.u32(key)? {
            ARRAY => Entry::Array(reader.array(key)?),
            kind => Entry::Value(reader.scalar(kind, key)?),
        };
        if metadata.insert(key.to_owned(), entry).is_some() {
            return Err(format!("metadata `{key}` occur twice"));
        }
    }
    let alignment = match metadata.get("general.alignment") {
        None => ALIGNMENT,
        Some(Entry::Value(value)) => (value.as_u64())
            .filter(|&alignment| alignment.is_power_of_two() && alignment <= 1 << 20)
            .ok_or_else(|| format!("`general.alignment` is {value}; expected a power of two"))?,
        Some(Entry::Array(_)) => {
            return Err("`general.alignment` is an array; expected a power of two".to_owned());
        }
    } as usize;
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        tensors.push(tensor(&mut reader, alignment)?);
    }
    let start = reader.at().next_multiple_of(alignment);
    for Tensor {
        name, bytes: own, ..
    } in &mut tensors
    {
        let end = start.checked_add(own.end).filter(|&end| end <= bytes.len());
        let Some(end) = end else {
            return Err(format!(
                "tensor `{name}`: {} bytes at offset {} end behind the file; truncated?",
                own.len(),
                own.start
            ));
        };
        *own = start + own.start..end;
    }
    check_overlaps(&tensors)?;
    Ok((metadata, tensors))
}

/// Checks that no two tensors share bytes.
fn check_overlaps(tensors: &[Tensor]) -> Result<(), String> {
    let mut in_order: Vec<&Tensor> = tensors.iter().collect();
    in_order.sort_by_key(|tensor| (tensor.bytes.start, tensor.bytes.end));
    for pair in in_order.windows(2) {
        if pair[1].bytes.start < pair[0].bytes.end {
            return Err(format!(
                "tensor `{}` overlaps tensor `{}`: byte {} of the file belongs to both",
                pair[1].name, pair[0].name, pair[1].bytes.start
            ));
        }
    }
    Ok(())
}

/// A tensor's name, sizes, type and offset.
fn tensor(reader: &mut Reader, alignment: usize) -> Result<Tensor, String> {
    let name = reader.text("the name of a tensor")?.to_owned();
    let axes = reader.u32(&name)?;
    if !(1..=4).contains(&axes) {
        return Err(format!("tensor `{name}` has {axes} axes; expected 1 to 4"));
    }
    let mut shape = Vec::new();
    for _ in 0..axes {
        let size = usize::try_from(reader.u64(&name)?).ok();
        shape.push(size.ok_or_else(|| format!("tensor `{name}` is too large"))?);
    }
    shape.reverse();
    let id = reader.u32(&name)?;
    let Some(of) = GgmlType::of(id) else {
        return Err(format!(
            "tensor `{name}` has the unknown ggml type {id}; expected one of {}",
            names()
        ));
    };
    let offset = reader.u64(&name)?;
    let cols = shape[shape.len() - 1];
    if !cols.is_multiple_of(of.block) {
        return Err(format!(
            "tensor `{name}` has rows of {cols} elements; expected a multiple of {}, the block of \
             {}",
            of.block, of.name
        ));
    }
    if !offset.is_multiple_of(alignment as u64) {
        return Err(format!(
            "tensor `{name}` is at offset {offset}; expected a multiple of {alignment}"
        ));
    }
    let elements = shape
        .iter()
        .try_fold(1usize, |all, &size| all.checked_mul(size));
    let bytes = elements.and_then(|elements| (elements / of.block).checked_mul(of.bytes));
    let place = bytes.and_then(|bytes| {
        let offset = usize::try_from(offset).ok()?;
        Some(offset..offset.checked_add(bytes)?)
    });
    Ok(Tensor {
        bytes: place.ok_or_else(|| format!("tensor `{name}` is too large"))?,
        name,
        of,
        shape,
    })
}
