//! Opens models: directories, GGUF files, models in the binary, generated ones.

use std::fs;
use std::path::{Path, PathBuf};

use mxlab_kernels::format::FloatType;

use super::config::{Parsed, text_model};
use super::encoding::Encoding;
use super::fields::{self, Fields};
use super::folder::{self, Folder};
use super::gguf::{self, Gguf};
use super::weights::{self, Weights};
use super::{
    CHAT_TEMPLATE_FILE, CONFIG_FILE, Checkpoint, CheckpointError, GENERATION_FILE, MODELOPT_FILE,
    SPECIAL_TOKENS_FILE, SpecialTokens, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, TokenizerConfig,
    file, synthetic, unused,
};
use crate::description::ModelConfig;
use crate::description::parameters::{Parameter, Role, outer_name, parameters};

/// What precedes the names of a text model's tensors beside those for images, and what does in a
/// text model alone.
const TEXT_MODELS: [(&str, &str); 2] =
    [("language_model.", ""), ("model.language_model.", "model.")];

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
        let path = dir.join(CONFIG_FILE);
        let text_json = text_model(&config_json, &path)?;
        let has_images = text_json.is_some();
        let config_json = text_json.unwrap_or(config_json);
        let mut parsed = ModelConfig::parse(&config_json, &path)?;
        if let Some(json) = json(GENERATION_FILE)? {
            parsed
                .config
                .add_end_tokens(&json, &dir.join(GENERATION_FILE))?;
        }
        let modelopt_json = json(MODELOPT_FILE)?;
        if let Some(json) = &modelopt_json {
            let file = dir.join(MODELOPT_FILE);
            let object = fields::parse_object(json, &file)?;
            parsed.encoding = parsed.encoding.or_sidecar(Fields::new(&file, &object))?;
        }
        let mut tokenizer = tokenizer_files(&folder)?;
        let (_, settings, _) = &mut tokenizer;
        let class = parsed.config.architecture.tokenizer_class;
        settings.class.get_or_insert_with(|| class.to_owned());
        let mut weights = Weights::open(&folder)?;
        if has_images {
            for (from, to) in TEXT_MODELS {
                weights.name_also_with(from, to);
            }
        }
        let label = dir.display().to_string();
        let mut checkpoint = Self::new(label, dir, parsed, config_json, tokenizer, weights)?;
        checkpoint.notes.extend(folder.notes());
        if has_images {
            let note = "this is a model of text and images, of which the text model is read";
            checkpoint.notes.push(note.to_owned());
        }
        checkpoint.modelopt_json = modelopt_json;
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
                let mut config = TokenizerConfig::parse(&files.config, path, None)?;
                config.is_gguf = true;
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
    pub(super) fn made(
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
            let [head, embedding] =
                [Role::Head, Role::Embedding].map(|role| format!("{}.weight", outer_name(role)));
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
            modelopt_json: None,
            special_tokens: SpecialTokens::default(),
            encoding: parsed.encoding,
            weights,
            computation: None,
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
        let has = |parameter: &Parameter| {
            let whole = parameter.fused.iter().map(|whole| &whole.name);
            let mut names = whole.chain([&parameter.name]);
            names.any(|name| self.weights.find(name).is_some())
        };
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
    let mut config = TokenizerConfig::parse(settings, path, map)?;
    if let Some((text, path)) = read(CHAT_TEMPLATE_FILE, file::MAX_CONFIG_BYTES)? {
        let text =
            String::from_utf8(text).map_err(|_| CheckpointError::ChatTemplate { file: path })?;
        config.chat_template = Some(text);
    }
    Ok((tokenizer_json, config, json.map(|(json, _)| json)))
}
