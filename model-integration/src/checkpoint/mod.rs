//! Model directories in the layout of Hugging Face: `config.json`, safetensors weights
//! (one file, or an index and shards), `tokenizer.json`; and the hub they come from.
//!
//! A [`Checkpoint`] that opens is consistent: the config describes a Llama, every tensor
//! of it is there with its shape and a float dtype, and the header of each file accounts
//! for each of its bytes. [`Checkpoint::tensor`] additionally reads the weights and
//! insists that they are finite. Weights stay in the mapped files; nothing here copies
//! them.
//!
//! | file | what |
//! |---|---|
//! | `config.rs`, `rope_scaling.rs` | config.json -> [`LlamaConfig`] |
//! | `layout.rs` | which tensors a Llama has |
//! | `weights.rs`, `weight_file.rs`, `tensor.rs` | index and shards; one safetensors file; one tensor |
//! | `tokenizer.rs`, `tokenizer_json.rs` | tokenizer.json -> [`Tokenizer`] |
//! | `hub/` | names -> directories, downloading what is not there |
//! | `synthetic.rs` | models of real shapes with random weights |
//! | `write.rs` | writing weights |
//! | `error.rs` | all that can be wrong |

mod config;
mod error;
mod fields;
mod file;
mod fingerprint;
pub mod hub;
pub mod layout;
mod rope_scaling;
pub mod synthetic;
mod tensor;
mod tensor_file;
mod tokenizer;
mod tokenizer_json;
mod weight_file;
mod weights;
pub mod write;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

pub use config::LlamaConfig;
pub use error::CheckpointError;
pub use rope_scaling::RopeScaling;
pub use tensor::TensorView;
pub use tensor_file::{StoredTensor, TensorFile};
pub use tokenizer::{Tokenizer, TokenizerConfig};

use mxlab_kernels::format::FloatType;

use weights::Weights;

/// Name of the config in a model directory.
const CONFIG_FILE: &str = "config.json";
/// Name of the tokenizer in a model directory.
const TOKENIZER_FILE: &str = "tokenizer.json";
/// Name of the optional settings beside the tokenizer.
const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";

/// A Llama checkpoint: config, tokenizer, and mapped weights.
pub struct Checkpoint {
    label: String,
    /// Where the files are, or would be; for messages.
    dir: PathBuf,
    config: LlamaConfig,
    config_json: Vec<u8>,
    tokenizer_json: Vec<u8>,
    tokenizer_config: TokenizerConfig,
    weights: Weights,
}

impl Checkpoint {
    /// Opens the model directory `dir`.
    ///
    /// # Errors
    /// Whatever is wrong first: the directory, config.json, the tokenizer files being
    /// absent or unreadable, the weights' headers, then [`Checkpoint::validate`].
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        match fs::metadata(dir) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                return Err(CheckpointError::NotADirectory {
                    path: dir.to_owned(),
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(CheckpointError::NoSuchDirectory {
                    path: dir.to_owned(),
                });
            }
            Err(error) => return Err(file::io_error(dir, error)),
        }
        let config_json = file::read_required(
            &dir.join(CONFIG_FILE),
            file::MAX_CONFIG_BYTES,
            "it describes the model",
        )?;
        let parsed = LlamaConfig::parse(&config_json, &dir.join(CONFIG_FILE))?;
        let tokenizer_json = file::read_required(
            &dir.join(TOKENIZER_FILE),
            file::MAX_TOKENIZER_BYTES,
            "it turns text into tokens (tokenizer.model is not read; transformers can convert it)",
        )?;
        let settings = dir.join(TOKENIZER_CONFIG_FILE);
        let tokenizer_config = match file::read_if_present(&settings, file::MAX_CONFIG_BYTES)? {
            Some(json) => TokenizerConfig::parse(&json, &settings)?,
            None => TokenizerConfig::default(),
        };
        Self {
            label: dir.display().to_string(),
            dir: dir.to_owned(),
            config: parsed.0,
            config_json,
            tokenizer_json,
            tokenizer_config,
            weights: Weights::open(dir)?,
        }
        .checked(parsed.1)
    }

    /// A model that is part of the program. `label` names it in messages.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_bytes(
        config_json: &[u8],
        tokenizer_json: &[u8],
        safetensors: &'static [u8],
        label: &str,
    ) -> Result<Self, CheckpointError> {
        let dir = PathBuf::from(label);
        let parsed = LlamaConfig::parse(config_json, &dir.join(CONFIG_FILE))?;
        Self {
            label: label.to_owned(),
            config: parsed.0,
            config_json: config_json.to_owned(),
            tokenizer_json: tokenizer_json.to_owned(),
            tokenizer_config: TokenizerConfig::default(),
            weights: Weights::from_static(dir.join(weights::SINGLE_FILE), safetensors)?,
            dir,
        }
        .checked(parsed.1)
    }

    /// A model whose weights are made when they are read.
    fn made(
        config: &LlamaConfig,
        tokenizer_json: Vec<u8>,
        weights: synthetic::Weights,
        label: String,
    ) -> Result<Self, CheckpointError> {
        let dir = PathBuf::from(&label);
        Self {
            config: config.clone(),
            config_json: config.to_json().to_string().into_bytes(),
            tokenizer_json,
            tokenizer_config: TokenizerConfig::default(),
            weights: Weights::made(dir.clone(), weights)?,
            dir,
            label,
        }
        .checked(Some(config.dtype))
    }

    fn checked(mut self, declared: Option<FloatType>) -> Result<Self, CheckpointError> {
        self.validate()?;
        let shape = [self.config.vocab_size, self.config.hidden_size];
        let stored = self.view(layout::EMBEDDING, &shape)?.dtype();
        self.config.dtype = declared.unwrap_or(stored);
        Ok(self)
    }

    /// The model's shape and constants.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// The directory, or the name of an embedded model; for messages and records.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// A digest that tells this model from others: SHA-256 in hex over config.json,
    /// tokenizer.json, the table of tensors, file sizes, and the weights (all of them up
    /// to 64 MiB, beyond that 16 pages of every tensor). Where the files lie plays no part.
    pub fn fingerprint(&self) -> String {
        fingerprint::fingerprint(&self.config_json, &self.tokenizer_json, &self.weights)
    }

    /// Whether the weights hold a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.weights.find(name).is_some()
    }

    /// The tensor `name`, which must have `shape`, a float dtype, and only finite elements.
    /// Reads all of it once to see that.
    ///
    /// # Errors
    /// `MissingTensor`, `Shape`, `Dtype`, `NonFinite`.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<TensorView, CheckpointError> {
        let view = self.view(name, shape)?;
        view.check_finite()?;
        Ok(view)
    }

    /// Checks that every tensor that the config asks for is there, with its shape and a
    /// float dtype. Reads headers only. Done by [`Checkpoint::open`].
    ///
    /// # Errors
    /// The first of `MissingTensor`, `Shape`, `Dtype`, in the order of the forward pass.
    pub fn validate(&self) -> Result<(), CheckpointError> {
        layout::tensors(&self.config)
            .try_for_each(|(name, shape)| self.view(&name, &shape).map(drop))
    }

    /// The tokenizer, which must not have more tokens than the embedding has rows.
    ///
    /// # Errors
    /// `Tokenizer`, `TokenBeyondVocabulary`, `UnknownSpecialToken`.
    pub fn tokenizer(&self) -> Result<Tokenizer, CheckpointError> {
        let files = (
            self.dir.join(TOKENIZER_FILE),
            self.dir.join(TOKENIZER_CONFIG_FILE),
        );
        let tokenizer = Tokenizer::parse(
            &self.tokenizer_json,
            self.tokenizer_config.clone(),
            (&files.0, &files.1),
            self.config.vocab_size,
        )?;
        let eos = self.config.eos_token_ids.first().copied();
        Ok(tokenizer.with_default_special_tokens(self.config.bos_token_id, eos))
    }

    /// The tensor `name`, checked by its header only: its elements may not be finite.
    ///
    /// # Errors
    /// `MissingTensor`, `Shape`, `Dtype`.
    pub fn view(&self, name: &str, shape: &[usize]) -> Result<TensorView, CheckpointError> {
        let Some((file, tensor)) = self.weights.find(name) else {
            return Err(CheckpointError::MissingTensor {
                file: self.weights.listing().to_owned(),
                tensor: name.to_owned(),
                expected: shape.to_owned(),
            });
        };
        let found = &file.tensors()[tensor].1.shape;
        if found != shape {
            return Err(CheckpointError::Shape {
                file: file.path().to_owned(),
                tensor: name.to_owned(),
                expected: shape.to_owned(),
                found: found.clone(),
            });
        }
        TensorView::new(file.clone(), tensor)
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("label", &self.label)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
