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
//! | `open.rs` | opening a directory, a GGUF file, a model in the binary |
//! | `config/` | config.json -> [`ModelConfig`] |
//! | `encoding/`, `packed.rs` | the tensors of a quantised matrix; its codes and scales |
//! | `decoded.rs` | matrices whose values are computed when they are read |
//! | `computed.rs` | models whose parameters are computed from those of another one |
//! | `gguf/` | GGUF: tensors, config and tokenizer of llama.cpp's files |
//! | `weights.rs`, `weight_file.rs`, `tensor.rs` | index and shards; one file; one tensor |
//! | `transposed.rs` | floats that are stored column by column |
//! | `unused.rs` | tensors that no parameter is |
//! | `folder.rs`, `foreign.rs` | directories of other layouts, files of other kinds |
//! | `tokenizer.rs`, `tokenizer_json.rs` | tokenizer.json -> [`Tokenizer`] |
//! | `special_tokens.rs` | tokenizer_config.json, and transformers' rules for BOS and EOS |
//! | `hub/` | names -> directories, downloading missing files |
//! | `synthetic.rs` | models of real shapes with random weights |
//! | `write.rs` | writing weights |
//! | `error.rs` | all errors |

pub mod computed;
mod config;
pub mod decoded;
pub mod encoding;
mod error;
mod fields;
mod file;
mod fingerprint;
mod folder;
pub mod foreign;
mod ggml_rows;
mod gguf;
pub mod hub;
mod open;
mod packed;
pub mod packed_file;
mod random_weights;
mod special_tokens;
pub mod synthetic;
mod tensor;
mod tensor_file;
mod tokenizer;
mod tokenizer_json;
mod transposed;
mod unused;
mod weight_file;
mod weights;
pub mod write;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use mxlab_kernels::format::{FloatType, Rotation};

pub use error::CheckpointError;
pub use folder::LayoutError;
pub use gguf::write as gguf_write;
pub use special_tokens::{Named, SpecialTokens, TokenizerConfig};
pub use tensor::TensorView;
pub use tensor_file::{StoredTensor, TensorFile};
pub use tokenizer::Tokenizer;

use crate::description::ModelConfig;
use crate::description::parameters::{Fused, Parameter, Parameters};
use computed::Computation;
use encoding::{Encoding, StoredInput};
use transposed::Transposed;
use weight_file::WeightFile;
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
/// Name of the optional chat template; it counts before that of the settings.
const CHAT_TEMPLATE_FILE: &str = "chat_template.jinja";
/// Name of the optional settings of generation.
const GENERATION_FILE: &str = "generation_config.json";

/// A model: config, tokenizer, and mapped weights.
pub struct Checkpoint {
    label: String,
    /// The file with the tokenizer, for messages; embedded and synthetic models have a stand-in for
    /// a directory.
    tokenizer_path: PathBuf,
    config: ModelConfig,
    parameters: Parameters,
    config_json: Vec<u8>,
    tokenizer_json: Vec<u8>,
    tokenizer_config: TokenizerConfig,
    tokenizer_config_json: Option<Vec<u8>>,
    /// The text of ModelOpt's file beside config.json, if it counts.
    modelopt_json: Option<Vec<u8>>,
    special_tokens: SpecialTokens,
    encoding: Encoding,
    weights: Weights,
    /// What makes parameters of those in the files; `None` if they are what is there.
    computation: Option<Arc<dyn Computation>>,
    notes: Vec<String>,
}

impl Checkpoint {
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

    /// The model's chat template, if it has one.
    pub fn chat_template(&self) -> Option<&str> {
        self.tokenizer_config.chat_template.as_deref()
    }

    /// The directory, or the name of an embedded model; for messages and records.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The same model under another label.
    pub(crate) fn with_label(self, label: String) -> Self {
        Self { label, ..self }
    }

    /// A digest that identifies the model: SHA-256 in hexadecimal over config.json, ModelOpt's file
    /// beside it, how parameters are computed if they are, tokenizer.json, the table of tensors, file
    /// sizes, and weights (all of them up to 64 MiB, beyond that 16 pages of every tensor). The
    /// location of the files is not included.
    pub fn fingerprint(&self) -> String {
        let made = self.computation.as_ref().map(|by| by.name().into_bytes());
        let said = [
            Some(&self.config_json),
            self.modelopt_json.as_ref(),
            made.as_ref(),
        ];
        let said: Vec<&[u8]> = said.into_iter().flatten().map(Vec::as_slice).collect();
        fingerprint::fingerprint(&said, &self.tokenizer_json, &self.weights)
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
        self.tokenizer_by(self.special_tokens)
    }

    /// The tokenizer that a GGUF file itself describes; of a directory, the same as
    /// [`Checkpoint::tokenizer`].
    ///
    /// # Errors
    /// `Tokenizer`.
    pub(crate) fn stored_tokenizer(&self) -> Result<Tokenizer, CheckpointError> {
        self.tokenizer_by(match self.tokenizer_config.is_gguf {
            true => SpecialTokens::TokenizerJson,
            false => self.special_tokens,
        })
    }

    fn tokenizer_by(&self, rule: SpecialTokens) -> Result<Tokenizer, CheckpointError> {
        let tokenizer = Tokenizer::parse(
            &self.tokenizer_json,
            &self.tokenizer_config,
            &self.tokenizer_path,
            self.config.vocab_size,
            rule,
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
        match &self.computation {
            None => self.stored_view(parameter),
            Some(by) => by.view(parameter, &|parameter| self.stored_view(parameter)),
        }
    }

    fn stored_view(&self, parameter: &Parameter) -> Result<TensorView, CheckpointError> {
        let Parameter { name, shape, .. } = parameter;
        if self.weights.is_gguf() {
            let stored = &parameter.gguf_name;
            // llama.cpp adds the biases that are there.
            let view = match parameter.is_bias && !self.contains(stored) {
                true => TensorView::zero(stored, shape),
                false => gguf::view(&self.weights, stored, shape)?,
            };
            let view = view.shifted(parameter.gguf_offset);
            return Ok(match parameter.gguf_interleaved {
                Some(head_dim) => view.deinterleaved(name, head_dim),
                None => view.part(name, 0..shape[0]),
            });
        }
        match self.whole(parameter) {
            Some(whole) => {
                let mut of_whole = shape.clone();
                of_whole[0] = whole.rows;
                let view = match whole.experts {
                    None => self.held(&whole.name, &of_whole)?,
                    Some(experts) => self.stack(&whole.name, &of_whole, experts)?,
                };
                Ok(view.spread(name, whole.first, whole.step, shape[0]))
            }
            None => self.held(name, shape),
        }
    }

    /// The matrices or biases of all experts `name`, as one matrix or one bias.
    fn stack(
        &self,
        name: &str,
        shape: &[usize],
        experts: usize,
    ) -> Result<TensorView, CheckpointError> {
        let of_one = shape[0] / experts;
        let &[rows, cols] = shape else {
            return Ok(self.held(name, &[experts, of_one])?.flattened());
        };
        if let Some(found) = self.encoding.find(&self.weights, name, [rows, cols])? {
            return Ok(found.view(name, [rows, cols]));
        }
        let stored = [experts, cols, of_one];
        let (file, tensor) = self.weights.required(name, &stored)?;
        let view = Self::float(&file, tensor, name, &stored)?;
        let dtype = view.dtype().unwrap_or(FloatType::F32);
        let matrix = [of_one, cols];
        let rows_of_all = Transposed::new(file, tensor, dtype, matrix);
        Ok(TensorView::of_transposed(name, [rows, cols], rows_of_all))
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
        let name = self.whole(weight).map_or(&weight.name, |whole| &whole.name);
        self.encoding.input(&self.weights, name, features)
    }

    /// The rotation of the rows of a projection's stored weight, and so of its input.
    ///
    /// # Errors
    /// `PackedFormat` if its file says none that exists.
    pub fn stored_rotation(&self, weight: &Parameter) -> Result<Option<Rotation>, CheckpointError> {
        match weight.projection() {
            Some(_) => encoding::stored_rotation(&self.weights, &weight.name),
            None => Ok(None),
        }
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
            if let Some(found) = self.encoding.find(&self.weights, name, shape)? {
                return Ok(found.view(name, shape));
            }
        }
        let (file, tensor) = match place {
            Some(place) => place,
            None => self.weights.required(name, shape)?,
        };
        Self::float(&file, tensor, name, shape)
    }

    /// A tensor of floats, checked for its shape.
    fn float(
        file: &Arc<WeightFile>,
        tensor: usize,
        name: &str,
        shape: &[usize],
    ) -> Result<TensorView, CheckpointError> {
        let found = &file.tensors()[tensor].1.shape;
        if found != shape {
            return Err(CheckpointError::Shape {
                file: file.path().to_owned(),
                tensor: name.to_owned(),
                expected: shape.to_owned(),
                found: found.clone(),
            });
        }
        TensorView::new(Arc::clone(file), tensor)
    }
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
