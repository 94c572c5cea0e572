//! `mxlab allocate`: formats within a budget that lose less than any one within it, in a file that
//! other commands take.

use std::fs;
use std::process::{Command, Output};

use crate::stories::text;
use mxlab::config::file::Source;
use mxlab::config::{ConfigFile, FormatFlags, named};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(arguments).env("HF_HUB_OFFLINE", "1");
    command.output().expect("runs")
}

/// The bits, the sum and the measured value of a row.
fn row(table: &str, name: &str) -> [f64; 3] {
    let row = table.lines().find(|line| line.starts_with(name));
    let row = row.unwrap_or_else(|| panic!("{name} in {table}"));
    let numbers = row.split_whitespace().rev().take(3);
    let mut numbers: Vec<f64> = numbers.map(|x| x.parse().expect("a number")).collect();
    numbers.reverse();
    numbers.try_into().expect("three numbers")
}

#[test]
fn a_budget_is_kept_and_its_file_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = text(folder.path());
    let output = folder.path().join("mixed.toml");
    let output = output.to_str().expect("UTF-8");
    let own = [
        "allocate", "embedded", output, "--bits", "4.75", "--text", &text,
    ];
    let sizes = ["--sequences", "4", "--length", "48"];
    let formats = ["--activations", "fp6_e2m3", "--rotation", "16"];
    let choices = ["--weights", "mxfp4,fp6_e2m3"];
    let arguments = [&own[..], &sizes, &formats, &choices].concat();
    let done = run(&arguments);
    let message = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{message}");
    let table = String::from_utf8_lossy(&done.stdout);
    let small = row(&table, "fp4_e2m1 e8m0 k32");
    let large = row(&table, "fp6_e2m3 e8m0 k32");
    let [bits, sum, measured] = row(&table, "chosen");
    assert!(4.6 < bits && bits <= 4.75, "{table}");
    assert!((small[0], large[0]) == (4.25, 6.25), "{table}");
    assert!(large[1] < sum && sum < 0.8 * small[1], "{table}");
    assert!(large[2] < measured && measured < 0.85 * small[2], "{table}");
    // Costs add up, about: errors of projections partly cancel, so sums are the larger ones.
    for [_, sum, measured] in [small, [bits, sum, measured]] {
        assert!((0.5..3.0).contains(&(sum / measured)), "{table}");
    }
    let file = fs::read_to_string(output).expect("a file");
    assert!(
        file.contains("rotation = \"16\"") && file.contains("[[override]]"),
        "{file}"
    );
    let threads = run(&[&arguments[..], &["--overwrite", "--threads", "1"]].concat());
    assert!(threads.status.success());
    assert_eq!(fs::read_to_string(output).expect("a file"), file);

    let eval = run(&[
        "eval", "--model", "embedded", "--config", output, "--limit", "2",
    ]);
    let table = String::from_utf8_lossy(&eval.stdout);
    assert!(
        eval.status.success() && table.contains(&format!("{bits:.2} bits a weight")),
        "{table}"
    );

    let refused = |others: &[&str], expected: &str| {
        let output = run(others);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{others:?}: {message}");
        assert!(
            message.contains(expected),
            "{expected:?} is not in {message:?}"
        );
    };
    refused(&arguments, "--overwrite");
    let again = [&own[..], &sizes, &["--overwrite"]].concat();
    refused(&again, "has no format of weights");
    refused(
        &[&again[..], &["--weights", "mxfp4,none"]].concat(),
        "has no format of weights",
    );
    refused(
        &[&again[..], &["--weights", "mxfp4"]].concat(),
        "at least two formats",
    );
    refused(&[&again[..], &["--weights", "mxfp4,q4_0"]].concat(), "q4_0");
    refused(
        &[&again[..], &["--weights", "fp6_e2m3,fp8_e4m3"]].concat(),
        "6.250 bits",
    );
    assert_eq!(fs::read_to_string(output).expect("a file"), file);
}

#[test]
fn a_configuration_reads_as_it_was_written() {
    let read = |text: &str, name: &str| {
        let source = Source { file: name, text };
        let file: ConfigFile = source.parse().expect("TOML");
        let flags = FormatFlags::default();
        file.resolve(name, source, &flags).expect("a configuration")
    };
    for config in named::all(&FormatFlags::default()).expect("configurations") {
        assert_eq!(read(&config.to_toml(), &config.name), config);
    }
    let whole = r#"
        default = { scale = "ue4m3", block_size = 16, tensor_scale = true }
        weights = { element = "fp4_e2m1", rule = "four-over-six" }
        activations = { element = "fp4_e2m1", rounding = "stochastic:3" }
        keys = "int8"
        values = "none"
        kv_first = 2
        key_recent = 4
        key_rotation = "row:1"
        head = "q6_k"
        head_activations = { element = "int8", scale = "fp16" }
        fallback = "ggml"
        rotation = "32:7"
        rotated = ["o", "down"]
        stored_inputs = false
        [[override]]
        layers = "0-3,7"
        projections = ["q", "down"]
        weights = "none"
        activations = "int8"
        [[override]]
        weights = "q4_0"
        keys = "none"
        values = "int8"
    "#;
    let config = read(whole, "whole");
    assert_eq!(read(&config.to_toml(), "whole"), config);
}
