//! Tokenises contexts and targets: truncation, BOS, windows.

use std::path::{Path, PathBuf};

use mxlab::engine::{Request, Tokenize};
use mxlab::excerpt::Excerpt;
use mxlab::task::{Encoded, PromptEncoder, file};
use not_run::not_run;

use crate::toy::{self, BOS, CharTokenizer};

fn encode(context: &str, target: &str, add_bos_token: Option<bool>, max_length: usize) -> Encoded {
    let encoder = PromptEncoder {
        tokenizer: &CharTokenizer::default(),
        add_bos_token,
        max_length,
    };
    encoder.encode(context, target).expect("encodable")
}

/// Tokens of the whole request, and of its target.
fn tokens(context: &str, target: &str, add_bos_token: Option<bool>) -> (Vec<u32>, Vec<u32>) {
    let request = encode(context, target, add_bos_token, 100).request;
    let targets = request.tokens[request.tokens.len() - request.targets..].to_vec();
    (request.tokens, targets)
}

/// The toy tokenizer joins a space with the letter after it, as BPE tokenizers do.
const fn joined(letter: char) -> u32 {
    toy::JOINED + letter as u32
}
const fn plain(letter: char) -> u32 {
    letter as u32
}

#[test]
fn the_continuation_is_what_the_whole_text_has_after_the_context() {
    let expected = vec![BOS, plain('a'), joined('b'), plain('c')];
    assert_eq!(
        tokens("a", " bc", None),
        (expected.clone(), expected[2..].to_vec())
    );
    // Trailing spaces of the context move to the target: one token, not a lone space.
    assert_eq!(
        tokens("a ", "bc", None),
        (expected.clone(), expected[2..].to_vec())
    );
    // So do line breaks, and the separator that only Python calls a space.
    for space in ["\n", "\u{1c}", "\u{a0}", "\t \n"] {
        let (_, targets) = tokens(&format!("a{space}"), "b", None);
        let characters = space.chars().count() + 1;
        assert_eq!(targets.len(), characters, "{space:?}");
    }
}

#[test]
fn bos_is_what_the_tokenizer_says_unless_forced() {
    let without = vec![plain('a'), joined('b')];
    let with = vec![BOS, plain('a'), joined('b')];
    assert_eq!(tokens("a", " b", None).0, with);
    assert_eq!(tokens("a", " b", Some(true)).0, with);
    assert_eq!(tokens("a", " b", Some(false)).0, without);
    // A text that begins with BOS gets no second one.
    for choice in [None, Some(true), Some(false)] {
        assert_eq!(tokens("<s>a", " b", choice).0, with, "{choice:?}");
    }
    // A tokenizer that adds no BOS itself.
    let encoder = |add_bos_token| PromptEncoder {
        tokenizer: &CharTokenizer { adds_bos: false },
        add_bos_token,
        max_length: 100,
    };
    let tokens = |choice| {
        encoder(choice)
            .encode("a", " b")
            .expect("encodable")
            .request
            .tokens
    };
    assert_eq!(tokens(None), without);
    assert_eq!(tokens(Some(true)), with);
}

#[test]
fn an_empty_context_is_the_prefix_token() {
    let expected = (
        vec![BOS, joined('b'), plain('c')],
        vec![joined('b'), plain('c')],
    );
    for choice in [None, Some(false), Some(true)] {
        assert_eq!(tokens("", " bc", choice), expected, "{choice:?}");
    }
    // A target that begins with BOS needs no other.
    assert_eq!(
        tokens("", "<s>b", None),
        (vec![BOS, plain('b')], vec![plain('b')])
    );
    // A context of spaces alone moves to the target as a whole.
    assert_eq!(
        tokens(" ", "b", Some(false)),
        (vec![BOS, joined('b')], vec![joined('b')])
    );
}

#[test]
fn what_does_not_fit_is_dropped_from_the_left_and_counted() {
    // BOS, a, b, c, then the target d: 5 tokens, the last of which is not an input.
    let whole = encode("abc", "d", None, 4);
    assert_eq!((whole.request.tokens.len(), whole.dropped_tokens), (5, 0));
    let cut = encode("abc", "d", None, 3);
    assert_eq!(cut.dropped_tokens, 1);
    assert_eq!(cut.request.tokens, ['a', 'b', 'c', 'd'].map(plain));
    assert_eq!(cut.request.targets, 1);

    let encoder = PromptEncoder {
        tokenizer: &CharTokenizer::default(),
        add_bos_token: None,
        max_length: 3,
    };
    let error = encoder.encode("abc", "defg").expect_err("too long");
    assert!(error.to_string().contains("4 tokens"), "{error}");
    let error = encoder.encode("abc", "").expect_err("no target");
    assert!(error.to_string().contains("no tokens"), "{error}");
}

/// Every token of a text is scored once, with the harness' context.
#[test]
fn windows_score_every_token_once() {
    let tokenizer = CharTokenizer { adds_bos: false };
    let encoder = PromptEncoder {
        tokenizer: &tokenizer,
        add_bos_token: None,
        max_length: 4,
    };
    let windows = |text: &str| {
        let requests = encoder.windows(text).expect("tokens");
        let window = |request: Request| {
            let letter = |&token: &u32| match token {
                BOS => '^',
                token => char::from_u32(token).expect("a letter"),
            };
            let (context, targets) = request
                .tokens
                .split_at(request.tokens.len() - request.targets);
            let text = |tokens: &[u32]| tokens.iter().map(letter).collect::<String>();
            (text(context), text(targets))
        };
        requests.into_iter().map(window).collect::<Vec<_>>()
    };
    let pair = |context: &str, targets: &str| (context.to_owned(), targets.to_owned());
    assert_eq!(windows("abc"), [pair("^", "abc")]);
    assert_eq!(windows("abcd"), [pair("^", "abcd")]);
    // The last window has as much context as fits.
    assert_eq!(windows("abcde"), [pair("^", "abcd"), pair("abcd", "e")]);
    assert_eq!(
        windows("abcdefghij"),
        [pair("^", "abcd"), pair("d", "efgh"), pair("fgh", "ij")]
    );
}

/// The independent reference has the same tokens for the first fifty prompts of each task.
#[test]
fn tokens_equal_those_of_the_reference() {
    let shared = std::env::var_os("MXLAB_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let mut compared = 0;
    for (model, max_length) in [("stories260k", 512), ("babyllama-tok361", 256)] {
        let directory = shared.join("models").join(model);
        let Ok(entries) = std::fs::read_dir(directory.join("reference")) else {
            not_run(&format!("tokens of {model}"), "MXLAB_SHARED");
            continue;
        };
        let tokenizer = tokenizers::Tokenizer::from_file(directory.join("tokenizer.json"))
            .expect("a tokenizer");
        for entry in entries {
            let path = entry.expect("readable").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let Some(task) = name.strip_suffix(".tokens_first50.json") else {
                continue;
            };
            let (stem, bos) = match task.strip_suffix("_nobos") {
                Some(stem) => (stem, Some(false)),
                None => (task, None),
            };
            let stem = stem.split("_first").next().expect("a stem");
            let file = [
                &directory,
                &shared.join("data"),
                &shared.join("models/stories260k"),
            ]
            .map(|directory| directory.join(format!("{stem}.jsonl")))
            .into_iter()
            .find(|path| path.exists());
            let Some(file) = file else {
                not_run(
                    &format!("tokens of {name}"),
                    &format!("the file {stem}.jsonl"),
                );
                continue;
            };
            let task = file::read(&Excerpt::whole(&file)).expect("a task");
            let encoder = PromptEncoder {
                tokenizer: &toy::Hf(tokenizer.clone()),
                add_bos_token: bos,
                max_length,
            };
            let reference: Vec<ReferenceTokens> =
                serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("tokens");
            for (example, reference) in task.examples.iter().zip(&reference) {
                let encoded = encoder
                    .encode(example.content.context(), example.content.solution())
                    .expect("encodable");
                let Encoded { request, .. } = encoded;
                let (inputs, last) = request.tokens.split_at(request.tokens.len() - 1);
                let line = example.line;
                assert_eq!(inputs, reference.inp, "{} line {line}", path.display());
                assert_eq!(Some(&last[0]), reference.cont.last(), "line {line}");
                assert_eq!(request.targets, reference.cont.len(), "line {line}");
                compared += 1;
            }
        }
    }
    println!("{compared} prompts compared");
}

#[derive(serde::Deserialize)]
struct ReferenceTokens {
    inp: Vec<u32>,
    cont: Vec<u32>,
}

#[test]
fn a_tokenizer_without_bos_is_told_of_where_one_is_needed() {
    struct NoBos;
    impl Tokenize for NoBos {
        fn encode(&self, text: &str, _: bool) -> anyhow::Result<Vec<u32>> {
            Ok(text.bytes().map(u32::from).collect())
        }
        fn decode(&self, _: &[u32]) -> anyhow::Result<String> {
            anyhow::bail!("not asked for")
        }

        fn prefix_token(&self) -> Option<(u32, String)> {
            None
        }
    }
    let encoder = |add_bos_token| PromptEncoder {
        tokenizer: &NoBos,
        add_bos_token,
        max_length: 9,
    };
    assert!(encoder(None).encode("a", "b").is_ok());
    let error = encoder(None).encode("", "b").expect_err("no context");
    assert!(error.to_string().contains("neither BOS nor EOS"), "{error}");
    let error = encoder(Some(true)).encode("a", "b").expect_err("no BOS");
    assert!(error.to_string().contains("--add-bos-token"), "{error}");
}
