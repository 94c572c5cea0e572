//! SentencePiece's BPE with scores, `tokenizer.ggml.model` = `llama`: the pair whose union has the
//! best score is merged first.

use serde_json::{Value, json};

use super::Gguf;
use super::tokenizer::{Kind, Parts, TOKENS, Vocabulary};
use crate::checkpoint::CheckpointError;

const SCORES: &str = "tokenizer.ggml.scores";
const ADD_SPACE: &str = "tokenizer.ggml.add_space_prefix";
/// Longest piece, in bytes: far above any, as each is divided in all ways.
const MAX_BYTES: usize = 512;
/// Stands for a space.
const SPACE: &str = "\u{2581}";

/// What depends on the kind of tokenizer.
///
/// # Errors
/// `MissingField` and `Field` for absent scores, or another number of them; `Gguf` for a piece that
/// is too long.
pub(super) fn parts<'a>(
    gguf: &'a Gguf,
    vocabulary: &Vocabulary<'a>,
) -> Result<Parts<'a>, CheckpointError> {
    let count = vocabulary.tokens.len();
    let scores = gguf.numbers(SCORES)?;
    let scores = scores
        .filter(|scores| scores.len() == count)
        .ok_or_else(|| {
            let expected = format!("an array of {count} numbers, one for each token");
            gguf.wrong(SCORES, &expected)
        })?;
    let is_long =
        |(id, token): &(usize, &&str)| vocabulary.kinds[*id].is_merged() && token.len() > MAX_BYTES;
    if let Some((id, token)) = vocabulary.tokens.iter().enumerate().find(is_long) {
        return Err(gguf.refused(format!(
            "`{TOKENS}`: the piece with id {id} has {} bytes; expected at most {MAX_BYTES}",
            token.len()
        )));
    }
    let has_prefix = gguf.flag(ADD_SPACE, true)?;
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let normalizer = match has_prefix {
        true => json!({
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": SPACE}, spaces],
        }),
        false => spaces,
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if has_prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let mut kinds = vocabulary.kinds.iter();
    let unknown = kinds.position(|kind| *kind == Kind::Unknown);
    Ok(Parts {
        normalizer,
        pre_tokenizer: Value::Null,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        unknown: unknown.map(|id| vocabulary.tokens[id]),
        has_byte_fallback: vocabulary.kinds.contains(&Kind::Byte),
        ignores_merges: false,
        merges: merges(vocabulary, &scores),
        adds_bos: true,
        notes: Vec::new(),
    })
}

/// All pairs of tokens whose union is a token, the best score first. Equal scores are in the order
/// that transformers gives them: longer parts first, then by ids.
fn merges<'a>(vocabulary: &Vocabulary<'a>, scores: &[f64]) -> Vec<(&'a str, &'a str)> {
    struct Merge<'a> {
        pair: (&'a str, &'a str),
        score: f64,
        lengths: (usize, usize),
        ids: (usize, u32, u32),
    }
    let is_merged = |id: u32| vocabulary.kinds[id as usize].is_merged();
    let find = |piece: &str| {
        vocabulary
            .ids
            .get(piece)
            .copied()
            .filter(|&id| is_merged(id))
    };
    let mut merges = Vec::new();
    for (id, &token) in vocabulary.tokens.iter().enumerate() {
        if !is_merged(id as u32) {
            continue;
        }
        let letters = token.chars().count();
        for (before, (at, _)) in token.char_indices().enumerate().skip(1) {
            let pair = token.split_at(at);
            if let (Some(left), Some(right)) = (find(pair.0), find(pair.1)) {
                merges.push(Merge {
                    pair,
                    score: scores[id],
                    lengths: (before, letters - before),
                    ids: (id, left, right),
                });
            }
        }
    }
    merges.sort_by(|a, b| {
        let better = b.score.total_cmp(&a.score).then(b.lengths.cmp(&a.lengths));
        better.then(a.ids.cmp(&b.ids))
    });
    merges.into_iter().map(|merge| merge.pair).collect()
}
