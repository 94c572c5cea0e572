//! The tokenizer in the metadata of a GGUF file, as a tokenizer.json and a tokenizer_config.json.

use std::collections::HashMap;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{Entry, Gguf, bpe, sentencepiece};
use crate::checkpoint::CheckpointError;

const MODEL: &str = "tokenizer.ggml.model";
pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
/// Further tokens that end a text: a turn, a message.
const OTHER_ENDS: [&str; 2] = ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

/// The two files.
pub(in crate::checkpoint) struct Files {
    /// tokenizer.json.
    pub tokenizer: Vec<u8>,
    /// tokenizer_config.json.
    pub config: Vec<u8>,
    /// How they were made, where that is not obvious.
    pub notes: Vec<String>,
}

/// The kind of a token, by llama.cpp's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Formed by merging.
    Normal,
    /// Stands for what has no token.
    Unknown,
    /// Found in the text as a whole, and left out of decoded text.
    Control,
    /// Found in the text as a whole.
    UserDefined,
    /// Never produced.
    Unused,
    /// One byte, for text without other tokens.
    Byte,
}

/// The tokens in the order of their ids.
pub(super) struct Vocabulary<'a> {
    pub tokens: Vec<&'a str>,
    pub kinds: Vec<Kind>,
    pub ids: HashMap<&'a str, u32>,
}

/// The parts of a tokenizer.json that depend on the kind of tokenizer.
pub(super) struct Parts<'a> {
    pub normalizer: Value,
    pub pre_tokenizer: Value,
    pub decoder: Value,
    pub unknown: Option<&'a str>,
    pub has_byte_fallback: bool,
    pub ignores_merges: bool,
    /// Pairs of tokens in the order of merging.
    pub merges: Vec<(&'a str, &'a str)>,
    /// Whether a begin-of-text token is added unless metadata say otherwise.
    pub adds_bos: bool,
    /// How they were chosen, where that is not obvious.
    pub notes: Vec<String>,
}

/// Whether the metadata have a tokenizer.
pub(in crate::checkpoint) fn has_one(gguf: &Gguf) -> bool {
    gguf.value(MODEL)
        .is_some_and(|model| model != "no_vocab" && model != "none")
}

/// The tokenizer.
///
/// # Errors
/// `Field` and `MissingField` for an unknown kind and for absent or malformed metadata; `Gguf`.
pub(in crate::checkpoint) fn files(gguf: &Gguf) -> Result<Files, CheckpointError> {
    let vocabulary = Vocabulary::of(gguf)?;
    let parts = match gguf.text(MODEL)? {
        Some("gpt2") => bpe::parts(gguf)?,
        Some("llama") => sentencepiece::parts(gguf, &vocabulary)?,
        _ => {
            let expected = "\"gpt2\" (byte-level BPE) or \"llama\" (SentencePiece); or put a \
                tokenizer.json beside the file";
            return Err(gguf.wrong(MODEL, expected));
        }
    };
    let id = |key| special_id(gguf, key, vocabulary.tokens.len());
    let (bos, eos) = (id(BOS), id(EOS));
    let (adds_bos, adds_eos) = (
        gguf.flag(ADD_BOS, parts.adds_bos)?,
        gguf.flag(ADD_EOS, false)?,
    );
    let required = |adds: bool, key, id: Option<u32>| match id {
        None if adds => Err(gguf.wrong(key, "the id of a token, as it is added to every text")),
        id => Ok(id.filter(|_| adds)),
    };
    let around = [required(adds_bos, BOS, bos)?, required(adds_eos, EOS, eos)?];
    let token = |id: Option<u32>| id.map(|id| vocabulary.tokens[id as usize]);
    let mut config = json!({
        "bos_token": token(bos), "eos_token": token(eos), "unk_token": token(id(UNKNOWN)),
        "chat_template": gguf.value(CHAT_TEMPLATE), "clean_up_tokenization_spaces": false,
    });
    if gguf.is_llama() {
        // transformers 4 takes the class of the architecture, which adds BOS whatever the metadata
        // say.
        config["tokenizer_class"] = json!("LlamaTokenizer");
    } else {
        config["tokenizer_class"] = json!("PreTrainedTokenizerFast");
        config["add_bos_token"] = adds_bos.into();
        config["add_eos_token"] = adds_eos.into();
    }
    let json = Json {
        version: "1.0",
        truncation: None,
        padding: None,
        added_tokens: vocabulary.added([bos, eos].into_iter().flatten().collect()),
        normalizer: parts.normalizer,
        pre_tokenizer: parts.pre_tokenizer,
        post_processor: vocabulary.template(around),
        decoder: parts.decoder,
        model: Model {
            kind: "BPE",
            dropout: None,
            unk_token: parts.unknown,
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: parts.unknown.is_some(),
            byte_fallback: parts.has_byte_fallback,
            ignore_merges: parts.ignores_merges,
            vocab: InOrder(&vocabulary.tokens),
            merges: parts.merges,
        },
    };
    let text = |json: serde_json::Result<Vec<u8>>| {
        json.map_err(|error| gguf.refused(format!("the tokenizer cannot be written: {error}")))
    };
    Ok(Files {
        tokenizer: text(serde_json::to_vec(&json))?,
        config: text(serde_json::to_vec(&config))?,
        notes: parts.notes,
    })
}

/// The fields of a config.json with special tokens: the begin-of-text token, and those that end a
/// text.
pub(super) fn special_ids(gguf: &Gguf) -> [(&'static str, Value); 2] {
    let limit = match gguf.metadata.get(TOKENS) {
        Some(Entry::Array(array)) => usize::try_from(array.count).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let mut ends: Vec<u32> = Vec::new();
    for key in [EOS].into_iter().chain(OTHER_ENDS) {
        let id = special_id(gguf, key, limit);
        ends.extend(id.filter(|id| !ends.contains(id)));
    }
    let ends = match ends.as_slice() {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    };
    let bos = special_id(gguf, BOS, limit);
    [("bos_token_id", json!(bos)), ("eos_token_id", ends)]
}

/// The id under a key. Without the key a SentencePiece tokenizer has llama.cpp's default; an id
/// that is no token means none.
fn special_id(gguf: &Gguf, key: &str, limit: usize) -> Option<u32> {
    let is_sentencepiece = gguf.value(MODEL).is_some_and(|model| model == "llama");
    let default = match key {
        UNKNOWN => Some(0),
        BOS => Some(1),
        EOS => Some(2),
        _ => None,
    };
    let id = match gguf.value(key) {
        None => default.filter(|_| is_sentencepiece),
        Some(id) => id.as_u64(),
    };
    let id = id.and_then(|id| u32::try_from(id).ok());
    id.filter(|&id| (id as usize) < limit)
}

impl<'a> Vocabulary<'a> {
    fn of(gguf: &'a Gguf) -> Result<Self, CheckpointError> {
        let tokens = gguf.texts(TOKENS)?;
        let tokens = tokens.ok_or_else(|| gguf.wrong(TOKENS, "the texts of all tokens"))?;
        let kinds = match gguf.numbers(TYPES)? {
            None => vec![Kind::Normal; tokens.len()],
            Some(kinds) if kinds.len() == tokens.len() => {
                kinds.into_iter().map(Kind::numbered).collect()
            }
            Some(_) => {
                let expected = format!("an array of {}, one for each token", tokens.len());
                return Err(gguf.wrong(TYPES, &expected));
            }
        };
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, &token) in tokens.iter().enumerate() {
            if token.is_empty() {
                continue;
            }
            if let Some(first) = ids.insert(token, id as u32) {
                return Err(gguf.refused(format!(
                    "`{TOKENS}`: ids {first} and {id} are both `{token}`; expected a text for \
                     each id"
                )));
            }
        }
        Ok(Self { tokens, kinds, ids })
    }

    /// The tokens that are found in a text as a whole; `special` are left out of decoded text.
    fn added(&self, special: Vec<u32>) -> Vec<Added<'a>> {
        let all = self.tokens.iter().zip(&self.kinds).enumerate();
        let added = all.filter_map(|(id, (content, kind))| {
            let id = id as u32;
            let is_special = match kind {
                Kind::Control | Kind::Unknown => true,
                Kind::UserDefined => special.contains(&id),
                Kind::Normal | Kind::Unused | Kind::Byte if special.contains(&id) => true,
                Kind::Normal | Kind::Unused | Kind::Byte => return None,
            };
            (!content.is_empty()).then_some(Added {
                id,
                content,
                single_word: false,
                lstrip: false,
                rstrip: false,
                normalized: false,
                special: is_special,
            })
        });
        added.collect()
    }

    /// The post-processor that puts tokens before and after a text.
    fn template(&self, around: [Option<u32>; 2]) -> Value {
        if around == [None; 2] {
            return Value::Null;
        }
        let [before, after] = around.map(|id| {
            let token = id.map(|id| self.tokens[id as usize]);
            token.map(|token| json!({"SpecialToken": {"id": token, "type_id": 0}}))
        });
        let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
        let wrapped = |id| {
            let parts = before.iter().cloned().chain([sequence(id)]);
            parts.chain(after.clone()).collect::<Vec<_>>()
        };
        let special = around.into_iter().flatten().map(|id| {
            let token = self.tokens[id as usize];
            (
                token.to_owned(),
                json!({"id": token, "ids": [id], "tokens": [token]}),
            )
        });
        json!({
            "type": "TemplateProcessing", "single": wrapped("A"),
            "pair": ([wrapped("A"), wrapped("B")].concat()),
            "special_tokens": special.collect::<serde_json::Map<_, _>>(),
        })
    }
}

impl Kind {
    /// Whether pieces of this kind are formed by merging. Those that are found as a whole are so,
    /// too, where they are spelt otherwise.
    pub(super) const fn is_merged(self) -> bool {
        matches!(self, Self::Normal | Self::UserDefined)
    }

    fn numbered(number: f64) -> Self {
        match number as i64 {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

/// A tokenizer.json.
#[derive(Serialize)]
struct Json<'a> {
    version: &'static str,
    truncation: Option<Value>,
    padding: Option<Value>,
    added_tokens: Vec<Added<'a>>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Model<'a>,
}

#[derive(Serialize)]
struct Added<'a> {
    id: u32,
    content: &'a str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

#[derive(Serialize)]
struct Model<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    dropout: Option<f32>,
    unk_token: Option<&'a str>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: InOrder<'a>,
    merges: Vec<(&'a str, &'a str)>,
}

/// A map from tokens to their ids, without those that have no text.
struct InOrder<'a>(&'a [&'a str]);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tokens = self.0.iter().zip(0u32..);
        serializer.collect_map(tokens.filter(|(token, _)| !token.is_empty()))
    }
}
