//! Clients that everyone uses. `MXLAB_PYTHON` names a Python with `openai`, `lm_eval` and
//! `transformers`, `MXLAB_SHARED` the folder with a small model and LAMBADA; without them the tests
//! print `not run`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use not_run::not_run;
use serde_json::{Value, json};

use super::client::Server;

const MODEL: &str = "models/stories260k/f32";
/// Examples of LAMBADA.
const LIMIT: &str = "100";

/// A Python that has `package`, and the shared folder.
fn needed(test: &str, package: &str) -> Option<(OsString, PathBuf)> {
    let shared = std::env::var_os("MXLAB_SHARED").map_or("../../shared".into(), PathBuf::from);
    let Some(python) = std::env::var_os("MXLAB_PYTHON") else {
        not_run(test, "MXLAB_PYTHON");
        return None;
    };
    if !shared.join(MODEL).exists() {
        not_run(test, "MXLAB_SHARED");
        return None;
    }
    let import = format!("import {package}");
    let found = Command::new(&python).args(["-c", &import]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        not_run(test, &format!("the package {package} in MXLAB_PYTHON"));
        return None;
    }
    Some((python, shared))
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("a program");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    output.stdout
}

fn script(python: &OsString, name: &str) -> Command {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
    let mut command = Command::new(python);
    command.arg(peers.join(name));
    command
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("a file");
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON lines")
}

#[test]
fn the_official_client_understands_every_answer() {
    let Some((python, shared)) = needed("the official client of OpenAI's API", "openai") else {
        return;
    };
    // The model with a chat template.
    let folder = tempfile::tempdir().expect("a folder");
    for file in fs::read_dir(shared.join(MODEL)).expect("a model") {
        let file = file.expect("a file").path();
        let name = file.file_name().expect("a name");
        fs::copy(&file, folder.path().join(name)).expect("a copy");
    }
    let template = "{% for message in messages %}{{ message.content }}\n{% endfor %}";
    fs::write(folder.path().join("chat_template.jinja"), template).expect("writable");
    let model = folder.path().display().to_string();
    let arguments = [
        "--model",
        &model,
        "--cache",
        "8",
        "--served-name",
        "stories",
    ];
    let server = Server::start(&[&arguments[..], &["--api-key", "sesame"]].concat());
    let url = format!("http://{}", server.address);
    let found = output(script(&python, "openai_client.py").args([&url, "stories"]));
    let found: Value = serde_json::from_slice(&found).expect("JSON");

    let generated = |more: &[&str]| -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
        command.args(["generate", "--model", &model, "--max-tokens", "12"]);
        let text = output(command.args(more));
        let text = String::from_utf8(text).expect("UTF-8");
        text.strip_suffix('\n').expect("a line").to_owned()
    };
    assert_eq!(found["models"], json!(["stories"]));
    let completion = generated(&["--prompt", "Once upon a time"]);
    let chat = generated(&["--chat", "--prompt", "Tell a story."]);
    for (field, text) in [("completion", completion), ("chat", chat)] {
        assert_eq!(found[field], text);
        assert_eq!(found[format!("{field}_pieces")], text);
        assert_eq!(found[format!("{field}_usage")], 12);
    }
    assert_eq!(found["chat_role"], "assistant");
    assert_eq!(found["chat_logs"], json!(vec![3; 12]));
    assert_eq!(found["completion_tokens"], 12);
    assert_eq!(found["logs"], 12);
    let errors = found["errors"].as_object().expect("errors");
    assert_eq!(errors.len(), 3, "{errors:?}");
    for (expected, found) in errors {
        assert_eq!(found[0], *expected);
    }
}

#[test]
fn the_harness_scores_through_the_server_as_eval_does() {
    let Some((python, shared)) = needed("lm-evaluation-harness through a server", "lm_eval") else {
        return;
    };
    let model = shared.join(MODEL).display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    for config in ["baseline", "mx-linear-kv"] {
        let common = ["--model", &model, "--config", config];
        let more = ["--cache", "8", "--chunk", "50", "--served-name", "stories"];
        let arguments = [&common[..], &more, &["--dtype", "float32"]].concat();
        let server = Server::start(&arguments);
        let url = format!("http://{}", server.address);
        let theirs = folder.path().join(format!("theirs-{config}"));
        let data = shared.join("data/lambada_test.jsonl");
        output(
            script(&python, "lm_eval_served.py")
                .args([&url, "stories", &model])
                .args([&data, &theirs])
                .arg(LIMIT),
        );
        let own = folder.path().join(format!("own-{config}"));
        let mut eval = Command::new(env!("CARGO_BIN_EXE_mxlab"));
        eval.args([
            "eval",
            "--quiet",
            "--log-samples",
            "--tasks",
            "lambada_openai",
        ]);
        eval.args([
            "--limit",
            LIMIT,
            "--dtype",
            "float32",
            "--add-bos-token",
            "false",
        ]);
        eval.args(common).arg("--data-dir").arg(shared.join("data"));
        output(eval.arg("--output-path").arg(&own));

        let mut scores: Vec<(u64, f64, bool)> = lines(&theirs.join("lambada.jsonl"))
            .iter()
            .map(|sample| {
                let (id, score) = (sample[0].as_u64(), sample[1].as_f64());
                (
                    id.expect("an id"),
                    score.expect("a score"),
                    sample[2] == true,
                )
            })
            .collect();
        scores.sort_by_key(|score| score.0);
        let samples = lines(&own.join(format!("samples_lambada_openai_{config}.jsonl")));
        assert_eq!(scores.len(), 100);
        assert_eq!(samples.len(), 100);
        for ((id, theirs, is_greedy), sample) in scores.into_iter().zip(&samples) {
            let scored = &sample["resps"][0][0];
            let own = scored[0].as_str().expect("a log-likelihood");
            let own: f64 = own.parse().expect("a number");
            assert_eq!(sample["doc_id"], id);
            assert!(
                (own - theirs).abs() < 1e-4,
                "{config}, {id}: {own}, through the server {theirs}"
            );
            let own_greedy = scored[1].as_str().expect("a word");
            assert_eq!(
                own_greedy.to_lowercase(),
                is_greedy.to_string(),
                "{config}, {id}"
            );
        }
    }
}
