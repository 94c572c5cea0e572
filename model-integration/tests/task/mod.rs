//! Tasks: origins, prompts and targets, and refusals.

mod encode;
mod fewshot;
mod named;
mod shape;

use std::path::{Path, PathBuf};

use mxlab::task::{self, Content, DataSources, FewShot, Task, jsonl};

fn load(name: &str, sources: &DataSources) -> anyhow::Result<Task> {
    task::load(name, &FewShot::default(), sources)
}

pub fn parse(content: &str) -> Task {
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
    let cases: &[(&[u8], &str)] = &[
        (b"", "`bad.jsonl` has no examples"),
        (b"\n  \n\n", "`bad.jsonl` has no examples"),
        (b"{\"text\": \"a b\"", "line 1: not a JSON object: EOF"),
        (
            b"{\"text\": \"a b}",
            "not a JSON object: EOF while parsing a string",
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

        // The same fault after two good lines and a blank one is reported with its own line number.
        let good = match shown.contains("target") {
            true => r#"{"context": "a", "target": "b"}"#,
            false => r#"{"text": "a b"}"#,
        };
        let later = [format!("{good}\r\n{good}\n\n").as_bytes(), content].concat();
        let expected = expected.replace("line 1", "line 4");
        if let Err(error) = jsonl::parse("bad", "bad.jsonl", &later) {
            assert!(error.to_string().contains(&expected), "{shown}: {error}");
        } else {
            assert!(expected.contains("no examples"), "{shown}");
        }
    }
}

pub fn sources<'a>(
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
