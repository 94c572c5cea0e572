//! Model directories in the layout of Hugging Face (`config.json`, safetensors weights in one file
//! or in shards with an index, `tokenizer.json`), and the hub that provides them.
//!
//! A [`Checkpoint`] that opens is consistent. Its config describes a model that the forward pass
//! supports. Each of its [`parameters`](crate::description::parameters) exists with the right shape
//! and a float dtype. Each file's header accounts for every byte. [`Checkpoint::tensor`] also reads
//! the weights and checks that they are finite. Weights stay in the mapped files and are not
//! copied.
//!
//! | file | contents |
//! |---|---|
//! | `config.rs`, `rope_scaling.rs` | config.json -> [`ModelConfig`] |
//! | `encoding.rs`, `packed.rs` | the tensors of a quantised matrix; its codes and scales |
//! | `decoded.rs` | matrices whose values are computed when they are read |
//! | `gguf/` | GGUF: tensors, config and tokenizer of llama.cpp's files |
//! | `weights.rs`, `weight_file.rs`, `tensor.rs` | index and shards; one file; one tensor |
//! | `unused.rs` | tensors that no parameter is |
//! | `folder.rs`, `foreign.rs` | directories of other layouts, files of other kinds |
//! | `tokenizer.rs`, `tokenizer_json.rs` | tokenizer.json -> [`Tokenizer`] |
//! | `special_tokens.rs` | tokenizer_config.json, and transformers' rules for BOS and EOS |
//! | `hub/` | names -> directories, downloading missing files |
//! | `synthetic.rs` | models of real shapes with random weights |
//! | `write.rs` | writing weights |
//! | `error.rs` | all errors |

mod config;
mod decoded;
pub mod encoding;
mod error;
mod fields;
mod file;
mod fingerprint;
mod folder;
pub mod foreign;
mod gguf;
pub mod hub;
mod packed;
mod rope_scaling;
mod special_tokens;
pub mod synthetic;
mod tensor;
mod tensor_file;
mod tokenizer;
mod tokenizer_json;
mod unused;
mod weight_file;
mod weights;
pub mod write;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

pub use error::CheckpointError;
pub use folder::LayoutError;
pub use special_tokens::{Named, SpecialTokens, TokenizerConfig};
pub use tensor::TensorView;
pub use tensor_file::{StoredTensor, TensorFile};
pub use tokenizer::Tokenizer;

use mxlab_kernels::format::FloatType;

use crate::description::ModelConfig;
use crate::description::parameters::{Fused, Parameter, Parameters, Role, module_name, parameters};
use config::Parsed;
use encoding::{Encoding, Found, StoredInput};
use fields::Fields;
use folder::Folder;
use gguf::Gguf;
use weights::Weights;

/// Name of the config in a model directory.
const CONFIG_FILE: &str = "config.json";
/// Name of the tokenizer in a model directory.
const TOKENIZER_FILE: &str = "tokenizer.json";
/// Name of the file in which ModelOpt says how it quantised a model.
const MODELOPT_FILE: &str = "hf_quant_config.json";
/// Name of the optional settings beside the tokenizer.
const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
/// Name of the optional special tokens of early checkpoints.
const SPECIAL_TOKENS_FILE: &str = "special_tokens_map.json";
/// Name of the optional settings of generation.
const GENERATION_FILE: &str = "generation_config.json";

/// A model: config, tokenizer, and mapped weights.
pub struct Checkpoint {
    label: String,
    /// The file with the tokenizer, in a stand-in for a directory for embedded and synthetic models;
    /// for messages.
    tokenizer_path: PathBuf,
    config: ModelConfig,
    parameters: Parameters,
    config_json: Vec<u8>,
    tokenizer_json: Vec<u8>,
    tokenizer_config: TokenizerConfig,
    tokenizer_config_json: Option<Vec<u8>>,
    special_tokens: SpecialTokens,
    encoding: Encoding,
    weights: Weights,
    notes: Vec<String>,
}

impl Checkpoint {
    /// Opens the model directory `dir`, or a GGUF file. A tokenizer.json beside that file takes
    /// precedence over the tokenizer in it.
    ///
    /// # Errors
    /// The first problem: in the directory, config.json, the tokenizer files or the headers of the
    /// weights; then as [`Checkpoint::validate`].
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        match fs::metadata(dir) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) if gguf::has_gguf_name(dir) => return Self::open_gguf(dir),
            Ok(_) => return Err(folder::no_directory(dir)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(CheckpointError::NoSuchDirectory {
                    path: dir.to_owned(),
                });
            }
            Err(error) => return Err(file::io_error(dir, error)),
        }
        let folder = Folder::read(dir)?;
        if let Some(path) = folder.gguf()? {
            return Self::open_gguf(&path);
        }
        let json = |name: &str| file::read_if_present(&dir.join(name), file::MAX_CONFIG_BYTES);
        let config_json = json(CONFIG_FILE)?.ok_or_else(|| folder.no_config())?;
        let mut parsed = ModelConfig::parse(&config_json, &dir.join(CONFIG_FILE))?;
        if let Some(json) = json(GENERATION_FILE)? {
            parsed
                .config
                .add_end_tokens(&json, &dir.join(GENERATION_FILE))?;
        }
        if let Some(json) = json(MODELOPT_FILE)? {
            let file = dir.join(MODELOPT_FILE);
            let object = fields::parse_object(&json, &file)?;
            parsed.encoding = parsed.encoding.or_sidecar(Fields::new(&file, &object))?;
        }
        let mut tokenizer = tokenizer_files(&folder)?;
        let (_, settings, _) = &mut tokenizer;
        let class = parsed.config.architecture.tokenizer_class;
        settings.class.get_or_insert_with(|| class.to_owned());
        let weights = Weights::open(&folder)?;
        let label = dir.display().to_string();
        let mut checkpoint = Self::new(label, dir, parsed, config_json, tokenizer, weights)?;
        checkpoint.notes.extend(folder.notes());
        Ok(checkpoint)
    }

    fn open_gguf(path: &Path) -> Result<Self, CheckpointError> {
        let gguf = Gguf::open(path)?;
        let config_json = gguf.config_json()?.to_string().into_bytes();
        let parsed = ModelConfig::parse(&config_json, path)?;
        let dir = path.parent().filter(|dir| *dir != Path::new(""));
        let dir = dir.unwrap_or(Path::new("."));
        let beside = dir.join(TOKENIZER_FILE);
        let (tokenizer, tokenizer_path, notes) = match gguf.has_tokenizer() {
            true if !beside.exists() => {
                let files = gguf.tokenizer()?;
                let config = TokenizerConfig::parse(&files.config, path, None)?;
                let tokenizer = (files.tokenizer, config, Some(files.config));
                (tokenizer, path.to_owned(), files.notes)
            }
            has_own => {
                let note = has_own.then(|| {
                    format!(
                        "the tokenizer is that of {}, which takes precedence over the one in the \
                         GGUF file",
                        beside.display()
                    )
                });
                let tokenizer = tokenizer_files(&Folder::read(dir)?)?;
                (tokenizer, beside, note.into_iter().collect())
            }
        };
        let in_config = gguf.config_tensors();
        let weights = Weights::from_gguf(gguf.into_files())?;
        for name in in_config {
            // Tensors that were not found count as unused.
            weights.find(name);
        }
        let label = path.display().to_string();
        let mut checkpoint = Self::new(label, dir, parsed, config_json, tokenizer, weights)?;
        checkpoint.tokenizer_path = tokenizer_path;
        checkpoint.notes.extend(notes);
        Ok(checkpoint)
    }

    /// A model in the binary. `label` names it in messages.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_bytes(
        config_json: &[u8],
        tokenizer_json: &[u8],
        safetensors: &'static [u8],
        label: &str,
    ) -> Result<Self, CheckpointError> {
        let dir = Path::new(label);
        let parsed = ModelConfig::parse(config_json, &dir.join(CONFIG_FILE))?;
        let weights = Weights::from_static(dir.join(weights::SINGLE_FILE), safetensors)?;
        let tokenizer = (tokenizer_json.to_owned(), TokenizerConfig::default(), None);
        let config_json = config_json.to_owned();
        Self::new(
            label.to_owned(),
            dir,
            parsed,
            config_json,
            tokenizer,
            weights,
        )
    }

    /// A model with generated weights.
    fn made(
        config: &ModelConfig,
        tokenizer_json: Vec<u8>,
        seed: u32,
        label: String,
    ) -> Result<Self, CheckpointError> {
        let dir = PathBuf::from(&label);
        let parsed = Parsed {
            config: config.clone(),
            dtype: Some(config.dtype),
            encoding: Encoding::Unsaid,
        };
        let config_json = config.to_json().to_string().into_bytes();
        let tokenizer = (tokenizer_json, TokenizerConfig::default(), None);
        let weights = synthetic::Weights::new(seed, parameters(config));
        let weights = Weights::made(dir.clone(), weights)?;
        Self::new(label, &dir, parsed, config_json, tokenizer, weights)
    }

    fn new(
        label: String,
        dir: &Path,
        parsed: Parsed,
        config_json: Vec<u8>,
        (tokenizer_json, tokenizer_config, tokenizer_config_json): TokenizerFiles,
        weights: Weights,
    ) -> Result<Self, CheckpointError> {
        let mut weights = weights;
        if parsed.config.tie_word_embeddings && !weights.is_gguf() {
            let [head, embedding] = [Role::Head, Role::Embedding]
                .map(|role| format!("{}.weight", module_name(None, role)));
            weights.name_also(&head, &embedding);
        }
        let mut checkpoint = Self {
            label,
            tokenizer_path: dir.join(TOKENIZER_FILE),
            parameters: parameters(&parsed.config),
            config: parsed.config,
            config_json,
            tokenizer_json,
            tokenizer_config,
            tokenizer_config_json,
            special_tokens: SpecialTokens::default(),
            encoding: parsed.encoding,
            weights,
            notes: Vec::new(),
        };
        checkpoint.leave_out_absent_biases();
        checkpoint.validate()?;
        for (_, _, weight) in checkpoint.parameters.projections() {
            // Finds the tensors for its input; their faults are errors where they are used.
            checkpoint.stored_input(weight).ok();
        }
        checkpoint.notes.extend(unused::notes(&checkpoint.weights));
        let not_applied = checkpoint.encoding.not_applied();
        checkpoint.notes.extend_from_slice(not_applied);
        let embedding = checkpoint.parameters.weight(None, Role::Embedding);
        let stored = checkpoint.view(embedding)?.dtype();
        // bf16 represents every value of codes with few bits.
        checkpoint.config.dtype = parsed.dtype.or(stored).unwrap_or(FloatType::Bf16);
        Ok(checkpoint)
    }

    /// Biases that are there in part: the others are zero, as in transformers.
    fn leave_out_absent_biases(&mut self) {
        let has = |parameter: &Parameter| self.weights.find(&parameter.name).is_some();
        let is_there = |parameter: &Parameter| parameter.is_bias && has(parameter);
        if self.weights.is_gguf() || !self.parameters.stored().any(is_there) {
            return;
        }
        let absent = self
            .parameters
            .leave_out_biases(|parameter| !has(parameter));
        if !absent.is_empty() {
            self.notes.push(unused::absent_biases(&absent));
        }
    }

    /// The model's shape and constants.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The model's parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The text of config.json; for a GGUF file, the equivalent of its metadata.
    pub fn config_json(&self) -> &[u8] {
        &self.config_json
    }

    /// The text of tokenizer.json.
    pub fn tokenizer_json(&self) -> &[u8] {
        &self.tokenizer_json
    }

    /// The text of tokenizer_config.json, if there is one.
    pub fn tokenizer_config_json(&self) -> Option<&[u8]> {
        self.tokenizer_config_json.as_deref()
    }

    /// The directory, or the name of an embedded model; for messages and records.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The same model under another label.
    pub(crate) fn with_label(self, label: String) -> Self {
        Self { label, ..self }
    }

    /// A digest that identifies the model: SHA-256 in hexadecimal over config.json, tokenizer.json,
    /// the table of tensors, file sizes, and weights (all of them up to 64 MiB, beyond that 16
    /// pages of every tensor). The location of the files is not included.
    pub fn fingerprint(&self) -> String {
        fingerprint::fingerprint(&self.config_json, &self.tokenizer_json, &self.weights)
    }

    /// Whether the weights include a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.weights.find(name).is_some()
    }

    /// A parameter, checked for its shape, a float dtype and finite elements, for which all of it
    /// is read once.
    ///
    /// # Errors
    /// `MissingTensor`, `Shape`, `Dtype`, `NonFinite`.
    pub fn tensor(&self, parameter: &Parameter) -> Result<TensorView, CheckpointError> {
        let view = self.view(parameter)?;
        view.check_finite()?;
        Ok(view)
    }

    /// Checks that every parameter exists, with its shape and a float dtype. Reads headers only.
    /// [`Checkpoint::open`] does this.
    ///
    /// # Errors
    /// The first of `MissingTensor`, `Shape`, `Dtype`, in the order of the parameters.
    pub fn validate(&self) -> Result<(), CheckpointError> {
        let mut stored = self.parameters.stored();
        stored.try_for_each(|parameter| self.view(parameter).map(drop))
    }

    /// The same checkpoint, with another rule where the tokenizer's files disagree.
    #[must_use]
    pub fn with_special_tokens(mut self, rule: SpecialTokens) -> Self {
        self.special_tokens = rule;
        self
    }

    /// How the files were read, where that is not obvious: a sentence each, for the head of the
    /// table and for records. Those of the tokenizer are apart, [`Tokenizer::notes`].
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// `Tokenizer`.
    pub fn tokenizer(&self) -> Result<Tokenizer, CheckpointError> {
        let tokenizer = Tokenizer::parse(
            &self.tokenizer_json,
            &self.tokenizer_config,
            &self.tokenizer_path,
            self.config.vocab_size,
            self.special_tokens,
        )?;
        let eos = self.config.eos_token_ids.first().copied();
        Ok(tokenizer.with_default_special_tokens(self.config.bos_token_id, eos))
    }

    /// A parameter, checked by its header only, so its elements may not be finite. It may be rows
    /// of a tensor that holds several parameters.
    ///
    /// # Errors
    /// `MissingTensor`, `Shape`, `Dtype`.
    pub fn view(&self, parameter: &Parameter) -> Result<TensorView, CheckpointError> {
        let Parameter { name, shape, .. } = parameter;
        if self.weights.is_gguf() {
            let stored = &parameter.gguf_name;
            // llama.cpp adds the biases that are there.
            let view = match parameter.is_bias && !self.contains(stored) {
                true => TensorView::zero(stored, shape),
                false => gguf::view(&self.weights, stored, shape)?,
            };
            return Ok(match parameter.gguf_interleaved {
                Some(head_dim) => view.deinterleaved(name, head_dim),
                None => view.part(name, 0..shape[0]),
            });
        }
        match self.whole(parameter) {
            Some(whole) => {
                let mut of_whole = shape.clone();
                of_whole[0] = whole.rows;
                let view = self.held(&whole.name, &of_whole)?;
                Ok(view.part(name, whole.first..whole.first + shape[0]))
            }
            None => self.held(name, shape),
        }
    }

    /// How the checkpoint quantises the input of a projection whose weight it stores in codes.
    ///
    /// # Errors
    /// `MissingTensor`, `PackedFormat` for a stored scale that is absent or no single float.
    pub fn stored_input(&self, weight: &Parameter) -> Result<Option<StoredInput>, CheckpointError> {
        let Some([_, features]) = weight.matrix() else {
            return Ok(None);
        };
        let view = self.view(weight)?;
        if view.format().is_none() && view.layout().is_none() {
            return Ok(None);
        }
        let fused = weight
            .fused
            .as_ref()
            .filter(|whole| !self.holds(&whole.name));
        let name = fused.map_or(&weight.name, |whole| &whole.name);
        self.encoding.input(&self.weights, name, features)
    }

    /// The tensor that holds a parameter with others. Our own packed files store every projection
    /// separately.
    fn whole<'a>(&self, parameter: &'a Parameter) -> Option<&'a Fused> {
        let whole = parameter.fused.as_ref()?;
        (self.contains(&whole.name) || !self.holds(&parameter.name)).then_some(whole)
    }

    /// Whether the files have a tensor of this name, as floats or as our own codes.
    fn holds(&self, name: &str) -> bool {
        self.contains(name) || self.contains(&format!("{name}.codes"))
    }

    /// The tensor of this name, whole or as parts.
    fn held(&self, name: &str, shape: &[usize]) -> Result<TensorView, CheckpointError> {
        let place = self.weights.place(name);
        if let &[rows, cols] = shape {
            let shape = [rows, cols];
            match self.encoding.find(&self.weights, name, shape)? {
                Some(Found::Packed(packed)) => {
                    return Ok(TensorView::of_packed(name, shape, packed));
                }
                Some(Found::Decoded(rows)) => {
                    return Ok(TensorView::of_decoded(name, shape, rows));
                }
                None => {}
            }
        }
        let (file, tensor) = match place {
            Some(place) => place,
            None => self.weights.required(name, shape)?,
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
        TensorView::new(file, tensor)
    }
}

/// tokenizer.json, and tokenizer_config.json parsed and as text.
type TokenizerFiles = (Vec<u8>, TokenizerConfig, Option<Vec<u8>>);

fn tokenizer_files(folder: &Folder) -> Result<TokenizerFiles, CheckpointError> {
    let read = |name: &str, limit| {
        let path = folder.path().join(name);
        let content = file::read_if_present(&path, limit)?;
        Ok::<_, CheckpointError>(content.map(|content| (content, path)))
    };
    let tokenizer_json = read(TOKENIZER_FILE, file::MAX_TOKENIZER_BYTES)?;
    let (tokenizer_json, _) = tokenizer_json.ok_or_else(|| folder.no_tokenizer())?;
    let map = read(SPECIAL_TOKENS_FILE, file::MAX_CONFIG_BYTES)?;
    let json = read(TOKENIZER_CONFIG_FILE, file::MAX_CONFIG_BYTES)?;
    let map = map
        .as_ref()
        .map(|(json, path)| (json.as_slice(), path.as_path()));
    let (settings, path) = json
        .as_ref()
        .map_or((&b"{}"[..], Path::new("")), |(json, path)| (json, path));
    let config = TokenizerConfig::parse(settings, path, map)?;
    Ok((tokenizer_json, config, json.map(|(json, _)| json)))
}

/// Names in messages: the first few, then how many more.
fn shortened<S: AsRef<str>>(names: &[S]) -> String {
    const MOST: usize = 4;
    let first = names
        .iter()
        .take(MOST)
        .map(|name| format!("`{}`", name.as_ref()));
    let first: Vec<String> = first.collect();
    match names.len().saturating_sub(MOST) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
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
