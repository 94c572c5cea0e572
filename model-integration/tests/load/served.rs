//! Load on `mxlab serve`.

use std::process::Command;

use mxlab::study::server::Server;
use serde_json::Value;

use super::{load, record, text};

fn server() -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(["serve", "--port=0", "--cache=8", "--sequences=4"]);
    command.env_remove("MXLAB_API_KEY");
    Server::start(command).expect("a server")
}

#[test]
fn levels_of_the_own_server() {
    let server = server();
    let whole = [
        "--ignore-eos",
        "--requests=8",
        "--output-tokens=6",
        "--prompt-tokens=5",
        "--warm-up=0",
    ];
    let found = record(&server.url, &[&whole[..], &["--concurrency=1,6"]].concat());
    for level in found["levels"].as_array().expect("levels") {
        assert_eq!(
            (&level["failed"], &level["ended_early"]),
            (&0.into(), &0.into())
        );
        assert_eq!(
            (&level["output_tokens"], &level["counted_by"]),
            (&48.into(), &"usage".into())
        );
        let [ttft, e2e] = ["ttft", "e2e"].map(|name| level[name]["p50"].as_f64());
        assert!(ttft < e2e, "{level}");
    }
    // The embedded model has no chat template.
    let output = load(&server.url, &[&whole[..], &["--api=chat"]].concat());
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("8 failed, status 400: "), "{error}");
}

#[test]
fn a_soak_of_the_own_server() {
    let server = server();
    let pid = server.pid().to_string();
    let output = load(
        &server.url,
        &[
            "--soak",
            "--requests=400",
            "--concurrency=8",
            "--tokenizer=embedded",
            "--prompt-tokens=16",
            "--output-tokens=8",
            "--pid",
            &pid,
            // So short a soak has not settled.
            "--most-growth=1000",
            "--format=json",
        ],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let record: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&record["failed"], &record["unfinished"]),
        (&0.into(), &0.into())
    );
    assert!(record["acts"]["malformed"]["refused"].as_u64() > Some(0));
}
