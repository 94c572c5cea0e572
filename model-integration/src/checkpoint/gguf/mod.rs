//! GGUF, the files of llama.cpp: weights, configuration and tokenizer in one file, or in several.
//!
//! candle-core's reader is not used: it refuses tensors of MXFP4 and NVFP4.
//!
//! | file | contents |
//! |---|---|
//! | `reader.rs`, `container.rs` | primitives; the tensors and metadata of one file |
//! | `split.rs` | models in several files |
//! | `types.rs` | ggml's types |
//! | `tensors.rs` | a tensor as floats, as codes and scales, or as a layout to decode |
//! | `config.rs` | metadata as a config.json |
//! | `write.rs` | a new file |
//! | `tokenizer.rs`, `bpe.rs`, `pre_tokenizer.rs`, `sentencepiece.rs` | metadata as tokenizer.json |

mod bpe;
mod config;
mod container;
mod pre_tokenizer;
mod reader;
mod sentencepiece;
mod split;
mod tensors;
mod tokenizer;
mod types;
pub mod write;

use std::path::Path;

use serde_json::Value;

use super::CheckpointError;
use super::weight_file::WeightFile;
use container::{Entry, Metadata};
use reader::{Reader, STRING};

pub(super) use tensors::view;
pub(super) use types::GgmlType;

/// The files of a model.
pub(super) struct Gguf {
    files: Vec<WeightFile>,
    metadata: Metadata,
}

/// Whether a path has the extension of GGUF files.
pub(super) fn has_gguf_name(path: &Path) -> bool {
    let extension = path.extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

impl Gguf {
    /// Opens the file at `path`, and all other files of its model.
    ///
    /// # Errors
    /// `Gguf` with what is wrong and where; `MissingFile`, `Io` and the like.
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let (files, metadata) = split::open(path)?;
        Ok(Self { files, metadata })
    }

    /// Its files, the first first.
    pub(super) fn into_files(self) -> Vec<WeightFile> {
        self.files
    }

    /// The metadata as a config.json.
    ///
    /// # Errors
    /// `MissingField` and `Field` for absent metadata and unsupported architectures.
    pub(super) fn config_json(&self) -> Result<Value, CheckpointError> {
        config::config_json(self)
    }

    /// The tensors that the config was made of.
    pub(super) fn config_tensors(&self) -> &'static [&'static str] {
        config::tensors(self)
    }

    /// Whether the metadata have a tokenizer.
    pub(super) fn has_tokenizer(&self) -> bool {
        tokenizer::has_one(self)
    }

    /// The tokenizer in the metadata.
    ///
    /// # Errors
    /// `Field` and `MissingField` for an unknown kind and for absent metadata; `Gguf`.
    pub(super) fn tokenizer(&self) -> Result<tokenizer::Files, CheckpointError> {
        tokenizer::files(self)
    }

    /// Whether transformers takes the model for a Llama.
    fn is_llama(&self) -> bool {
        self.value("general.architecture")
            .is_some_and(|name| name == "llama")
    }

    /// The file with the metadata.
    fn path(&self) -> &Path {
        self.files[0].path()
    }

    /// The tensor `name`: its file and index.
    fn find(&self, name: &str) -> Option<(&WeightFile, usize)> {
        self.files.iter().find_map(|file| {
            let index = file.tensors().iter().position(|(own, ..)| own == name)?;
            Some((file, index))
        })
    }

    /// A value that is not an array.
    fn value(&self, key: &str) -> Option<&Value> {
        match self.metadata.get(key)? {
            Entry::Value(value) => Some(value),
            Entry::Array(_) => None,
        }
    }

    /// `true` or `false`; `default` if absent.
    fn flag(&self, key: &str, default: bool) -> Result<bool, CheckpointError> {
        match self.metadata.get(key) {
            None => Ok(default),
            Some(Entry::Value(Value::Bool(flag))) => Ok(*flag),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// A text; `None` if absent.
    fn text(&self, key: &str) -> Result<Option<&str>, CheckpointError> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Entry::Value(Value::String(text))) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    /// An array of texts; `None` if absent.
    fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, CheckpointError> {
        let Some(entry) = self.metadata.get(key) else {
            return Ok(None);
        };
        let Entry::Array(array) = entry else {
            return Err(self.wrong(key, "an array of texts"));
        };
        if array.kind != STRING {
            return Err(self.wrong(key, "an array of texts"));
        }
        let mut reader = Reader::new(self.files[0].bytes(), array.at);
        let texts = (0..array.count).map(|_| reader.text(key));
        let texts: Result<_, String> = texts.collect();
        texts.map(Some).map_err(|reason| self.refused(reason))
    }

    /// An array of numbers; `None` if absent.
    fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, CheckpointError> {
        let Some(entry) = self.metadata.get(key) else {
            return Ok(None);
        };
        let expected = "an array of numbers";
        let Entry::Array(array) = entry else {
            return Err(self.wrong(key, expected));
        };
        let mut reader = Reader::new(self.files[0].bytes(), array.at);
        let mut numbers = Vec::new();
        for _ in 0..array.count {
            let value = match array.kind {
                STRING | reader::ARRAY => return Err(self.wrong(key, expected)),
                kind => reader
                    .scalar(kind, key)
                    .map_err(|reason| self.refused(reason))?,
            };
            let number = value.as_f64();
            numbers.push(number.ok_or_else(|| self.wrong(key, expected))?);
        }
        Ok(Some(numbers))
    }

    fn refused(&self, reason: String) -> CheckpointError {
        CheckpointError::Gguf {
            file: self.path().to_owned(),
            reason,
        }
    }

    /// The error for metadata that are absent or invalid.
    fn wrong(&self, key: &str, expected: &str) -> CheckpointError {
        let (file, field) = (self.path().to_owned(), key.to_owned());
        let expected = expected.to_owned();
        let found = match self.metadata.get(key) {
            None => {
                return CheckpointError::MissingField {
                    file,
                    field,
                    expected,
                };
            }
            Some(Entry::Value(value)) => super::fields::shortened(value),
            Some(Entry::Array(array)) => format!("an array of {}", array.count),
        };
        CheckpointError::Field {
            file,
            field,
            expected,
            found,
        }
    }
}
