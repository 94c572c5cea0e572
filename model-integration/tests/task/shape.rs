//! The user's files: the fields of the first line determine the protocol.

use std::process::Command;

use mxlab::excerpt::Excerpt;
use mxlab::task::{Content, DataSources, file, jsonl};
use serde_json::Value;

use super::named::choices;
use super::{load, parse};

#[test]
fn the_rule_that_matched_is_printed() {
    for (line, protocol, reading) in [
        (
            r#"{"context": "Q:", "choices": ["a", "b"], "gold": 1}"#,
            "choices",
            "multiple choice, by fields `context`, `choices`, `gold`",
        ),
        (
            r#"{"context": "a", "target": "b", "text": "c d"}"#,
            "cloze",
            "cloze, by fields `context`, `target`",
        ),
        (
            r#"{"text": "a b"}"#,
            "last_word",
            "cloze of the last word, by field `text`",
        ),
        (
            r#"{"question": "a", "answer": "b #### 1"}"#,
            "gsm8k",
            "problems as in GSM8K, answers generated, by fields `question`, `answer`",
        ),
    ] {
        let task = parse(line);
        assert_eq!(task.protocol.name, protocol);
        assert_eq!(task.read_as.as_deref(), Some(reading));
    }
}

#[test]
fn an_unknown_shape_is_refused_with_the_known_ones() {
    for (line, found) in [
        ("{}", "no fields"),
        (r#"{"Text": "a b"}"#, "fields `Text`; a file has"),
        (
            r#"{"context": "a"}"#,
            "fields `context`; cloze also needs `target`; multiple choice also needs",
        ),
        (
            r#"{"query": "a", "choices": ["b"]}"#,
            "fields `query`, `choices`",
        ),
    ] {
        let parsed = jsonl::parse("toy", "toy.jsonl", format!("\n{line}").as_bytes());
        let error = parsed.expect_err(line).to_string();
        for part in [
            format!("`toy.jsonl` line 2: {found}"),
            "cloze of the last word, by field `text`".to_owned(),
            "multiple choice, by fields `context`, `choices`, `gold`".to_owned(),
            "rename its fields".to_owned(),
        ] {
            assert!(error.contains(&part), "{part}: {error}");
        }
    }
}

#[test]
fn eval_prints_and_records_the_rule() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, output) = (folder.path().join("mine.jsonl"), folder.path().join("out"));
    std::fs::write(&file, r#"{"context": "The", "target": " end"}"#).expect("writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(["eval", "--quiet", "--config", "baseline", "--tasks"]);
    let run = command
        .arg(&file)
        .arg("--output-path")
        .arg(&output)
        .output();
    let run = run.expect("a program");
    let said = String::from_utf8_lossy(&run.stderr);
    let rule = "cloze, by fields `context`, `target`";
    assert!(said.contains(&format!("mine.jsonl: {rule}")), "{said}");
    let record = std::fs::read_to_string(output.join("run.json")).expect("a record");
    let record: Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(record["tasks"][0]["read_as"], rule);
}

#[test]
fn choices_and_documents_are_checked_line_by_line() {
    let line = r#"{"context": "Q:", "choices": ["a", "b"], "gold": 1}"#;
    let task = jsonl::parse("toy", "toy.jsonl", line.as_bytes()).expect("a task");
    assert_eq!(task.examples[0].content, choices("Q:", &["a", "b"], 1));
    for (content, reason) in [
        (
            r#"{"context": "Q:", "choices": [], "gold": 0}"#.to_owned(),
            "0 of 0 choices",
        ),
        (
            r#"{"context": "Q:", "choices": ["a", 3], "gold": 0}"#.to_owned(),
            "not a list of strings",
        ),
        (
            r#"{"context": "Q:", "choices": "ab", "gold": 0}"#.to_owned(),
            "not a list",
        ),
        (
            r#"{"context": "Q:", "choices": ["a"], "gold": -1}"#.to_owned(),
            "not an index",
        ),
        (r#"{"page": ""}"#.to_owned(), "field `page`: empty"),
        (
            format!("{line}\n{{\"text\": \"a b\"}}"),
            "line 2: field `context`: missing (read as multiple choice, by fields `context`,",
        ),
    ] {
        let parsed = jsonl::parse("toy", "toy.jsonl", content.as_bytes());
        let error = parsed.expect_err(&content).to_string();
        assert!(error.contains(reason), "{error}");
    }
}

/// Fields of another kind of question are never ignored.
#[test]
fn a_text_with_a_target_or_choices_is_no_cloze_of_the_last_word() {
    for line in [
        r#"{"text": "a b", "target": " c"}"#,
        r#"{"text": "a b", "choices": ["c"], "gold": 0}"#,
    ] {
        let parsed = jsonl::parse("toy", "toy.jsonl", line.as_bytes());
        let error = parsed.expect_err(line).to_string();
        assert!(error.contains("cloze of the last word has no `"), "{error}");
    }
}

#[test]
fn other_encodings_are_named_with_a_way_to_convert_them() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content, words) in [
        ("task.csv", "context,target", ["not csv", "JSON lines"]),
        ("task.yaml", "task: x", ["not yaml", "JSON lines"]),
        (
            "array.json",
            "[{\"page\": \"a\"}]",
            ["a JSON array", "jq -c"],
        ),
        (
            "task.jsonl",
            "version https://git-lfs.github.com/spec/v1",
            ["Git LFS", "git lfs pull"],
        ),
        (
            "task.parquet",
            "<!DOCTYPE html><html>",
            ["HTML", "HF_TOKEN"],
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("writable");
        let message = file::read(&Excerpt::whole(&path))
            .expect_err(name)
            .to_string();
        for word in words {
            assert!(
                message.contains(word) && message.contains(name),
                "{message}"
            );
        }
    }
    let path = folder.path().join("packed.jsonl.gz");
    std::fs::write(&path, b"\x1f\x8b\x08\0\0\0").expect("writable");
    let message = file::read(&Excerpt::whole(&path))
        .expect_err("gzip")
        .to_string();
    assert!(
        message.contains("a gzip archive; unpack it first"),
        "{message}"
    );
}

#[test]
fn a_text_is_cut_into_documents_and_may_be_an_excerpt() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stories.txt");
    let paragraph = |letter: char| letter.to_string().repeat(2500);
    let text = ['a', 'b', 'c', 'd', 'e'].map(paragraph).join("\n\n");
    std::fs::write(&path, &text).expect("written");
    let sources = DataSources {
        data_dir: None,
        embedded: "",
        hub_file: &|_, _| anyhow::bail!("no hub"),
    };
    let path = path.to_str().expect("UTF-8");
    let pages = |name: &str| -> anyhow::Result<Vec<String>> {
        let task = load(name, &sources)?;
        let page = |content: &Content| match content {
            Content::Document { text, bytes, words } => {
                assert_eq!(
                    (*bytes, *words),
                    (text.len(), text.split_whitespace().count())
                );
                text.clone()
            }
            other => panic!("{other:?} is no document"),
        };
        Ok(task
            .examples
            .iter()
            .map(|example| page(&example.content))
            .collect())
    };
    // Pieces of two paragraphs; together they are the text, nothing taken away.
    assert_eq!(
        pages(path).expect("a task").concat(),
        text.replacen("b\n\nc", "bc", 1).replacen("d\n\ne", "de", 1)
    );
    assert_eq!(pages(path).expect("a task").len(), 3);
    let part = format!("{path}#2502..5002");
    assert_eq!(pages(&part).expect("a task"), [paragraph('b')]);
    let task = load(&part, &sources).expect("a task");
    assert_eq!(task.name, "stories-2502-5002");
    assert!(
        task.source.ends_with("stories.txt#2502..5002"),
        "{}",
        task.source
    );
    for (name, expected) in [
        (
            format!("{path}#0..99999"),
            "has 12508 characters, and 0..99999 were asked for",
        ),
        (format!("{path}#5..5"), "expected characters such as"),
    ] {
        let message = pages(&name).expect_err("refused").to_string();
        assert!(message.contains(expected), "{message}");
    }
    let lines = folder.path().join("lines.jsonl");
    std::fs::write(&lines, "{\"text\": \"a b\"}").expect("written");
    let message = pages(&format!("{}#0..3", lines.display())).expect_err("refused");
    assert!(
        message.to_string().contains("is no text (.txt, .raw)"),
        "{message}"
    );
}
