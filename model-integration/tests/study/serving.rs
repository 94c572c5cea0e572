//! The part of a study that puts load on servers.

use std::fs;
use std::path::Path;
use std::process::Command;

use mxlab::study::server::Server;
use serde_json::Value;

use super::{Folder, done, refused, run};

const STUDY: &str = r#"
title = "Small loads"
question = "Does it work?"
tasks = []

[config.both]
weights = "fp4_e2m1"
kv = "fp4_e2m1"

[serving]
concurrency = [1, 2]
prompt = 5
output = 3
requests = 4
"#;

#[test]
fn servers_are_started_and_measured() {
    let folder = Folder::new();
    let study = folder.name("loads.toml");
    fs::write(&study, STUDY).expect("writable");
    let output = folder.name("output");
    let arguments = run(&study, &output, &["--threads", "1"]);
    assert!(done(&arguments).contains("4 cells done"));
    let path = |cell: &str| format!("{output}/records/serving.embedded.{cell}.json");
    let read = |cell: &str| -> Value {
        let record = fs::read(path(cell)).expect("a record");
        serde_json::from_slice(&record).expect("JSON")
    };
    for cell in ["1.baseline", "2.baseline", "1.both", "2.both"] {
        let record = read(cell);
        let level = &record["level"];
        assert_eq!(
            (&level["requests"], &level["failed"]),
            (&4.into(), &0.into())
        );
        assert_eq!(
            (&level["prompt_tokens"], &level["output_tokens"]),
            (&20.into(), &12.into())
        );
        let server = record["server"].to_string();
        assert!(server.contains("\"--threads\",\"1\""), "{server}");
        assert!(server.contains(&cell[2..]), "{server}");
    }
    let bytes = |cell: &str| read(cell)["footprint"]["kv_bytes_per_token"].as_u64();
    assert!(bytes("1.both") < bytes("1.baseline"));

    // A cell that is there is kept, one that is not is measured.
    let kept = fs::read(path("1.both")).expect("a record");
    fs::remove_file(path("2.both")).expect("removed");
    assert!(done(&arguments).contains("1 cells done, 3 were done before"));
    assert_eq!(fs::read(path("1.both")).expect("a record"), kept);

    let packed = folder.name("packed.json.gz");
    let pack = ["study", "pack", &output, "--output", &packed];
    assert!(done(&pack).contains("4 cells"));
    let report = folder.name("report");
    done(&["study", "report", &packed, "--output-path", &report]);
    let text = |file: &str| fs::read_to_string(Path::new(&report).join(file)).expect(file);
    let (page, markdown) = (text("REPORT.html"), text("REPORT.md"));
    for text in [&page, &markdown] {
        assert!(
            text.contains("time to first token against throughput"),
            "{text}"
        );
        assert!(text.contains("both gives"), "{text}");
    }
    let chart = text("charts/loads-embedded-ttft.svg");
    for series in ["baseline p50", "baseline p95", "both p50", "both p95"] {
        assert!(chart.contains(series), "{chart}");
    }
    let row = markdown
        .lines()
        .find(|line| line.starts_with("| both | 2 |"));
    let rate = read("2.both")["level"]["output_tokens_per_second"].as_f64();
    let rate = format!("| {:.1} |", rate.expect("a number"));
    assert!(row.expect("a row").contains(&rate), "{row:?} {rate}");
}

#[test]
fn loads_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    let path = folder.name("changed.toml");
    for (from, to, words) in [
        ("[1, 2]", "[]", "`serving.concurrency` is empty"),
        ("[1, 2]", "[0]", "expected numbers from 1 to 256"),
        ("requests = 4", "requests = 1", "at least 2"),
        ("output = 3", "output = 1", "an output of 2 or more"),
        (
            "[serving]",
            "[vary.both]\nblock_size = [16]\n[serving]",
            "a table of its own",
        ),
    ] {
        assert!(STUDY.contains(from));
        fs::write(&path, STUDY.replacen(from, to, 1)).expect("writable");
        let error = refused(&["study", "check", &path]);
        assert!(
            error.contains("changed.toml") && error.contains(words),
            "{error}"
        );
    }
}

/// What a server says that does not start is told.
#[test]
fn a_server_that_does_not_start_is_named() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(["serve", "--port=0", "--model=no/such/folder"]);
    let error = Server::start(command).err().expect("no server").to_string();
    let says = "ended before it listened: error: ";
    assert!(
        error.contains(says) && error.contains("no/such/folder"),
        "{error}"
    );
    let none = Server::start(Command::new("no-such-program")).err();
    let error = none.expect("no server").to_string();
    assert!(error.contains("no-such-program"), "{error}");
}
