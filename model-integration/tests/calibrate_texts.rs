//! Texts of `mxlab calibrate`: files, stories, training splits of tasks, what the model writes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;

fn run(output: &Path, data: &Path, texts: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(["calibrate", "embedded"]).arg(output);
    command.args(["--weights", "mxfp4", "--overwrite"]);
    command.args(["--sequences", "6", "--length", "48"]);
    command
        .arg("--data-dir")
        .arg(data)
        .env("HF_HUB_OFFLINE", "1");
    command.args(texts.iter().flat_map(|text| ["--text", text]));
    command.output().expect("runs")
}

/// The weights that texts give.
fn weights(folder: &Path, texts: &[&str]) -> Vec<u8> {
    let output = folder.join("model");
    let done = run(&output, folder, texts);
    let message = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{texts:?}: {message}");
    fs::read(output.join("model.safetensors")).expect("a model")
}

fn lines(path: &Path, documents: &[serde_json::Value]) {
    let lines: Vec<String> = documents.iter().map(ToString::to_string).collect();
    fs::write(path, lines.join("\n")).expect("written");
}

/// The text of a training split is that of solved examples in prompts.
#[test]
fn training_splits_are_texts_of_solved_examples() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let numbers = || 0..40;
    let problems = numbers().map(|n| {
        json!({"question": format!("Mia had {n} kites. How many?"), "answer": format!("#### {n}")})
    });
    lines(&folder.join("train.jsonl"), &problems.collect::<Vec<_>>());
    let questions = numbers().map(|n| {
        json!({
            "question": {"stem": format!("What flew on day {n}?"), "choices": [
                {"label": "A", "text": "a mill"}, {"label": "B", "text": "a kite"},
            ]},
            "answerKey": "B",
        })
    });
    let questions: Vec<_> = questions.collect();
    lines(&folder.join("ARC-Challenge-Train.jsonl"), &questions);
    let scenes = numbers().map(|n| {
        json!({
            "activity_label": "Kites", "ctx_a": format!("Mia has {n} kites."), "ctx_b": "then",
            "endings": ["fly.", "sink.", "sing.", "sit."], "label": 0,
        })
    });
    lines(
        &folder.join("hellaswag_train.jsonl"),
        &scenes.collect::<Vec<_>>(),
    );
    let written = |example: fn(usize) -> String| numbers().map(example).collect::<String>();
    for (name, text) in [
        (
            "gsm8k",
            written(|n| format!("Question: Mia had {n} kites. How many?\nAnswer: #### {n}\n\n")),
        ),
        (
            "arc_challenge",
            written(|n| format!("Question: What flew on day {n}?\nAnswer: a kite\n\n")),
        ),
        (
            "hellaswag",
            written(|n| format!("Kites: Mia has {n} kites. Then fly.\n\n")),
        ),
    ] {
        let file = folder.join(format!("{name}.txt"));
        fs::write(&file, &text).expect("written");
        let file = file.to_str().expect("UTF-8");
        let of_file = weights(folder, &[file, "embedded"]);
        assert!(weights(folder, &[name, "embedded"]) == of_file, "{name}");
        let [file, name] = [file, name].map(|text| format!("{text}#10..1000"));
        let of_part = weights(folder, &[&file]);
        assert!(weights(folder, &[&name]) == of_part, "{name}");
        assert!(of_part != of_file, "{name}");
    }
}

#[test]
fn names_that_are_no_texts_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    fs::write(folder.join("gsm8k_train.jsonl"), "{\"question\": 1}").expect("written");
    for (text, code, expected) in [
        (
            "lambada_openai",
            2,
            "no training split: expected a file, or self, embedded, hellaswag, arc_challenge, \
             gsm8k",
        ),
        ("wikitext", 2, "no training split"),
        ("gsm9k", 1, "did you mean `gsm8k`?"),
        ("gsm8k", 1, "line 1: field `answer`"),
        (
            "hellaswag",
            1,
            "--data-dir names a directory with `hellaswag_train.jsonl`",
        ),
        ("embedded#0..99999999", 1, "`embedded` has"),
        ("self#0..10", 2, "has no characters to choose"),
        ("embedded#5..5", 2, "expected characters such as"),
    ] {
        let refused = run(&folder.join("model"), folder, &[text]);
        let message = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{text}: {message}");
        assert!(message.contains(expected), "{text}: {message}");
    }
}

/// Two batches of sequences that the model writes, and as many of stories.
fn own(output: &Path, others: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(["calibrate", "embedded"]).arg(output);
    command.args(["--weights", "mxfp4", "--text", "self", "--text", "embedded"]);
    command
        .args(["--sequences", "70", "--length", "40"])
        .args(others);
    command
}

#[test]
fn what_a_model_writes_depends_on_the_model_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let weights = |name: &str, others: &[&str]| {
        let output = folder.path().join(name);
        let done = own(&output, others).output().expect("runs");
        let message = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{others:?}: {message}");
        assert!(!folder.path().join(format!("{name}.calibration")).exists());
        fs::read(output.join("model.safetensors")).expect("a model")
    };
    let first = weights("first", &[]);
    assert!(weights("one", &["--threads", "1"]) == first);
    assert!(weights("portable", &["--isa", "portable"]) == first);

    let kept = folder.path().join("killed.calibration/text-0000.json");
    let mut child = own(&folder.path().join("killed"), &["--threads", "1"]);
    let child = child.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.spawn().expect("runs");
    while !kept.exists() {
        let ended = child.try_wait().expect("a process");
        assert!(ended.is_none(), "it ended before it was killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    // The kept text is what goes on: sequences that begin with BOS, and no two alike.
    let text = fs::read(&kept).expect("a text");
    let sequences: Vec<Vec<u32>> = serde_json::from_slice(&text).expect("sequences");
    assert_eq!(sequences.len(), 32);
    for (number, sequence) in sequences.iter().enumerate() {
        assert!(sequence.len() == 40 && sequence[0] == sequences[0][0]);
        assert!(!sequences[..number].contains(sequence));
    }
    fs::write(&kept, "[").expect("written");
    let broken = own(&folder.path().join("killed"), &[])
        .output()
        .expect("runs");
    let message = String::from_utf8_lossy(&broken.stderr);
    assert!(message.contains("remove it to write it again"), "{message}");
    fs::write(&kept, &text).expect("written");
    assert!(weights("killed", &[]) == first);
}
