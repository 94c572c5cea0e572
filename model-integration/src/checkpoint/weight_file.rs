//! A mapped safetensors file with a checked header, or generated weights.
//!
//! Layout: header length (u64, little-endian), header (JSON: name -> dtype, shape, offsets into the
//! data), data. The `safetensors` crate checks shape, dtype and offsets against each other. The
//! rest is read here, with arithmetic that cannot overflow and errors that name the tensor.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, SafeTensorError, TensorInfo};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::file::{io_error, open_if_present};
use super::gguf::GgmlType;
use super::{CheckpointError, synthetic};

/// Bytes of the header length at the start of the file.
const LENGTH_BYTES: usize = 8;
/// Longest header accepted: the limit of the safetensors format.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The content of a safetensors file and the places of its tensors.
pub(super) struct WeightFile {
    path: PathBuf,
    content: Content,
    /// Name, dtype and shape, and the tensor's bytes within `content`, by offset.
    tensors: Vec<(String, TensorInfo, Range<usize>)>,
    /// `__metadata__` of the header.
    metadata: HashMap<String, String>,
    /// The types of the tensors of a GGUF file; empty for other files.
    ggml_types: Vec<&'static GgmlType>,
}

enum Content {
    Mapped(Mmap),
    Static(&'static [u8]),
    Made(synthetic::Weights),
}

impl WeightFile {
    /// Maps the file at `path`; `Ok(None)` if it does not exist.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, CheckpointError> {
        match map(path)? {
            Some(map) => Self::parse(path.to_owned(), Content::Mapped(map)).map(Some),
            None => Ok(None),
        }
    }

    /// A safetensors file in the binary; `path` is for messages.
    pub(super) fn from_static(
        path: PathBuf,
        bytes: &'static [u8],
    ) -> Result<Self, CheckpointError> {
        Self::parse(path, Content::Static(bytes))
    }

    /// Generated weights; `path` is for messages.
    pub(super) fn made(path: PathBuf, weights: synthetic::Weights) -> Self {
        let mut start = 0;
        let tensors = weights.parameters().stored().map(|parameter| {
            let range = start..start + parameter.elements() * 2;
            start = range.end;
            let info = TensorInfo {
                dtype: Dtype::BF16,
                shape: parameter.shape.clone(),
                data_offsets: (range.start, range.end),
            };
            (parameter.name.clone(), info, range)
        });
        Self {
            path,
            tensors: tensors.collect(),
            metadata: HashMap::new(),
            ggml_types: Vec::new(),
            content: Content::Made(weights),
        }
    }

    /// The generator of the weights, if they are generated.
    pub(super) fn maker(&self) -> Option<&synthetic::Weights> {
        match &self.content {
            Content::Made(weights) => Some(weights),
            _ => None,
        }
    }

    /// A mapped GGUF file whose header has been read: its tensors, their places, and their types.
    pub(super) fn mapped(
        path: PathBuf,
        map: Mmap,
        tensors: Vec<(String, TensorInfo, Range<usize>)>,
        ggml_types: Vec<&'static GgmlType>,
    ) -> Self {
        Self {
            path,
            content: Content::Mapped(map),
            tensors,
            metadata: HashMap::new(),
            ggml_types,
        }
    }

    fn parse(path: PathBuf, content: Content) -> Result<Self, CheckpointError> {
        let (tensors, metadata) = parse_header(&path, content.bytes())?;
        Ok(Self {
            path,
            content,
            tensors,
            metadata,
            ggml_types: Vec::new(),
        })
    }

    /// An entry of the header's metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// All entries of the header's metadata, ordered by key.
    pub(super) fn all_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut entries: Vec<(&str, &str)> = (self.metadata.iter())
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        entries.sort_unstable();
        entries.into_iter()
    }

    /// The type of a tensor of a GGUF file.
    pub(super) fn ggml_type(&self, tensor: usize) -> Option<&'static GgmlType> {
        self.ggml_types.get(tensor).copied()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file; empty for generated weights.
    pub(super) fn bytes(&self) -> &[u8] {
        self.content.bytes()
    }

    /// Name, dtype, shape, and range in [`WeightFile::bytes`] of every tensor. Generated tensors
    /// have the range that they would have in a file.
    pub(super) fn tensors(&self) -> &[(String, TensorInfo, Range<usize>)] {
        &self.tensors
    }
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match self {
            Content::Mapped(map) => map,
            Content::Static(bytes) => bytes,
            Content::Made(_) => &[],
        }
    }
}

/// Maps the file at `path`; `Ok(None)` if it does not exist.
pub(super) fn map(path: &Path) -> Result<Option<Mmap>, CheckpointError> {
    let Some((file, _)) = open_if_present(path)? else {
        return Ok(None);
    };
    // SAFETY: the mapping is private, read-only and lives as long as any view of it.
    // Nobody may truncate the file meanwhile, which no program can enforce on Linux:
    // that is the condition of every mapped model. Overwritten contents only change
    // the numbers read, as every access is a copy of plain bytes within the length
    // fixed here. This crate replaces files by renaming, never in place.
    let map = unsafe { Mmap::map(&file) }.map_err(|error| io_error(path, error))?;
    Ok(Some(map))
}

/// Tensors and metadata.
type Contents = (
    Vec<(String, TensorInfo, Range<usize>)>,
    HashMap<String, String>,
);

fn parse_header(path: &Path, bytes: &[u8]) -> Result<Contents, CheckpointError> {
    let file = || path.to_owned();
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(CheckpointError::NoHeader {
            file: file(),
            bytes: bytes.len(),
        });
    };
    let declared = u64::from_le_bytes(*length);
    if declared > MAX_HEADER_BYTES {
        return Err(CheckpointError::HeaderTooLarge {
            file: file(),
            declared,
            limit: MAX_HEADER_BYTES,
        });
    }
    let Some((header, data)) = rest.split_at_checked(declared as usize) else {
        return Err(CheckpointError::HeaderTruncated {
            file: file(),
            declared,
            available: rest.len(),
        });
    };
    let header = std::str::from_utf8(header).map_err(|reason| CheckpointError::HeaderNotUtf8 {
        file: file(),
        reason,
    })?;
    let Header {
        mut tensors,
        metadata: words,
    } = serde_json::from_str(header).map_err(|reason| CheckpointError::HeaderJson {
        file: file(),
        reason,
    })?;
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let mut names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(CheckpointError::DuplicateTensor {
            tensor: twice[0].to_owned(),
            first: file(),
            second: file(),
        });
    }
    let metadata =
        Metadata::new(None, tensors.clone()).map_err(|source| describe(path, &tensors, source))?;
    if metadata.data_len() != data.len() {
        return Err(CheckpointError::DataLength {
            file: file(),
            described: metadata.data_len(),
            present: data.len(),
        });
    }
    let start = bytes.len() - data.len();
    let placed = tensors.into_iter().map(|(name, info)| {
        let (begin, end) = info.data_offsets;
        (name, info, start + begin..start + end)
    });
    Ok((placed.collect(), words))
}

/// The crate's error, with the first tensor that caused it.
fn describe(
    path: &Path,
    tensors: &[(String, TensorInfo)],
    source: SafeTensorError,
) -> CheckpointError {
    let mut expected_start = 0;
    for (tensor, info) in tensors {
        let (begin, end) = info.data_offsets;
        if begin != expected_start || end < begin {
            return CheckpointError::TensorOffsets {
                file: path.to_owned(),
                tensor: tensor.clone(),
                offsets: info.data_offsets,
                expected_start,
            };
        }
        let needed = info
            .shape
            .iter()
            .try_fold(info.dtype.bitsize(), |bits, &size| bits.checked_mul(size));
        if needed.is_none_or(|bits| bits % 8 != 0 || bits / 8 != end - begin) {
            return CheckpointError::TensorSize {
                file: path.to_owned(),
                tensor: tensor.clone(),
                offsets: info.data_offsets,
                dtype: info.dtype.to_string(),
                shape: info.shape.clone(),
            };
        }
        expected_start = end;
    }
    CheckpointError::Header {
        file: path.to_owned(),
        reason: source,
    }
}

/// The header's tensors in file order. Unlike a map, it keeps duplicate names.
struct Header {
    tensors: Vec<(String, TensorInfo)>,
    metadata: HashMap<String, String>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensor descriptions")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut tensors = Vec::new();
                let mut metadata = HashMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        metadata = map.next_value::<Option<_>>()?.unwrap_or_default();
                    } else {
                        tensors.push((name, map.next_value()?));
                    }
                }
                Ok(Header { tensors, metadata })
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}
