//! A GGUF file: its metadata and the places of its tensors.
//!
//! Layout (little-endian): `GGUF`, version, number of tensors, number of metadata entries; metadata
//! as key, type, value; tensors as name, sizes (fastest axis first), type, offset; padding; data.
//! candle-core's reader is not used because it refuses files with a tensor of type 39, MXFP4.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::Value;

use super::CheckpointError;
use super::packed::{GGML_BLOCK_BYTES, MX_BLOCK, Place};
use super::weight_file::{WeightFile, map};

/// Deepest nesting of arrays in metadata.
const MAX_DEPTH: usize = 4;

/// An opened file.
pub(super) struct Gguf {
    /// Its tensors: floats, and MXFP4 as U8 `[.., blocks, 17]`.
    pub file: WeightFile,
    /// Its metadata; arrays are left empty, because none is used.
    pub metadata: BTreeMap<String, Value>,
}

/// Whether a path has the extension of GGUF files.
pub(super) fn has_gguf_name(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "gguf")
}

/// Whether a tensor of a GGUF file holds codes.
pub(super) fn is_packed((file, tensor): &Place) -> bool {
    file.tensors()[*tensor].1.dtype == Dtype::U8
}

/// Opens the file at `path`.
///
/// # Errors
/// `Gguf` with what is wrong and where; `MissingFile`, `Io` and the like.
pub(super) fn open(path: &Path) -> Result<Gguf, CheckpointError> {
    let map = map(path)?.ok_or_else(|| CheckpointError::MissingFile {
        file: path.to_owned(),
        purpose: "it is the GGUF file to read",
    })?;
    let refused = |reason| CheckpointError::Gguf {
        file: path.to_owned(),
        reason,
    };
    let (metadata, tensors) = parse(&map).map_err(refused)?;
    Ok(Gguf {
        file: WeightFile::mapped(path.to_owned(), map, tensors),
        metadata,
    })
}

type Tensors = Vec<(String, TensorInfo, Range<usize>)>;

fn parse(bytes: &[u8]) -> Result<(BTreeMap<String, Value>, Tensors), String> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.take(4, "magic")? != b"GGUF" {
        return Err("not a GGUF file: it does not begin with `GGUF`".to_owned());
    }
    let version = reader.u32("version")?;
    if !(2..=3).contains(&version) {
        return Err(format!(
            "GGUF version {version}; expected 2 or 3, little-endian"
        ));
    }
    let tensor_count = reader.u64("number of tensors")?;
    let metadata_count = reader.u64("number of metadata")?;
    let mut metadata = BTreeMap::new();
    for _ in 0..metadata_count {
        let key = reader.text("a key of metadata")?;
        let kind = reader.u32(&key)?;
        let value = reader.value(kind, &key, 0)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("metadata `{key}` occur twice"));
        }
    }
    let mut found = Vec::new();
    for _ in 0..tensor_count {
        found.push(reader.tensor()?);
    }
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(value) => (value.as_u64())
            .filter(|&alignment| alignment.is_power_of_two() && alignment <= 1 << 20)
            .ok_or_else(|| format!("`general.alignment` is {value}; expected a power of two"))?,
    };
    let start = reader.at.next_multiple_of(alignment as usize);
    let mut tensors: Tensors = Vec::with_capacity(found.len());
    for (name, mut info, offset) in found {
        let begin = usize::try_from(offset).ok();
        let begin = begin.and_then(|offset| start.checked_add(offset));
        let length = info.data_offsets.1;
        let end = begin.and_then(|begin| begin.checked_add(length));
        let (Some(begin), Some(end)) = (begin, end.filter(|&end| end <= bytes.len())) else {
            return Err(format!(
                "tensor `{name}`: {length} bytes at offset {offset} end behind the file; truncated?"
            ));
        };
        info.data_offsets = (begin - start, end - start);
        tensors.push((name, info, begin..end));
    }
    Ok((metadata, tensors))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let Some((taken, _)) = rest.split_at_checked(count) else {
            return Err(format!("the file ends within {what}; truncated?"));
        };
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn text(&mut self, what: &str) -> Result<String, String> {
        let length = self.u64(what)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = self.take(length, what)?;
        let text = std::str::from_utf8(bytes).map_err(|error| format!("{what}: {error}"))?;
        Ok(text.to_owned())
    }

    fn value(&mut self, kind: u32, key: &str, depth: usize) -> Result<Value, String> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.array(key)?).into(),
            1 => i8::from_le_bytes(self.array(key)?).into(),
            2 => u16::from_le_bytes(self.array(key)?).into(),
            3 => i16::from_le_bytes(self.array(key)?).into(),
            4 => u32::from_le_bytes(self.array(key)?).into(),
            5 => i32::from_le_bytes(self.array(key)?).into(),
            // Through the shortest decimal text, as in a config.json.
            6 => match f32::from_le_bytes(self.array(key)?)
                .to_string()
                .parse::<f64>()
            {
                Ok(value) => value.into(),
                Err(error) => return Err(format!("`{key}`: {error}")),
            },
            7 => (self.array::<1>(key)? != [0]).into(),
            8 => self.text(key)?.into(),
            9 if depth < MAX_DEPTH => {
                let kind = self.u32(key)?;
                for _ in 0..self.u64(key)? {
                    self.value(kind, key, depth + 1)?;
                }
                Value::Array(Vec::new())
            }
            10 => u64::from_le_bytes(self.array(key)?).into(),
            11 => i64::from_le_bytes(self.array(key)?).into(),
            12 => f64::from_le_bytes(self.array(key)?).into(),
            other => return Err(format!("metadata `{key}` has the unknown type {other}")),
        })
    }

    /// Name, info, and offset into the data. The offsets inside the info are 0 and the length.
    fn tensor(&mut self) -> Result<(String, TensorInfo, u64), String> {
        let name = self.text("the name of a tensor")?;
        let axes = self.u32(&name)?;
        if !(1..=4).contains(&axes) {
            return Err(format!("tensor `{name}` has {axes} axes"));
        }
        let mut shape = Vec::new();
        for _ in 0..axes {
            let size = usize::try_from(self.u64(&name)?).ok();
            shape.push(size.ok_or_else(|| format!("tensor `{name}` is too large"))?);
        }
        shape.reverse();
        let kind = self.u32(&name)?;
        let offset = self.u64(&name)?;
        let dtype = match kind {
            0 => Dtype::F32,
            1 => Dtype::F16,
            30 => Dtype::BF16,
            39 => {
                let cols = shape.pop().unwrap_or(0);
                if !cols.is_multiple_of(MX_BLOCK) {
                    return Err(format!("tensor `{name}`: {cols} columns of MXFP4"));
                }
                shape.extend([cols / MX_BLOCK, GGML_BLOCK_BYTES]);
                Dtype::U8
            }
            other => {
                return Err(format!(
                    "tensor `{name}` has ggml type {other}; expected F32 (0), F16 (1), BF16 (30) \
                     or MXFP4 (39)"
                ));
            }
        };
        let bits = shape
            .iter()
            .try_fold(dtype.bitsize(), |bits, &size| bits.checked_mul(size));
        let bits = bits.ok_or_else(|| format!("tensor `{name}` is too large"))?;
        let info = TensorInfo {
            dtype,
            shape,
            data_offsets: (0, bits / 8),
        };
        Ok((name, info, offset))
    }
}
