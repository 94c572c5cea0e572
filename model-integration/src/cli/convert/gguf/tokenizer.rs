//! A tokenizer.json as the metadata of a GGUF file.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::checkpoint::gguf_write::{Entry, Metadata, pre_tokenizer, pre_tokenizers};
use crate::checkpoint::{Checkpoint, Tokenizer};

/// llama.cpp's numbers of the kinds of tokens.
mod kind {
    pub const NORMAL: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const UNUSED: i32 = 5;
    pub const BYTE: i32 = 6;
}

/// Stands for a space in SentencePiece's tokens.
const SPACE: &str = "\u{2581}";
/// GPT-2's way to split text, in two spellings.
const GPT2: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const GPT2_LONG: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Texts on which the written tokenizer is compared with the original.
const TEXTS: [&str; 12] = [
    "Hello world, it's a test: they'll see 1234567 apples.",
    "  leading spaces, trailing spaces   ",
    "line one\nline two\n\n\nline three\r\n\ttab\t\ttabs",
    "I'D SAY it's WE'RE you've don't O'Neil",
    "3.14159 100,000 2024-11-29 12:34:56 0x7fff v1.2.3",
    "Ünïcödé, naïve café, Straße, Ελληνικά, русский язык",
    "日本語のテキスト、中文文本，한국어 텍스트",
    "emoji \u{1F600}\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467} and \u{0301}combining e\u{0301}",
    "fn main() { println!(\"{}\", x[0] + y->z); } // comment",
    "https://example.com/path?query=1&other=two#fragment user@host.org",
    "((( ...!!! --- *** ___ ``` $$$ %%% &&& @@@ ~~~ )))",
    "\u{a0}no-break\u{2003}em space\u{3000}wide",
];

/// The tokenizer's metadata; `template` is the chat template, if it has a file of its own.
///
/// # Errors
/// A tokenizer whose kind, or whose way to split text, GGUF does not have.
pub fn metadata(checkpoint: &Checkpoint) -> Result<Metadata> {
    let json: Value = serde_json::from_slice(checkpoint.tokenizer_json())
        .with_context(|| format!("tokenizer.json of {}", checkpoint.label()))?;
    let model = &json["model"];
    let found = model["type"].as_str().unwrap_or("no type");
    ensure!(
        found == "BPE",
        "tokenizer.json: its model is {found}; GGUF takes byte-level BPE and BPE of SentencePiece"
    );
    let vocabulary = Vocabulary::of(&json, checkpoint.config().vocab_size)?;
    let merges = merges(model)?;
    let is_byte_level = has(&json["pre_tokenizer"], "ByteLevel");
    let mut entries = match is_byte_level {
        true => byte_level(&json, &merges)?,
        false => sentencepiece(&json, &vocabulary, &merges)?,
    };
    let mut add = |name: &str, entry| entries.push((format!("tokenizer.ggml.{name}"), entry));
    add("tokens", Entry::Texts(vocabulary.tokens));
    add("token_type", Entry::I32s(vocabulary.kinds));

    let tokenizer = checkpoint.stored_tokenizer()?;
    let config = checkpoint.config();
    let (adds_bos, adds_eos) = added(&tokenizer)?;
    add("add_bos_token", Entry::Flag(adds_bos));
    add("add_eos_token", Entry::Flag(adds_eos));
    if let Some(bos) = tokenizer.bos().or(config.bos_token_id) {
        add("bos_token_id", Entry::U32(bos));
    }
    // Generation ends at the first of them; the tokenizer's own comes first.
    let own = tokenizer.eos();
    let others = config.eos_token_ids.iter().copied();
    let others = others.filter(|id| Some(*id) != own);
    let ends: Vec<u32> = own.into_iter().chain(others).collect();
    let keys = ["eos_token_id", "eot_token_id", "eom_token_id"];
    if ends.len() > keys.len() {
        bail!(
            "the model has {} end tokens ({ends:?}); a GGUF file names at most {}; leave some out \
             in config.json and generation_config.json",
            ends.len(),
            keys.len()
        );
    }
    for (name, id) in keys.into_iter().zip(ends) {
        add(name, Entry::U32(id));
    }
    let settings: Value = match checkpoint.tokenizer_config_json() {
        Some(json) => serde_json::from_slice(json).unwrap_or_default(),
        None => Value::Null,
    };
    for (field, name) in [
        ("unk_token", "unknown_token_id"),
        ("pad_token", "padding_token_id"),
    ] {
        let token = &settings[field];
        let token = token.as_str().or_else(|| token["content"].as_str());
        if let Some(id) = token.and_then(|token| vocabulary.ids.get(token)) {
            add(name, Entry::U32(*id));
        }
    }
    if let Some(template) = checkpoint.chat_template() {
        let template = Entry::Text(template.to_owned());
        entries.push(("tokenizer.chat_template".to_owned(), template));
    }
    Ok(entries)
}

/// Checks that two tokenizers give the same ids on sample texts.
///
/// # Errors
/// If they do not.
pub fn compare(original: &Tokenizer, written: &Tokenizer) -> Result<()> {
    for text in TEXTS {
        let (expected, found) = (original.encode(text, true)?, written.encode(text, true)?);
        ensure!(
            found == expected,
            "the tokenizer cannot be expressed in GGUF: `{text}` would have the tokens {found:?} \
             in place of {expected:?}; use another --to"
        );
    }
    Ok(())
}

/// The tokens in the order of their ids.
struct Vocabulary {
    tokens: Vec<String>,
    kinds: Vec<i32>,
    ids: HashMap<String, u32>,
}

impl Vocabulary {
    /// The tokens of a tokenizer.json, and names for rows of the embedding without a token.
    fn of(json: &Value, rows: usize) -> Result<Self> {
        let mut tokens: Vec<Option<(String, i32)>> = vec![None; rows];
        let mut set = |token: &str, id: Option<u64>, kind| -> Result<()> {
            let place = id.and_then(|id| tokens.get_mut(usize::try_from(id).ok()?));
            // A token beyond the embedding cannot be used.
            if let Some(place) = place {
                *place = Some((token.to_owned(), kind));
            }
            Ok(())
        };
        let unknown = json["model"]["unk_token"].as_str();
        let has_bytes = json["model"]["byte_fallback"].as_bool() == Some(true);
        let vocabulary = json["model"]["vocab"].as_object();
        let vocabulary = vocabulary.context("tokenizer.json: `model.vocab`: expected an object")?;
        for (token, id) in vocabulary {
            let kind = match has_bytes && is_byte(token) {
                true => kind::BYTE,
                false => kind::NORMAL,
            };
            set(token, id.as_u64(), kind)?;
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            let content = added["content"].as_str().unwrap_or_default();
            let kind = match added["special"].as_bool() {
                _ if Some(content) == unknown => kind::UNKNOWN,
                Some(true) => kind::CONTROL,
                _ => kind::USER_DEFINED,
            };
            set(content, added["id"].as_u64(), kind)?;
        }
        if let Some(unknown) = unknown {
            let id = vocabulary.get(unknown).and_then(Value::as_u64);
            set(unknown, id, kind::UNKNOWN)?;
        }
        let named = tokens.into_iter().enumerate();
        let named = named.map(|(id, token)| token.unwrap_or((format!("[PAD{id}]"), kind::UNUSED)));
        let (tokens, kinds): (Vec<String>, Vec<i32>) = named.unzip();
        let ids = tokens.iter().cloned().zip(0..).collect();
        Ok(Self { tokens, kinds, ids })
    }
}

/// Whether a token stands for a byte, as `<0x0A>`.
fn is_byte(token: &str) -> bool {
    let digits = token
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// The pairs of tokens in the order of merging.
fn merges(model: &Value) -> Result<Vec<(&str, &str)>> {
    let merges = model["merges"].as_array();
    let merges = merges.context("tokenizer.json: `model.merges`: expected an array")?;
    let pairs = merges.iter().map(pair).collect::<Option<Vec<_>>>();
    pairs.context("tokenizer.json: `model.merges`: expected pairs of tokens")
}

fn pair(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(pair) => pair.split_once(' '),
        Value::Array(pair) => match pair.as_slice() {
            [left, right] => Some((left.as_str()?, right.as_str()?)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a step of a pre-tokenizer, normaliser or decoder has this type.
fn has(step: &Value, kind: &str) -> bool {
    let mut parts = parts(step);
    step["type"] == kind || parts.any(|part| has(part, kind))
}

fn parts(step: &Value) -> impl Iterator<Item = &Value> {
    ["pretokenizers", "normalizers", "decoders", "processors"]
        .into_iter()
        .filter_map(|name| step[name].as_array())
        .flatten()
}

/// What is written for byte-level BPE.
fn byte_level(json: &Value, merges: &[(&str, &str)]) -> Result<Metadata> {
    let mut found = Vec::new();
    splits(&json["pre_tokenizer"], &mut found)?;
    let ignores_merges = json["model"]["ignore_merges"].as_bool() == Some(true);
    let name = pre_tokenizer(&found, ignores_merges).with_context(|| {
        let rule = if ignores_merges {
            " and ignore_merges"
        } else {
            ""
        };
        format!(
            "tokenizer.json splits text by {found:?}{rule}, for which llama.cpp has no name; it \
             has {}",
            pre_tokenizers()
        )
    })?;
    for (left, right) in merges {
        ensure!(
            !left.contains(' ') && !right.contains(' '),
            "tokenizer.json: the merge of `{left}` and `{right}` has a space, which separates them \
             in GGUF"
        );
    }
    let merges = merges.iter().map(|(left, right)| format!("{left} {right}"));
    Ok(vec![
        ("tokenizer.ggml.model".into(), Entry::Text("gpt2".into())),
        ("tokenizer.ggml.pre".into(), Entry::Text(name.to_owned())),
        (
            "tokenizer.ggml.merges".into(),
            Entry::Texts(merges.collect()),
        ),
    ])
}

/// The regular expressions by which text is split.
fn splits(step: &Value, found: &mut Vec<String>) -> Result<()> {
    match step["type"].as_str() {
        None if step.is_null() => {}
        Some("Sequence") => {
            for part in parts(step) {
                splits(part, found)?;
            }
        }
        Some("Split") if step["pattern"]["Regex"].is_string() => {
            let pattern = step["pattern"]["Regex"].as_str().unwrap_or_default();
            let pattern = if pattern == GPT2_LONG { GPT2 } else { pattern };
            found.push(pattern.to_owned());
        }
        Some("Digits") => found.push(match step["individual_digits"].as_bool() {
            Some(true) => r"\p{N}".to_owned(),
            _ => r"\p{N}+".to_owned(),
        }),
        Some("ByteLevel") if step["add_prefix_space"].as_bool() == Some(true) => {
            bail!("tokenizer.json adds a space before text (add_prefix_space), which GGUF does not")
        }
        Some("ByteLevel") => {
            if step["use_regex"].as_bool() != Some(false) {
                found.push(GPT2.to_owned());
            }
        }
        other => bail!(
            "tokenizer.json: pre-tokenizer {}; GGUF takes Split, Digits and ByteLevel",
            other.unwrap_or("without type")
        ),
    }
    Ok(())
}

/// What is written for BPE of SentencePiece.
fn sentencepiece(
    json: &Value,
    vocabulary: &Vocabulary,
    merges: &[(&str, &str)],
) -> Result<Metadata> {
    let (normalizer, pre_tokenizer) = (&json["normalizer"], &json["pre_tokenizer"]);
    let is_spaced = has(normalizer, "Replace") || has(pre_tokenizer, "Metaspace");
    let is_known = pre_tokenizer.is_null() || pre_tokenizer["type"] == "Metaspace";
    ensure!(
        is_spaced && is_known && json["model"]["byte_fallback"].as_bool() == Some(true),
        "tokenizer.json is neither byte-level BPE nor BPE of SentencePiece, with `{SPACE}` for a \
         space and byte_fallback; GGUF takes these two"
    );
    let scheme = pre_tokenizer["prepend_scheme"].as_str();
    let has_prefix = has(normalizer, "Prepend")
        || scheme.is_some_and(|scheme| scheme != "never")
        || scheme.is_none() && pre_tokenizer["add_prefix_space"].as_bool() == Some(true);
    // The pair whose union has the best score is merged first.
    let mut scores = vec![None; vocabulary.tokens.len()];
    for (rank, (left, right)) in merges.iter().enumerate() {
        let id = vocabulary.ids.get(&format!("{left}{right}"));
        if let Some(score) = id.and_then(|&id| scores.get_mut(id as usize)) {
            score.get_or_insert(-(rank as f32));
        }
    }
    let least = -(merges.len() as f32);
    let scores = scores.into_iter().zip(&vocabulary.kinds);
    let scores = scores.map(|(score, kind)| match (score, *kind) {
        (Some(score), _) => score,
        (None, kind::NORMAL) => least,
        (None, _) => 0.0,
    });
    Ok(vec![
        ("tokenizer.ggml.model".into(), Entry::Text("llama".into())),
        ("tokenizer.ggml.pre".into(), Entry::Text("default".into())),
        (
            "tokenizer.ggml.scores".into(),
            Entry::F32s(scores.collect()),
        ),
        (
            "tokenizer.ggml.add_space_prefix".into(),
            Entry::Flag(has_prefix),
        ),
    ])
}

/// Whether BOS is put before a text, and EOS after it.
fn added(tokenizer: &Tokenizer) -> Result<(bool, bool)> {
    let (with, without) = (tokenizer.encode("a", true)?, tokenizer.encode("a", false)?);
    let start = with.windows(without.len()).position(|part| part == without);
    let around = start.map(|start| (&with[..start], &with[start + without.len()..]));
    let is = |added: &[u32], token: Option<u32>| match added {
        [] => Some(false),
        [one] if Some(*one) == token => Some(true),
        _ => None,
    };
    let found = around.and_then(|(before, after)| {
        Some((is(before, tokenizer.bos())?, is(after, tokenizer.eos())?))
    });
    found.with_context(|| {
        format!(
            "the tokenizer encodes `a` as {with:?}; GGUF takes BOS before a text and EOS after it, \
             or neither"
        )
    })
}
