//! `mxlab load --soak`: what a server must not do is found.

use std::fs;
use std::net::TcpStream;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::stub::{Asked, Stub, end, json_of, right};
use super::{load, refused, text};

/// A server that refuses what it should, and answers the rest.
fn careful(asked: &Asked, stream: &mut TcpStream) -> bool {
    let is_length = |length: u64| (1..1000).contains(&length);
    let prompt = &asked.body["prompt"];
    let is_good = asked.body["max_tokens"].as_u64().is_some_and(is_length)
        && prompt
            .as_array()
            .is_some_and(|tokens| (1..1000).contains(&tokens.len()))
        && !prompt.to_string().contains("4294967295")
        && asked.body["temperature"].as_f64() >= Some(0.0)
        && asked.body.get("stop").is_none()
        && asked.body.get("logit_bias").is_none();
    if asked.path == "/metrics" {
        let metrics = "mxlab_sequences_waiting 0\nmxlab_sequences_running 0\n";
        return json_of(stream, "200 OK", metrics);
    }
    if asked.path.ends_with("/models") || (is_good && asked.body["stream"] == true) {
        return right(asked, stream);
    }
    if is_good {
        let usage = json!({"completion_tokens": asked.body["max_tokens"]});
        let answer = json!({"choices": [{"text": "a"}], "usage": usage});
        return json_of(stream, "200 OK", &answer.to_string());
    }
    let error = "{\"error\": {\"message\": \"no\"}}";
    json_of(stream, "400 Bad Request", error)
}

const SOAK: &[&str] = &[
    "--soak",
    "--tokenizer=embedded",
    "--prompt-tokens=16",
    "--output-tokens=8",
    "--concurrency=4",
];

#[test]
fn a_careful_server_passes() {
    let stub = Stub::start(careful);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("soak.json");
    let name = path.display().to_string();
    let pid = std::process::id().to_string();
    // The process of the server is that of these tests, which others run in.
    let watch = ["--pid", &pid, "--most-growth=10000", "--requests=150"];
    let arguments = [SOAK, &watch, &["--output-path", &name]].concat();
    let output = load(&stub.url, &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("memory of the server: "));
    let record: Value = serde_json::from_slice(&fs::read(&path).expect("a record")).expect("JSON");
    assert_eq!(
        (&record["kind"], &record["unfinished"]),
        (&"soak".into(), &0.into())
    );
    assert!(record["answered"].as_u64() >= Some(150));
    let acts = record["acts"].as_object().expect("an object");
    assert_eq!(acts.len(), 6, "{acts:?}");
    let of = |act: &str, end: &str| acts[act][end].as_u64().expect("a count");
    for act in ["stream", "whole", "slow"] {
        assert_eq!(of(act, "begun"), of(act, "answered"), "{act}");
    }
    assert_eq!(of("malformed", "begun"), of("malformed", "refused"));
    assert_eq!(of("killed", "begun"), of("killed", "gone"));
    assert_eq!(
        of("leave", "begun"),
        of("leave", "gone") + of("leave", "answered")
    );
    assert!(record["memory"].as_array().expect("samples").len() > 2);

    let before = fs::read(&path).expect("a record");
    let (code, error) = refused(&stub.url, &arguments);
    assert_eq!((code, error.contains("--overwrite")), (1, true), "{error}");
    assert_eq!(fs::read(&path).expect("a record"), before);

    let mut report = std::process::Command::new(env!("CARGO_BIN_EXE_mxlab"));
    report.args(["report", "--records"]).arg(&path);
    let output = report.output().expect("mxlab runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = fs::read_to_string(folder.path().join("report/REPORT.md")).expect("a report");
    assert!(report.contains("charts/soak-memory.svg"), "{report}");
    assert!(report.contains("| malformed "), "{report}");
}

#[test]
fn a_careless_server_fails() {
    let found = |answer: fn(&Asked, &mut TcpStream) -> bool, more: &[&str]| {
        let stub = Stub::start(answer);
        let output = load(&stub.url, &[SOAK, &["--requests=60"], more].concat());
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let accepts = |asked: &Asked, stream: &mut TcpStream| match asked.body["temperature"].as_f64() {
        Some(-1.0) => json_of(stream, "200 OK", "{\"choices\": []}"),
        _ => careful(asked, stream),
    };
    let error = found(accepts, &[]);
    assert!(
        error.contains("a temperature below zero: status 200"),
        "{error}"
    );

    let forgets = |asked: &Asked, stream: &mut TcpStream| match asked.path.as_str() {
        "/metrics" => json_of(
            stream,
            "200 OK",
            "mxlab_sequences_waiting 1\nmxlab_sequences_running 2\n",
        ),
        _ => careful(asked, stream),
    };
    let error = found(forgets, &[]);
    assert!(error.contains("the server has 3 sequences"), "{error}");

    let cuts = |asked: &Asked, stream: &mut TcpStream| {
        let is_stream = asked.body["stream"] == true && asked.body["max_tokens"] == 8;
        match is_stream && asked.number.is_multiple_of(7) {
            true => super::stub::write(stream, &(super::stub::HEAD.to_owned() + &end(asked, 3))),
            false => careful(asked, stream),
        }
    };
    let error = found(cuts, &[]);
    assert!(
        error.contains("wrong length: found 3 tokens, expected 8"),
        "{error}"
    );

    // This process has the memory of other tests too, which comes and goes: much less than this.
    static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    let leaks = |asked: &Asked, stream: &mut TcpStream| {
        KEPT.lock().expect("kept").push(vec![1; 24 << 20]);
        careful(asked, stream)
    };
    let pid = std::process::id().to_string();
    let error = found(leaks, &["--pid", &pid, "--most-growth=20"]);
    KEPT.lock().expect("kept").clear();
    assert!(error.contains("the server keeps "), "{error}");
}
