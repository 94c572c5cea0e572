//! Builds a tokenizer from an untrusted `tokenizer.json`.
//!
//! The `tokenizers` crate trusts its files and panics on some malformed ones. Known cases are
//! checked first; [`contain`] turns other panics into errors.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The tokenizer of `json`, or what is wrong with it.
pub(super) fn build(json: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    let parts: Parts = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    if let Some(post_processor) = parts.post_processor {
        check_post_processor(&post_processor)?;
    }
    contain(|| tokenizers::Tokenizer::from_bytes(json))
}

/// Runs a call into the crate; a panic in it becomes an error.
pub(super) fn contain<T, E: ToString>(call: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    // A tokenizer is not used after a panic, so its invariants do not matter.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(panic) => Err(format!(
            "the tokenizers crate panicked: {}",
            reason(&*panic)
        )),
    }
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no reason given",
    }
}

/// The file's parts; parsing them finds any syntax error.
#[derive(Deserialize)]
struct Parts {
    #[serde(rename = "normalizer")]
    _normalizer: Option<Value>,
    #[serde(rename = "pre_tokenizer")]
    _pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    #[serde(rename = "decoder")]
    _decoder: Option<Value>,
    #[serde(rename = "model")]
    _model: IgnoredAny,
}

/// The fields of a `TemplateProcessing` that refer to each other.
#[derive(Deserialize)]
struct Template {
    single: Vec<Piece>,
    special_tokens: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
enum Piece {
    Sequence { id: String },
    SpecialToken { id: String },
}

/// Every template of one sequence must use that sequence, and only defined special tokens.
fn check_post_processor(value: &Value) -> Result<(), String> {
    if let Some(Value::Array(processors)) = value.get("processors") {
        return processors.iter().try_for_each(check_post_processor);
    }
    // Recognised by its fields, as in the crate, because `type` may be missing.
    if value.get("single").is_none() {
        return Ok(());
    }
    let template =
        Template::deserialize(value).map_err(|error| format!("post_processor: {error}"))?;
    for piece in &template.single {
        match piece {
            Piece::Sequence { id } if id == "A" => {}
            Piece::Sequence { id } => {
                return Err(format!(
                    "post_processor.single uses sequence `{id}`; expected `A`"
                ));
            }
            Piece::SpecialToken { id } if template.special_tokens.contains_key(id) => {}
            Piece::SpecialToken { id } => {
                return Err(format!(
                    "post_processor.single uses `{id}`, which post_processor.special_tokens lacks"
                ));
            }
        }
    }
    if !template
        .single
        .iter()
        .any(|piece| matches!(piece, Piece::Sequence { .. }))
    {
        return Err("post_processor.single drops the text: it has no sequence `A`".to_owned());
    }
    Ok(())
}
