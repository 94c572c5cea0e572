//! Writes a GGUF file: its header here, its tensors by [`TensorWriter`].

use std::path::Path;

use mxlab_kernels::format::GgmlFormat;
use safetensors::Dtype;

use super::container::{ALIGNMENT, MAGIC};
use super::pre_tokenizer::PreTokenizer;
use super::reader::{ARRAY, STRING};
use super::types::GgmlType;
use crate::checkpoint::CheckpointError;
use crate::checkpoint::write::TensorWriter;

pub use super::config::{FREQUENCIES, LONG_FREQUENCIES, NUMBERS, SHORT_FREQUENCIES, norm_eps};

/// The version of the container.
const VERSION: u32 = 3;

/// A value of metadata.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say the types")]
pub enum Entry {
    U32(u32),
    F32(f32),
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
}

/// Metadata in order.
pub type Metadata = Vec<(String, Entry)>;

/// A tensor to be written.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its type in the words of safetensors; U8 for blocks.
    pub dtype: Dtype,
    /// Its sizes, `[.., blocks, bytes]` for blocks.
    pub shape: Vec<usize>,
    /// The format of blocks, unless their bytes say it: MXFP4 and NVFP4.
    pub ggml: Option<GgmlFormat>,
}

/// Starts a file with these metadata and tensors.
///
/// # Errors
/// `Unwritable` for a type that GGUF does not have, or a name that occurs twice; `Io`.
pub fn create(
    path: &Path,
    metadata: &[(String, Entry)],
    tensors: &[Tensor],
) -> Result<TensorWriter, CheckpointError> {
    let mut header = MAGIC.to_vec();
    header.extend(VERSION.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    for (key, entry) in metadata {
        text(&mut header, key);
        entry.append(&mut header);
    }
    let mut places = Vec::new();
    let mut end = 0_usize;
    for tensor in tensors {
        let Tensor {
            name,
            dtype,
            shape,
            ggml,
        } = tensor;
        let refused = |reason: &str| CheckpointError::Unwritable {
            file: path.to_owned(),
            tensor: name.clone(),
            reason: reason.to_owned(),
        };
        let of = match ggml {
            None => GgmlType::stored(*dtype, shape),
            Some(format) => GgmlType::of_format(*format).map(|of| (of, of.sizes(shape))),
        };
        let (of, sizes) =
            of.ok_or_else(|| refused(&format!("GGUF has no type for {dtype} {shape:?}")))?;
        let bits = shape
            .iter()
            .try_fold(dtype.bitsize(), |bits, &size| bits.checked_mul(size));
        let bytes = bits.ok_or_else(|| refused("its sizes overflow"))? / 8;
        text(&mut header, name);
        header.extend((sizes.len() as u32).to_le_bytes());
        for size in sizes.iter().rev() {
            header.extend((*size as u64).to_le_bytes());
        }
        header.extend(of.id().to_le_bytes());
        header.extend((end as u64).to_le_bytes());
        places.push((name.clone(), end..end + bytes));
        end = (end + bytes).next_multiple_of(ALIGNMENT as usize);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
    TensorWriter::placed(path, &header, places, end)
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Entry {
    fn append(&self, out: &mut Vec<u8>) {
        fn array(out: &mut Vec<u8>, kind: u32, count: usize) {
            out.extend(ARRAY.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((count as u64).to_le_bytes());
        }
        match self {
            Self::U32(value) => {
                out.extend(4_u32.to_le_bytes());
                out.extend(value.to_le_bytes());
            }
            Self::F32(value) => {
                out.extend(6_u32.to_le_bytes());
                out.extend(value.to_le_bytes());
            }
            Self::Flag(value) => {
                out.extend(7_u32.to_le_bytes());
                out.push(u8::from(*value));
            }
            Self::Text(value) => {
                out.extend(STRING.to_le_bytes());
                text(out, value);
            }
            Self::Texts(values) => {
                array(out, STRING, values.len());
                values.iter().for_each(|value| text(out, value));
            }
            Self::I32s(values) => {
                array(out, 5, values.len());
                values
                    .iter()
                    .for_each(|value| out.extend(value.to_le_bytes()));
            }
            Self::F32s(values) => {
                array(out, 6, values.len());
                values
                    .iter()
                    .for_each(|value| out.extend(value.to_le_bytes()));
            }
        }
    }
}

/// llama.cpp's name of the byte-level tokenizers that split text so before merging; `None` if it
/// has none.
pub fn pre_tokenizer(splits: &[String], ignores_merges: bool) -> Option<&'static str> {
    PreTokenizer::of(splits, ignores_merges)
}

/// The names of all ways to split text.
pub fn pre_tokenizers() -> String {
    PreTokenizer::names()
}
