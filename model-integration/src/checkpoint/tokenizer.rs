//! `tokenizer.json`, read with the `tokenizers` crate and checked against the vocabulary.

use std::path::{Path, PathBuf};

use super::CheckpointError;
use super::fields::{Fields, parse_object};
use super::tokenizer_json::{self, contain};

/// The settings in `tokenizer_config.json`; all absent if the file is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenizerConfig {
    /// Whether the model expects a begin-of-text token. Informative only: [`Tokenizer::encode`]
    /// follows the post-processor of `tokenizer.json`.
    pub add_bos_token: Option<bool>,
    /// Content of the begin-of-text token.
    pub bos_token: Option<String>,
    /// Content of the end-of-text token.
    pub eos_token: Option<String>,
    /// Longest input in tokens, if it is a real limit.
    pub model_max_length: Option<usize>,
}

impl TokenizerConfig {
    /// Reads the four fields from `json`; `file` is for messages.
    pub(super) fn parse(json: &[u8], file: &Path) -> Result<Self, CheckpointError> {
        let object = parse_object(json, file)?;
        let fields = Fields::new(file, &object);
        Ok(Self {
            add_bos_token: match fields.get("add_bos_token") {
                None => None,
                Some(_) => Some(fields.flag("add_bos_token", false)?),
            },
            bos_token: special_token(fields, "bos_token")?,
            eos_token: special_token(fields, "eos_token")?,
            model_max_length: max_length(fields)?,
        })
    }
}

/// A special token: its content, or an object with `content` (an `AddedToken`).
fn special_token(fields: Fields, name: &str) -> Result<Option<String>, CheckpointError> {
    let Some(value) = fields.get(name) else {
        return Ok(None);
    };
    let content = value.get("content").unwrap_or(value).as_str();
    content
        .map(|content| Some(content.to_owned()))
        .ok_or_else(|| fields.error(name, "a string, or an object with a string `content`"))
}

/// transformers writes 10^30 for "no limit".
fn max_length(fields: Fields) -> Result<Option<usize>, CheckpointError> {
    const NO_LIMIT: f64 = 1e15;
    let name = "model_max_length";
    match fields.positive(name, f64::MAX)? {
        Some(length) if length >= NO_LIMIT => Ok(None),
        Some(length) if length.fract() == 0.0 => Ok(Some(length as usize)),
        Some(_) => Err(fields.error(name, "a whole number of tokens")),
        None => Ok(None),
    }
}

/// Text to token ids and back. Every id it produces has a row in the embedding.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    file: PathBuf,
    vocab_size: usize,
    bos: Option<u32>,
    eos: Option<u32>,
    config: TokenizerConfig,
}

impl Tokenizer {
    /// Builds the tokenizer of `json`, for an embedding of `vocab_size` rows. `files` are
    /// tokenizer.json and tokenizer_config.json, for messages. Truncation and padding in the file
    /// are ignored, as in transformers: an evaluation must see every token.
    ///
    /// # Errors
    /// `Tokenizer`, `TokenBeyondVocabulary`, `UnknownSpecialToken`.
    pub(super) fn parse(
        json: &[u8],
        config: TokenizerConfig,
        files: (&Path, &Path),
        vocab_size: usize,
    ) -> Result<Self, CheckpointError> {
        let (file, config_file) = files;
        let unusable = |reason: String| CheckpointError::Tokenizer {
            file: file.to_owned(),
            reason,
        };
        let mut inner = tokenizer_json::build(json).map_err(unusable)?;
        inner
            .with_truncation(None)
            .map_err(|error| unusable(error.to_string()))?
            .with_padding(None);

        let largest = inner.get_vocab(true).into_iter().max_by_key(|(_, id)| *id);
        let Some((token, id)) = largest else {
            return Err(unusable("its vocabulary is empty".to_owned()));
        };
        if id as usize >= vocab_size {
            return Err(CheckpointError::TokenBeyondVocabulary {
                file: file.to_owned(),
                token,
                id,
                vocab_size,
            });
        }
        let look_up = |field: &'static str, token: &Option<String>| match token {
            None => Ok(None),
            Some(token) => inner.token_to_id(token).map(Some).ok_or_else(|| {
                CheckpointError::UnknownSpecialToken {
                    file: config_file.to_owned(),
                    field,
                    token: token.clone(),
                }
            }),
        };
        let bos = look_up("bos_token", &config.bos_token)?;
        let eos = look_up("eos_token", &config.eos_token)?;
        Ok(Self {
            inner,
            file: file.to_owned(),
            vocab_size,
            bos,
            eos,
            config,
        })
    }

    /// Takes the ids of `config.json` if `tokenizer_config.json` names no token.
    pub(super) fn with_default_special_tokens(self, bos: Option<u32>, eos: Option<u32>) -> Self {
        Self {
            bos: self.bos.or(bos),
            eos: self.eos.or(eos),
            ..self
        }
    }

    /// Token ids of `text`. With `add_special_tokens` the post-processor adds its tokens, usually a
    /// begin-of-text token.
    ///
    /// # Errors
    /// `Tokenize` if the model has no token for a part of the text, or the post-processor
    /// inserts an id that the embedding lacks.
    pub fn encode(
        &self,
        text: &str,
        add_special_tokens: bool,
    ) -> Result<Vec<u32>, CheckpointError> {
        let encoding = contain(|| self.inner.encode_fast(text, add_special_tokens))
            .map_err(|reason| self.failed("encoding", reason))?;
        let ids = encoding.get_ids();
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            let reason = format!("token id {id} is not below vocab_size {}", self.vocab_size);
            return Err(self.failed("encoding", reason));
        }
        Ok(ids.to_vec())
    }

    /// Text of `ids`. Ids without a token are skipped.
    ///
    /// # Errors
    /// `Tokenize` if the file's decoder fails.
    pub fn decode(
        &self,
        ids: &[u32],
        skip_special_tokens: bool,
    ) -> Result<String, CheckpointError> {
        contain(|| self.inner.decode(ids, skip_special_tokens))
            .map_err(|reason| self.failed("decoding", reason))
    }

    /// Rows of the embedding; every id is below it.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The begin-of-text token: of `tokenizer_config.json`, else of `config.json`.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The end-of-text token: of `tokenizer_config.json`, else the first of `config.json`.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The token that stands for an empty context: begin-of-text, else end-of-text, as in
    /// lm-evaluation-harness.
    pub fn prefix_token(&self) -> Option<u32> {
        self.bos.or(self.eos)
    }

    /// The settings in `tokenizer_config.json`.
    pub fn config(&self) -> &TokenizerConfig {
        &self.config
    }

    fn failed(&self, action: &'static str, reason: String) -> CheckpointError {
        CheckpointError::Tokenize {
            file: self.file.clone(),
            action,
            reason,
        }
    }
}
