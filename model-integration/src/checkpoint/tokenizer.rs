//! `tokenizer.json`, read with the `tokenizers` crate and checked against the vocabulary.

use std::path::{Path, PathBuf};

use tokenizers::{AddedToken, PreTokenizerWrapper};

use super::special_tokens::{Class, Named, SpecialTokens, TokenizerConfig};
use super::tokenizer_json::{self, contain};
use super::{CheckpointError, shortened};
use crate::chat::{ChatError, ChatTemplate, Message};

/// Text to token ids and back.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    file: PathBuf,
    vocab_size: usize,
    bos: Option<u32>,
    eos: Option<u32>,
    /// The special tokens before and after a text, where they are not those of tokenizer.json.
    around: Option<Around>,
    chat: Option<ChatTemplate>,
    notes: Vec<String>,
}

/// Ids before and after a text.
#[derive(Clone, Debug, Default, PartialEq)]
struct Around {
    before: Vec<u32>,
    after: Vec<u32>,
}

impl Tokenizer {
    /// Builds the tokenizer of `json`, for an embedding of `vocab_size` rows; `file` is for
    /// messages. Truncation and padding in the file are ignored, as in transformers: an evaluation
    /// must see every token. Special tokens that only `config` names are added to the vocabulary,
    /// as in transformers.
    ///
    /// # Errors
    /// `Tokenizer`.
    pub(super) fn parse(
        json: &[u8],
        config: &TokenizerConfig,
        file: &Path,
        vocab_size: usize,
        rule: SpecialTokens,
    ) -> Result<Self, CheckpointError> {
        let unusable = |reason: String| CheckpointError::Tokenizer {
            file: file.to_owned(),
            reason,
        };
        let mut inner = tokenizer_json::build(json).map_err(unusable)?;
        inner
            .with_truncation(None)
            .map_err(|error| unusable(error.to_string()))?
            .with_padding(None);
        if inner.get_vocab_size(true) == 0 {
            return Err(unusable("its vocabulary is empty".to_owned()));
        }
        contain(|| inner.add_tokens(config.listed.clone())).map_err(unusable)?;
        let known = inner.get_added_tokens_decoder();
        let is_new =
            |token: &&AddedToken| known.values().all(|other| other.content != token.content);
        let new: Vec<AddedToken> = config.special.iter().filter(is_new).cloned().collect();
        contain(|| inner.add_tokens(new)).map_err(unusable)?;

        let mut vocabulary: Vec<(u32, String)> = inner
            .get_vocab(true)
            .into_iter()
            .filter_map(|(token, id)| (id as usize >= vocab_size).then_some((id, token)))
            .collect();
        vocabulary.sort_unstable();
        let mut tokenizer = Self {
            inner,
            file: file.to_owned(),
            vocab_size,
            bos: None,
            eos: None,
            around: None,
            chat: config.chat_template.as_ref().map(|text| ChatTemplate {
                text: text.clone(),
                special_tokens: config.texts.clone(),
            }),
            notes: Vec::new(),
        };
        if !vocabulary.is_empty() {
            let tokens: Vec<String> = vocabulary.into_iter().map(|(_, token)| token).collect();
            let have = if tokens.len() == 1 {
                "token has"
            } else {
                "tokens have"
            };
            tokenizer.notes.push(format!(
                "{} {have} no row in the embedding, which has {vocab_size}: {}; a text with one is \
                 refused",
                tokens.len(),
                shortened(&tokens)
            ));
        }
        tokenizer.choose_special_tokens(config, rule);
        tokenizer.choose_prefix_space(config, rule);
        Ok(tokenizer)
    }

    /// The classes of transformers 4 set whether a byte-level pre-tokenizer puts a space before a
    /// text, whatever tokenizer.json says.
    fn choose_prefix_space(&mut self, config: &TokenizerConfig, rule: SpecialTokens) {
        let sets_it = config
            .class
            .as_deref()
            .is_some_and(Class::sets_prefix_space);
        let (Some(PreTokenizerWrapper::ByteLevel(bytes)), Some(said)) =
            (self.inner.get_pre_tokenizer(), config.add_prefix_space)
        else {
            return;
        };
        let own = bytes.add_prefix_space;
        if own == said || !sets_it || rule != SpecialTokens::Transformers4 {
            return;
        }
        let bytes = bytes.add_prefix_space(said);
        self.inner.with_pre_tokenizer(Some(bytes));
        self.notes.push(format!(
            "add_prefix_space: {said} by tokenizer_config.json, {own} by tokenizer.json. The \
             former holds, as in transformers 4; --special-tokens tokenizer-json takes the latter"
        ));
    }

    /// Finds BOS and EOS, and what surrounds a text.
    fn choose_special_tokens(&mut self, config: &TokenizerConfig, rule: SpecialTokens) {
        let class = config.class.as_deref().and_then(Class::named);
        let defaults = class.filter(|_| rule == SpecialTokens::Transformers4);
        let unk = self.id(
            &config.unk_token,
            defaults.and_then(|class| class.unk),
            None,
        );
        self.bos = self.id(&config.bos_token, defaults.and_then(|class| class.bos), unk);
        self.eos = self.id(&config.eos_token, defaults.and_then(|class| class.eos), unk);

        let Some((class, Some(adds_bos))) = class.map(|class| (class, class.adds_bos)) else {
            return;
        };
        let adds_bos = config.add_bos_token.unwrap_or(adds_bos);
        let adds_eos = config.add_eos_token.unwrap_or(false);
        let bos = self
            .id(&config.bos_token, class.bos, unk)
            .filter(|_| adds_bos);
        let eos = self
            .id(&config.eos_token, class.eos, unk)
            .filter(|_| adds_eos);
        if (adds_bos && bos.is_none()) || (adds_eos && eos.is_none()) {
            // The class would add a token that no file names, or refuse its config.
            return;
        }
        let by_class = Around {
            before: bos.into_iter().collect(),
            after: eos.into_iter().collect(),
        };
        let by_file = self.around_by_file();
        if by_class == by_file {
            return;
        }
        let [class_words, file_words] = [&by_class, &by_file].map(|around| self.words(around));
        let name = class.name;
        let [of_class, of_file] = match config.is_gguf {
            true => ["the architecture's class", "the GGUF file"],
            false => ["tokenizer_config.json", "tokenizer.json"],
        };
        let by_class_words = format!(
            "{of_class} ({name}, add_bos_token {adds_bos}, add_eos_token {adds_eos}) \
             puts {class_words}"
        );
        self.notes.push(match rule {
            SpecialTokens::Transformers4 => format!(
                "BOS and EOS: {by_class_words}, {of_file} {file_words}. The former holds, as \
                 in transformers 4; --special-tokens tokenizer-json takes the latter, as \
                 transformers 5 does"
            ),
            SpecialTokens::TokenizerJson => format!(
                "BOS and EOS: {by_class_words}, {of_file} {file_words}. The latter holds, as \
                 in transformers 5; --special-tokens transformers-4 takes the former"
            ),
        });
        if rule == SpecialTokens::Transformers4 {
            self.around = Some(by_class);
        }
    }

    /// The id of a special token: the one that is named, else `default` if the vocabulary has it.
    /// An empty text stands for `unknown`, as in transformers.
    fn id(&self, named: &Named, default: Option<&str>, unknown: Option<u32>) -> Option<u32> {
        match named {
            Named::No => None,
            Named::Token(token) => self.inner.token_to_id(&token.content).or(unknown),
            Named::Unsaid => self.inner.token_to_id(default?),
        }
    }

    /// What the post-processor of tokenizer.json puts around a text.
    fn around_by_file(&self) -> Around {
        let ids = |special| {
            let encoding = contain(|| self.inner.encode_fast("a", special));
            encoding.map_or_else(|_| Vec::new(), |encoding| encoding.get_ids().to_vec())
        };
        let (with, text) = (ids(true), ids(false));
        let added = with.len().saturating_sub(text.len());
        let starts = (0..=added).find(|&start| with[start..].starts_with(&text));
        let (before, rest) = with.split_at(starts.unwrap_or(0));
        Around {
            before: before.to_vec(),
            after: rest[text.len().min(rest.len())..].to_vec(),
        }
    }

    /// Tokens around a text, for a message.
    fn words(&self, around: &Around) -> String {
        let side = |ids: &[u32], place: &str| {
            let tokens = ids.iter().map(|&id| {
                let token = self.inner.id_to_token(id);
                format!("`{}`", token.unwrap_or_else(|| id.to_string()))
            });
            let tokens: Vec<String> = tokens.collect();
            (!ids.is_empty()).then(|| format!("{} {place} a text", tokens.join(" ")))
        };
        let sides = [side(&around.before, "before"), side(&around.after, "after")];
        let sides: Vec<String> = sides.into_iter().flatten().collect();
        match sides.is_empty() {
            true => "nothing around a text".to_owned(),
            false => sides.join(" and "),
        }
    }

    /// Takes the ids of `config.json` if the tokenizer has neither BOS nor EOS.
    pub(super) fn with_default_special_tokens(self, bos: Option<u32>, eos: Option<u32>) -> Self {
        match (self.bos, self.eos) {
            (None, None) => Self { bos, eos, ..self },
            _ => self,
        }
    }

    /// How the files were read, where that is not obvious; for the head of the table.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Token ids of `text`. With `add_special_tokens` those before and after it are added, usually
    /// BOS.
    ///
    /// # Errors
    /// `Tokenize` if the model has no token for a part of the text, `TokenBeyondVocabulary` if the
    /// embedding has none for a token.
    pub fn encode(
        &self,
        text: &str,
        add_special_tokens: bool,
    ) -> Result<Vec<u32>, CheckpointError> {
        let around = self.around.as_ref().filter(|_| add_special_tokens);
        let by_file = add_special_tokens && around.is_none();
        let encoding = contain(|| self.inner.encode_fast(text, by_file))
            .map_err(|reason| self.failed("encoding", reason))?;
        let ids = match around {
            Some(Around { before, after }) => [before, encoding.get_ids(), after].concat(),
            None => encoding.get_ids().to_vec(),
        };
        match ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            Some(&id) => Err(CheckpointError::TokenBeyondVocabulary {
                file: self.file.clone(),
                token: self.inner.id_to_token(id).unwrap_or_default(),
                id,
                vocab_size: self.vocab_size,
            }),
            None => Ok(ids),
        }
    }

    /// The text of a chat, up to where the assistant's answer begins; it has all special tokens.
    ///
    /// # Errors
    /// [`ChatError`].
    pub fn chat(&self, messages: &[Message]) -> Result<String, ChatError> {
        let mut template = self.chat.clone().ok_or(ChatError::Absent)?;
        for (name, id) in [("bos_token", self.bos), ("eos_token", self.eos)] {
            let is_named = template
                .special_tokens
                .iter()
                .any(|(known, _)| known == name);
            if let Some(text) = id
                .and_then(|id| self.inner.id_to_token(id))
                .filter(|_| !is_named)
            {
                template.special_tokens.push((name.to_owned(), text));
            }
        }
        template.render(messages)
    }

    /// The chat template, if the model has one.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat.as_ref().map(|template| template.text.as_str())
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

    /// The begin-of-text token; it may have no row in the embedding.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The end-of-text token; it may have no row in the embedding.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The token that stands for an empty context: the tokenizer's BOS, else its EOS, as in
    /// lm-evaluation-harness.
    pub fn prefix_token(&self) -> Option<u32> {
        self.bos.or(self.eos)
    }

    fn failed(&self, action: &'static str, reason: String) -> CheckpointError {
        CheckpointError::Tokenize {
            file: self.file.clone(),
            action,
            reason,
        }
    }
}
