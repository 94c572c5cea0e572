//! Byte-level BPE, `tokenizer.ggml.model` = `gpt2`.

use serde_json::{Value, json};

use super::Gguf;
use super::pre_tokenizer::{DEFAULT, PreTokenizer};
use super::tokenizer::Parts;
use crate::checkpoint::CheckpointError;

const MERGES: &str = "tokenizer.ggml.merges";
const PRE: &str = "tokenizer.ggml.pre";

/// What depends on the kind of tokenizer.
///
/// # Errors
/// `Field` for an unknown way to split text, `MissingField` without merges, `Gguf` for malformed
/// ones.
pub(super) fn parts(gguf: &Gguf) -> Result<Parts<'_>, CheckpointError> {
    let name = gguf.text(PRE)?;
    let pre_tokenizer = PreTokenizer::named(name.unwrap_or(DEFAULT)).ok_or_else(|| {
        let expected = format!(
            "one of {}; or put a tokenizer.json beside the file",
            PreTokenizer::names()
        );
        gguf.wrong(PRE, &expected)
    })?;
    let note = name.is_none().then(|| {
        format!(
            "`{PRE}` is missing: text is split by llama.cpp's `{DEFAULT}` rule; a tokenizer.json \
             beside the file would take precedence"
        )
    });
    let merges = gguf.texts(MERGES)?;
    let merges = merges.ok_or_else(|| gguf.wrong(MERGES, "pairs of tokens"))?;
    let pairs = merges.into_iter().enumerate().map(|(index, pair)| {
        // A token may begin with a space only where tokens are not spelt in bytes.
        pair.split_once(' ').ok_or_else(|| {
            gguf.refused(format!(
                "`{MERGES}`: element {index}, `{pair}`, is not two tokens with a space between"
            ))
        })
    });
    let splits = pre_tokenizer.splits.iter().map(|split| {
        json!({
            "type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": false,
        })
    });
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
    });
    let steps: Vec<Value> = splits.chain([bytes.clone()]).collect();
    Ok(Parts {
        normalizer: Value::Null,
        pre_tokenizer: json!({"type": "Sequence", "pretokenizers": steps}),
        decoder: bytes,
        unknown: None,
        has_byte_fallback: false,
        ignores_merges: pre_tokenizer.ignores_merges,
        merges: pairs.collect::<Result<_, _>>()?,
        adds_bos: pre_tokenizer.adds_bos,
        notes: note.into_iter().collect(),
    })
}
