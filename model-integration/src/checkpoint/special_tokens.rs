//! Which special tokens a text gets: what `tokenizer_config.json` says of them, and the rules of
//! the tokenizer classes of transformers 4.
//!
//! `tokenizer_config.json` and the post-processor of `tokenizer.json` may disagree. transformers 4
//! has classes that follow the former, in [`CLASSES`]; transformers 5 follows the latter.

use std::path::Path;

use clap::ValueEnum;
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::CheckpointError;
use super::fields::{Fields, parse_object};

/// Which of two files that disagree about BOS and EOS is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SpecialTokens {
    /// tokenizer_config.json, as the tokenizer classes of transformers 4 do
    #[default]
    #[value(name = "transformers-4")]
    Transformers4,
    /// The post-processor of tokenizer.json, as transformers 5 does
    #[value(name = "tokenizer-json")]
    TokenizerJson,
}

/// What a file says of a special token.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Named {
    /// Nothing: the default of the class.
    #[default]
    Unsaid,
    /// There is none.
    No,
    /// This one.
    Token(AddedToken),
}

/// The settings in `tokenizer_config.json`; all absent if the file is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenizerConfig {
    /// `tokenizer_class`, without `Fast`.
    pub class: Option<String>,
    /// Whether a text begins with BOS.
    pub add_bos_token: Option<bool>,
    /// Whether a text ends with EOS.
    pub add_eos_token: Option<bool>,
    /// BOS.
    pub bos_token: Named,
    /// EOS.
    pub eos_token: Named,
    /// The token of unknown text.
    pub unk_token: Named,
    /// `added_tokens_decoder`, in the order of ids: added to tokenizer.json's, or replacing them.
    pub listed: Vec<AddedToken>,
    /// Whether a byte-level pre-tokenizer puts a space before a text: false if nothing is said,
    /// `None` for null, which leaves it to tokenizer.json.
    pub add_prefix_space: Option<bool>,
    /// Whether the settings are those of a GGUF file, for messages.
    pub is_gguf: bool,
    /// The chat template, if there is one: the default of several.
    pub chat_template: Option<String>,
    /// Name and text of each special token that is named.
    pub texts: Vec<(String, String)>,
    /// All special tokens, which are added where tokenizer.json has none of that text.
    pub special: Vec<AddedToken>,
}

/// Fields that name a special token, in transformers' order.
const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

impl TokenizerConfig {
    /// Reads a `tokenizer_config.json`; `file` is for messages. `map` has text and path of a
    /// `special_tokens_map.json`. It counts unless the config lists its added tokens, as in
    /// transformers.
    ///
    /// # Errors
    /// `Json` and `Field`.
    pub(super) fn parse(
        json: &[u8],
        file: &Path,
        map: Option<(&[u8], &Path)>,
    ) -> Result<Self, CheckpointError> {
        let object = parse_object(json, file)?;
        let fields = Fields::new(file, &object);
        let listed = listed(fields)?;
        let map_object = match map {
            Some((json, file)) if listed.is_none() => Some((parse_object(json, file)?, file)),
            _ => None,
        };
        let map = map_object
            .as_ref()
            .map(|(object, file)| Fields::new(file, object));
        // A value of the map replaces that of the config.
        let token = |name: &str| match map.filter(|map| map.has_key(name)) {
            Some(map) => named(map, name),
            None => named(fields, name),
        };
        let mut special = Vec::new();
        let mut texts = Vec::new();
        for name in NAMES {
            if let Named::Token(token) = token(name)? {
                texts.push((name.to_owned(), token.content.clone()));
                special.push(token);
            }
        }
        for fields in [Some(fields), map].into_iter().flatten() {
            let more = fields
                .get("additional_special_tokens")
                .and_then(Value::as_array);
            for value in more.into_iter().flatten() {
                let expected = "strings, or objects with a string `content`";
                let token = added_token(value, true);
                let wrong = || fields.error("additional_special_tokens", expected);
                special.push(token.ok_or_else(wrong)?);
            }
        }
        let class = fields.text("tokenizer_class")?;
        Ok(Self {
            class: class.map(|class| class.strip_suffix("Fast").unwrap_or(class).to_owned()),
            chat_template: chat_template(fields)?,
            texts,
            add_bos_token: flag(fields, "add_bos_token")?,
            add_eos_token: flag(fields, "add_eos_token")?,
            bos_token: token("bos_token")?,
            eos_token: token("eos_token")?,
            unk_token: token("unk_token")?,
            add_prefix_space: match fields.get("add_prefix_space") {
                None if fields.has_key("add_prefix_space") => None,
                _ => Some(fields.flag("add_prefix_space", false)?),
            },
            listed: listed.unwrap_or_default(),
            is_gguf: false,
            special,
        })
    }
}

/// A template, or a list of named ones, of which `default` counts.
fn chat_template(fields: Fields) -> Result<Option<String>, CheckpointError> {
    let name = "chat_template";
    let expected = || {
        fields.error(
            name,
            "a text, or a list of {\"name\": ..., \"template\": ...}",
        )
    };
    match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Array(named)) => {
            let mut default = None;
            for one in named {
                let (Some(name), Some(text)) = (one["name"].as_str(), one["template"].as_str())
                else {
                    return Err(expected());
                };
                if name == "default" {
                    default = Some(text.to_owned());
                }
            }
            Ok(default)
        }
        Some(_) => Err(expected()),
    }
}

/// Null means false; an absent key has the default of the class.
fn flag(fields: Fields, name: &str) -> Result<Option<bool>, CheckpointError> {
    let value = fields.flag(name, false)?;
    Ok(fields.has_key(name).then_some(value))
}

fn named(fields: Fields, name: &str) -> Result<Named, CheckpointError> {
    let Some(value) = fields.get(name) else {
        let is_said = fields.has_key(name);
        return Ok(if is_said { Named::No } else { Named::Unsaid });
    };
    let token = added_token(value, true).map(Named::Token);
    token.ok_or_else(|| fields.error(name, "a string, or an object with a string `content`"))
}

/// A token as its text, or as an object of its text and properties.
fn added_token(value: &Value, is_special: bool) -> Option<AddedToken> {
    let object = match value {
        Value::String(text) => return Some(AddedToken::from(text, is_special)),
        Value::Object(object) => object,
        _ => return None,
    };
    let flag = |name: &str| object.get(name).and_then(Value::as_bool);
    let token = AddedToken::from(
        object.get("content")?.as_str()?,
        flag("special").unwrap_or(is_special),
    );
    let normalized = flag("normalized").unwrap_or(token.normalized);
    Some(
        token
            .normalized(normalized)
            .single_word(flag("single_word") == Some(true))
            .lstrip(flag("lstrip") == Some(true))
            .rstrip(flag("rstrip") == Some(true)),
    )
}

/// `added_tokens_decoder`, in the order of ids.
fn listed(fields: Fields) -> Result<Option<Vec<AddedToken>>, CheckpointError> {
    const FIELD: &str = "added_tokens_decoder";
    let wrong = || fields.error(FIELD, "an object of id -> token");
    let Some(value) = fields.get(FIELD) else {
        return Ok(None);
    };
    let object: &Map<String, Value> = value.as_object().ok_or_else(wrong)?;
    let mut tokens = object
        .iter()
        .map(|(id, value)| Some((id.parse::<u64>().ok()?, added_token(value, false)?)))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(wrong)?;
    tokens.sort_by_key(|(id, _)| *id);
    Ok(Some(tokens.into_iter().map(|(_, token)| token).collect()))
}

/// A tokenizer class of transformers 4.
pub(super) struct Class {
    pub name: &'static str,
    /// Whether the class adds BOS, where nothing is said, and follows `add_bos_token` and
    /// `add_eos_token`. `None` for a class that follows tokenizer.json.
    pub adds_bos: Option<bool>,
    /// BOS, where nothing is said.
    pub bos: Option<&'static str>,
    /// EOS, where nothing is said.
    pub eos: Option<&'static str>,
    /// The token of unknown text, where nothing is said.
    pub unk: Option<&'static str>,
}

impl Class {
    const fn new(
        name: &'static str,
        adds_bos: Option<bool>,
        [bos, eos, unk]: [&'static str; 3],
    ) -> Self {
        let (bos, eos, unk) = (Some(bos), Some(eos), Some(unk));
        Self {
            name,
            adds_bos,
            bos,
            eos,
            unk,
        }
    }

    /// Whether a class, by its name, sets `add_prefix_space` of a byte-level pre-tokenizer.
    pub(super) fn sets_prefix_space(name: &str) -> bool {
        // A LlamaTokenizer for which it is said is made from tokenizer.model instead.
        let is_known = name == "PreTrainedTokenizer" || Self::named(name).is_some();
        is_known && name != "LlamaTokenizer"
    }

    /// The class of a name without `Fast`.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        CLASSES.iter().find(|class| class.name == name)
    }
}

const LLAMA: [&str; 3] = ["<s>", "</s>", "<unk>"];
const END_OF_TEXT: [&str; 3] = ["<|endoftext|>"; 3];

/// Classes with rules or defaults of their own, as in transformers 4.57.
#[rustfmt::skip]
const CLASSES: &[Class] = &[
    Class::new("LlamaTokenizer", Some(true), LLAMA),
    Class::new("CodeLlamaTokenizer", Some(true), LLAMA),
    Class::new("GemmaTokenizer", Some(true), ["<bos>", "<eos>", "<unk>"]),
    Class::new("CohereTokenizer", Some(true), ["<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>"]),
    Class::new("GPTNeoXTokenizer", Some(false), END_OF_TEXT),
    Class::new("GPT2Tokenizer", None, END_OF_TEXT),
    Class::new("CodeGenTokenizer", None, END_OF_TEXT),
    Class { bos: None, ..Class::new("Qwen2Tokenizer", None, END_OF_TEXT) },
    Class::new("BloomTokenizer", None, LLAMA),
];
