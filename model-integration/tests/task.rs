//! Tasks: how a line becomes a prompt and a target, and what is said about lines that do not.

use not_run::not_run;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mxlab::engine::Tokenize;
use mxlab::task::{
    Content, DataSources, Encoded, FewShot, PromptEncoder, Sampler, Task, file, jsonl, named,
};

use crate::toy;
use toy::{BOS, CharTokenizer};

fn load(name: &str, sources: &DataSources) -> anyhow::Result<Task> {
    named::load(name, &FewShot::default(), sources)
}

fn parse(content: &str) -> Task {
    jsonl::parse("toy", "toy.jsonl", content.as_bytes()).expect("a well-formed task")
}

fn split(content: &str) -> (String, String) {
    let Content::Cloze { context, target } = parse(content).examples.remove(0).content else {
        panic!("{content} is no cloze");
    };
    (context, target)
}

#[test]
fn the_target_is_what_follows_the_last_single_space() {
    for (line, context, target) in [
        (r#"{"text": "the cat sat"}"#, "the cat", " sat"),
        (r#"{"text": "two  spaces"}"#, "two ", " spaces"),
        (r#"{"text": "said:\n\"no\nmore"}"#, "", ""),
        (
            r#"{"text": "the end\nof it\nall"}"#,
            "the end\nof",
            " it\nall",
        ),
        (r#"{"text": "a trailing "}"#, "a trailing", " "),
        (r#"{"text": " first"}"#, "", " first"),
        (
            r#"{"text": "non\u00a0breaking space"}"#,
            "non\u{a0}breaking",
            " space",
        ),
        (r#"{"context": "as", "target": "is", "id": 7}"#, "as", "is"),
        (r#"{"context": "", "target": "is"}"#, "", "is"),
    ] {
        if target.is_empty() {
            assert!(jsonl::parse("toy", "toy.jsonl", line.as_bytes()).is_err());
        } else {
            assert_eq!(split(line), (context.into(), target.into()), "{line}");
        }
    }
}

#[test]
fn malformed_files_are_named_with_line_and_field() {
    let good = r#"{"text": "a b"}"#;
    let cases: &[(&[u8], &str)] = &[
        (b"", "`bad.jsonl` has no examples"),
        (b"\n  \n\n", "`bad.jsonl` has no examples"),
        (b"{\"text\": \"a b\"", "line 1: not a JSON object: EOF"),
        (
            b"{\"text\": \"a b}",
            "line 1: not a JSON object: EOF while parsing a string",
        ),
        (
            b"[\"a b\"]",
            "line 1: not a JSON object: invalid type: sequence",
        ),
        (
            b"\"a b\"",
            "line 1: not a JSON object: invalid type: string",
        ),
        (b"null", "line 1: not a JSON object"),
        (b"nonsense", "line 1: not a JSON object: expected"),
        (
            b"{\"text\": \"a b\"} {}",
            "line 1: not a JSON object: trailing characters",
        ),
        (
            b"{\"text\": \"a\tb c\"}",
            "line 1: not a JSON object: control character",
        ),
        (b"{\"text\": \"\\ud800 b\"}", "line 1: not a JSON object"),
        (b"{}", "line 1: field `text`: missing"),
        (b"{\"Text\": \"a b\"}", "line 1: field `text`: missing"),
        (b"{\"text\": 3}", "line 1: field `text`: not a string"),
        (b"{\"text\": null}", "line 1: field `text`: not a string"),
        (b"{\"text\": \"\"}", "line 1: field `text`: has no space"),
        (
            b"{\"text\": \"word\"}",
            "line 1: field `text`: has no space",
        ),
        (
            b"{\"text\": \"tab\\tonly\"}",
            "line 1: field `text`: has no space",
        ),
        (b"{\"context\": \"a\"}", "line 1: field `target`: missing"),
        (b"{\"target\": \"a\"}", "line 1: field `context`: missing"),
        (
            b"{\"context\": \"a\", \"target\": \"\"}",
            "line 1: field `target`: empty",
        ),
        (
            b"{\"context\": [], \"target\": \"a\"}",
            "line 1: field `context`: not a string",
        ),
        (b"{\"text\": \"a \xff\"}", "line 1: not UTF-8"),
        (b"\x1f\x8b\x08\x00", "line 1: not UTF-8"),
        (b"\xff\xfe{\x00", "line 1: not UTF-8"),
    ];
    for (content, expected) in cases {
        let shown = String::from_utf8_lossy(content);
        let error = jsonl::parse("bad", "bad.jsonl", content)
            .expect_err(&shown)
            .to_string();
        assert!(
            error.contains("`bad.jsonl`") && error.contains(expected),
            "{shown}: {error}"
        );

        // The same fault after two good lines and a blank one is reported at its own line.
        let later = [format!("{good}\r\n{good}\n\n").as_bytes(), content].concat();
        let expected = expected.replace("line 1", "line 4");
        if let Err(error) = jsonl::parse("bad", "bad.jsonl", &later) {
            assert!(error.to_string().contains(&expected), "{shown}: {error}");
        } else {
            assert!(expected.contains("no examples"), "{shown}");
        }
    }
}

fn sources<'a>(
    data_dir: Option<&'a Path>,
    hub_file: &'a dyn Fn(&str, &str) -> anyhow::Result<PathBuf>,
) -> DataSources<'a> {
    DataSources {
        data_dir,
        embedded: r#"{"text": "an embedded word"}"#,
        hub_file,
    }
}

#[test]
fn tasks_are_found_by_name_by_path_and_on_the_hub() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let downloaded = directory.path().join("elsewhere.jsonl");
    std::fs::write(&downloaded, r#"{"text": "from the hub"}"#).expect("writable");
    let hub = |repository: &str, file: &str| {
        assert_eq!(repository, "EleutherAI/lambada_openai");
        assert_eq!(file, "data/lambada_test.jsonl");
        Ok(downloaded.clone())
    };
    let offline = |_: &str, _: &str| Err(anyhow::anyhow!("there is no network"));

    let task = load("embedded", &sources(None, &offline)).expect("embedded");
    assert_eq!((task.name.as_str(), task.examples.len()), ("embedded", 1));

    let task = load("lambada_openai", &sources(Some(directory.path()), &hub)).expect("hub");
    assert_eq!(task.name, "lambada_openai");
    assert_eq!(task.examples[0].content.solution(), " hub");

    let error =
        load("lambada_openai", &sources(Some(directory.path()), &offline)).expect_err("no network");
    let error = format!("{error:#}");
    for part in ["lambada_test.jsonl", "--data-dir", "no network"] {
        assert!(error.contains(part), "{error}");
    }

    let local = directory.path().join("lambada_test.jsonl");
    std::fs::write(&local, r#"{"text": "from the disk"}"#).expect("writable");
    let task = load("lambada_openai", &sources(Some(directory.path()), &offline)).expect("local");
    assert_eq!(task.examples[0].content.solution(), " disk");

    let path = downloaded.to_str().expect("UTF-8");
    let task = load(path, &sources(None, &offline)).expect("path");
    assert_eq!(
        (task.name.as_str(), task.source.as_str()),
        ("elsewhere", path)
    );

    let error = load("lambada", &sources(None, &offline)).expect_err("unknown");
    assert!(
        error.to_string().contains("embedded, lambada_openai"),
        "{error}"
    );
    let error = load("missing.jsonl", &sources(None, &offline)).expect_err("missing");
    assert!(error.to_string().contains("`missing.jsonl`"), "{error}");
    let directory = directory.path().to_str().expect("UTF-8");
    let error = load(directory, &sources(None, &offline)).expect_err("a directory");
    assert!(error.to_string().contains(directory), "{error}");
}

fn encode(context: &str, target: &str, add_bos_token: Option<bool>, max_length: usize) -> Encoded {
    let encoder = PromptEncoder {
        tokenizer: &CharTokenizer::default(),
        add_bos_token,
        max_length,
    };
    encoder.encode(context, target).expect("encodable")
}

/// Tokens of the whole request, and those of its target.
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
    // Spaces that end the context go to the continuation: one token, not a lone space.
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
    // A text that spells it out gets no second one.
    for choice in [None, Some(true), Some(false)] {
        assert_eq!(tokens("<s>a", " b", choice).0, with, "{choice:?}");
    }
    // A tokenizer that adds none by itself.
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
    // A target that begins with it needs no other.
    assert_eq!(
        tokens("", "<s>b", None),
        (vec![BOS, plain('b')], vec![plain('b')])
    );
    // A context of spaces only is moved to the target as a whole.
    assert_eq!(
        tokens(" ", "b", Some(false)),
        (vec![BOS, joined('b')], vec![joined('b')])
    );
}

#[test]
fn what_does_not_fit_is_dropped_from_the_left_and_counted() {
    // BOS, a, b, c, then the target d: 5 tokens, of which the last is no input.
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

#[test]
fn fewshot_examples_are_rendered_and_never_the_scored_one() {
    let task = parse(
        "{\"text\": \"one fish\"}\n{\"text\": \"two fish\"}\n{\"text\": \"one fish\"}\n\
         {\"text\": \"red fish\"}\n",
    );
    let first = |count, pool| FewShot {
        count,
        pool,
        sampler: Sampler::FirstN,
    };
    let context = |count, index: usize| {
        first(Some(count), None)
            .contexts(&task)
            .nth(index)
            .expect("an example")
    };
    assert_eq!(context(0, 0).expect("none"), "one");
    // The target's own space follows the delimiter's, as lm-evaluation-harness renders it.
    assert_eq!(context(1, 1).expect("one"), "one  fish\n\ntwo");
    assert_eq!(context(2, 3).expect("two"), "one  fish\n\ntwo  fish\n\nred");
    // The first line is left out, and so is the third, which equals it.
    assert_eq!(context(2, 0).expect("two"), "two  fish\n\nred  fish\n\none");
    let error = context(3, 0).expect_err("too few differ");
    assert!(
        error
            .to_string()
            .contains("2 examples that differ from line 1"),
        "{error}"
    );
    assert!(first(Some(4), None).check(&task).is_err());
    assert!(first(Some(3), None).check(&task).is_ok());

    let pool = parse(r#"{"context": "Q", "target": "A"}"#);
    assert!(first(Some(2), Some(pool.clone())).check(&task).is_err());
    let one = first(Some(1), Some(pool));
    let drawn = FewShot {
        sampler: Sampler::Default,
        ..one.clone()
    };
    for shots in [one, drawn] {
        assert!(shots.check(&task).is_ok());
        let contexts: Result<Vec<_>, _> = shots.contexts(&task).collect();
        assert_eq!(contexts.expect("all")[0], "Q A\n\none");
    }

    // However the draws fall, neither the scored example nor its equal is before it.
    let drawn = FewShot {
        count: Some(2),
        ..FewShot::default()
    };
    let mut seen = BTreeSet::new();
    for round in 0..8 {
        let many = parse(
            &"{\"text\": \"one fish\"}\n{\"text\": \"two fish\"}\n{\"text\": \"red fish\"}\n"
                .repeat(1 + round),
        );
        for (context, example) in drawn.contexts(&many).zip(&many.examples) {
            let context = context.expect("two differ");
            let scored = example.content.context();
            assert_eq!(context.matches(scored).count(), 1, "{context}");
            seen.insert(context);
        }
    }
    assert!(seen.len() > 6, "other examples for each: {seen:?}");
}

/// The independent reference gives the tokens of the first fifty prompts of each task.
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
            let task = file::read(&file).expect("a task");
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
