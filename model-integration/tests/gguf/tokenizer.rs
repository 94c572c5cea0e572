//! The tokenizer in the metadata.

use std::fs;

use mxlab::checkpoint::{SpecialTokens, Tokenizer};

use super::writer::{File, Meta};
use super::{open, open_in, refusal, small};

const PRE: &str = "tokenizer.ggml.pre";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const MODEL: &str = "tokenizer.ggml.model";

fn tokenizer(file: &File) -> Tokenizer {
    open(file)
        .expect("a model")
        .tokenizer()
        .expect("a tokenizer")
}

fn text(value: &str) -> Meta {
    Meta::Text(value.to_owned())
}

#[test]
fn text_is_split_by_the_named_rule() {
    let mut file = small();
    let by_file = |file: &File| {
        let checkpoint = open(file).expect("a model");
        let checkpoint = checkpoint.with_special_tokens(SpecialTokens::TokenizerJson);
        checkpoint.tokenizer().expect("a tokenizer")
    };
    let ids = |file: &File, text| by_file(file).encode(text, true).expect("ids");
    let [one, two] = ['1', '2'].map(|digit| u32::from(digit) - u32::from('!'));
    // `12` is a token of its own, unless digits are split first.
    assert_eq!(ids(&file, "12he"), [257, 256]);
    file.set(PRE, text("smollm"));
    assert_eq!(ids(&file, "12he"), [one, two, 256]);
    // Begin-of-text by default.
    file.set(PRE, text("llama-bpe"));
    assert_eq!(ids(&file, "12he"), [258, 257, 256]);
    file.set(ADD_BOS, Meta::Bool(false));
    file.set("tokenizer.ggml.add_eos_token", Meta::Bool(true));
    assert_eq!(ids(&file, "12<|turn|>"), [257, 260, 259]);
    // transformers 4 adds it whatever the file says; transformers 5 and llama.cpp follow the file.
    let tokenizer = tokenizer(&file);
    let of_class = tokenizer.encode("12<|turn|>", true).expect("ids");
    assert_eq!(of_class, [258, 257, 260]);
    let notes = tokenizer.notes().join("\n");
    assert!(notes.contains("the GGUF file"), "{notes}");
    assert!(notes.contains("--special-tokens tokenizer-json"), "{notes}");
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(258), Some(259)));
    assert_eq!(
        tokenizer.decode(&[257, 260, 256], true).expect("text"),
        "12he"
    );
}

/// Every rule is a regular expression that the tokenizer takes, and loses nothing.
#[test]
fn every_rule_can_be_used() {
    let mut file = small();
    file.set(ADD_BOS, Meta::Bool(false));
    file.set(PRE, text("no such rule"));
    let message = refusal(&file);
    let (_, names) = message
        .split_once("is \"no such rule\"; expected one of ")
        .expect("names");
    let (names, remedy) = names.split_once(';').expect("a remedy");
    assert_eq!(remedy, " or put a tokenizer.json beside the file");
    let names: Vec<&str> = names.split(", ").collect();
    assert!(names.len() > 50, "{names:?}");
    let sample =
        "It's 1234567 HelloWORLD, McCarthy's\n\n  数字12と３、 ДА \u{2003}½ e\u{301} <|turn|>!/";
    for name in names {
        file.set(PRE, text(name));
        let tokenizer = tokenizer(&file);
        let ids = tokenizer.encode(sample, false).expect(name);
        assert_eq!(tokenizer.decode(&ids, false).expect(name), sample, "{name}");
    }
}

#[test]
fn what_is_not_obvious_is_noted() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = small();
    file.remove(PRE);
    let checkpoint = open_in(folder.path(), &file).expect("a model");
    let notes = checkpoint.notes().join("\n");
    assert!(notes.contains("`tokenizer.ggml.pre` is missing"), "{notes}");
    // What is beside the file is used.
    fs::write(
        folder.path().join("tokenizer.json"),
        checkpoint.tokenizer_json(),
    )
    .expect("writable");
    file.set(PRE, text("no such rule"));
    let checkpoint = open_in(folder.path(), &file).expect("a model");
    let notes = checkpoint.notes().join("\n");
    assert!(
        notes.contains("tokenizer.json, which takes precedence"),
        "{notes}"
    );
    assert!(checkpoint.tokenizer().is_ok());
}

/// Pieces with scores: the best union is merged first, and bytes stand for what has no piece.
fn sentencepiece() -> File {
    let mut file = small();
    let mut tokens: Vec<(String, f32, i32)> = vec![
        ("<unk>".to_owned(), 0.0, 2),
        ("<s>".to_owned(), 0.0, 3),
        ("</s>".to_owned(), 0.0, 3),
    ];
    tokens.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), 0.0, 6)));
    let pieces = [
        ("\u{2581}", -9.0),
        ("a", -9.0),
        ("b", -9.0),
        ("c", -9.0),
        ("ab", -2.0),
        ("bc", -1.0),
        ("\u{2581}a", -3.0),
        ("abc", -4.0),
    ];
    tokens.extend(pieces.map(|(piece, score)| (piece.to_owned(), score, 1)));
    tokens.push(("[tool]".to_owned(), 0.0, 4));
    file.set(MODEL, text("llama"));
    for key in [PRE, "tokenizer.ggml.merges", "tokenizer.ggml.bos_token_id"] {
        file.remove(key);
    }
    file.set("tokenizer.ggml.eos_token_id", Meta::U32(2));
    let texts = tokens.iter().map(|(text, ..)| text.clone());
    file.set("tokenizer.ggml.tokens", Meta::Texts(texts.collect()));
    let scores = tokens.iter().map(|(_, score, _)| *score);
    file.set("tokenizer.ggml.scores", Meta::F32s(scores.collect()));
    let kinds = tokens.iter().map(|(.., kind)| *kind);
    file.set("tokenizer.ggml.token_type", Meta::I32s(kinds.collect()));
    file
}

#[test]
fn pieces_are_merged_by_their_scores() {
    const FIRST: u32 = 259;
    let mut file = sentencepiece();
    let byte = |byte: u8| u32::from(byte) + 3;
    let checks = |file: &File, checks: &[(&str, &[u32])]| {
        let tokenizer = tokenizer(file);
        for (text, expected) in checks {
            assert_eq!(
                tokenizer.encode(text, false).expect("ids"),
                *expected,
                "{text:?}"
            );
            assert_eq!(tokenizer.decode(expected, false).expect("text"), *text);
        }
    };
    let [space, a, bc, space_a, abc] = [0, 1, 5, 6, 7].map(|piece| FIRST + piece);
    checks(
        &file,
        &[
            // `bc` before `ab`, then `▁a` before `abc`; both together are no piece.
            ("abc", &[space_a, bc]),
            (" abc", &[space, space_a, bc]),
            ("é", &[space, byte(0xC3), byte(0xA9)]),
        ],
    );
    let with_bos = tokenizer(&file).encode("a", true).expect("ids");
    assert_eq!(with_bos, [1, space_a]);
    let whole = tokenizer(&file).encode("a[tool]a", false).expect("ids");
    assert_eq!(whole, [space_a, FIRST + 8, space_a]);
    file.set("tokenizer.ggml.add_space_prefix", Meta::Bool(false));
    checks(&file, &[("abc", &[abc]), ("a abc", &[a, space_a, bc])]);

    file.set("tokenizer.ggml.scores", Meta::F32s(vec![0.0; 3]));
    let message = refusal(&file);
    assert!(
        message.contains("scores` is an array of 3; expected an array of 268"),
        "{message}"
    );
}
