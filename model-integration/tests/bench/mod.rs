//! `mxlab bench`: records, tables, verdicts, peers, refusals; and `mxlab report` of its records.

mod peer;
mod report;

use mxlab_kernels::cpu::Isa;
use not_run::not_run;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// `mxlab bench` with these arguments.
fn mxlab(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.arg("bench").args(arguments);
    command.output().expect("mxlab runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A short run of two CPU kernels, with the record at `path`.
fn short(path: &Path, format: &str) -> Output {
    mxlab(&[
        "--device",
        "cpu",
        "--threads",
        "1",
        "--kernel",
        "cpu_quantize_fp4_e2m1_e8m0_floor_even_ocp_f32_k32__portable",
        "--kernel",
        "cpu_dequantize_fp8_e4m3_e8m0_f32_k32__portable",
        "--shape",
        "16x64",
        "--rounds",
        "3",
        "--samples",
        "3",
        "--sample-ms",
        "0.2",
        "--warm-up-ms",
        "0.2",
        "--format",
        format,
        "--output-path",
        path.to_str().expect("a path"),
    ])
}

#[test]
fn a_run_leaves_a_record_and_prints_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.json");
    let output = short(&path, "csv");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let lines: Vec<&str> = table.lines().collect();
    // The header, the copy, traffic in the first cache and in memory, and the two kernels.
    assert_eq!(lines.len(), 2 + 4 + 6 + 2, "{table}");
    assert!(lines[0].starts_with("kernel,rows,cols,tokens,median_s"));
    assert!(lines[0].ends_with(",gap_us"));
    assert!(lines[1].starts_with("cpu_copy,") && lines[2].starts_with("cpu_read__l1,"));
    // Nothing is launched on a CPU.
    assert!(lines[1..].iter().all(|line| line.ends_with(',')), "{table}");

    let json: Value = serde_json::from_slice(&fs::read(&path).expect("a record")).expect("JSON");
    assert_eq!(json["kind"], "bench");
    assert_eq!(json["is_complete"], true);
    assert_eq!(json["machine"]["threads"], 1);
    let measured = json["measured"].as_array().expect("a list");
    assert_eq!(measured.len(), 2);
    for measured in measured {
        let rounds = measured["timing"]["rounds"].as_array().expect("rounds");
        assert_eq!(rounds.len(), 3);
        assert!(measured["energy"].is_null() || measured["energy"]["runs"].is_u64());
    }
    // f32 input of 16 rows of 64, codes and scales.
    let quantize = &measured[0]["case"];
    assert_eq!(quantize["bytes"], 16 * 64 * 4 + 16 * 32 + 16 * 2);
    assert!(json["roof"]["copy"]["case"]["bytes"].as_u64() > Some(0));

    // The table equals the record.
    let fields: Vec<&str> = lines[12].split(',').collect();
    // A roof of the same run bounds it.
    let is_bound = |line: &&&str| line.split(',').next() == Some(fields[12]);
    assert!(fields[12].ends_with("__l1") && lines.iter().any(|line| is_bound(&line)));
    assert_eq!(fields[0], quantize["kernel"].as_str().expect("a name"));
    let bandwidth: f64 = fields[8].parse().expect("a number");
    let median: f64 = fields[4].parse().expect("a number");
    let bytes = quantize["bytes"].as_f64().expect("a number");
    assert!((bandwidth * median / bytes - 1.0).abs() < 1e-9);
    for (format, part) in [
        ("table", "% of roof"),
        ("md", "| kernel |"),
        ("json", "\"kind\""),
    ] {
        let output = short(&path, format);
        assert!(text(&output.stdout).contains(part), "{format}");
    }
}

/// A record with all times of one kernel multiplied.
fn slowed(path: &Path, to: &Path, kernel: &str, by: f64) {
    let mut json: Value = serde_json::from_slice(&fs::read(path).expect("a record")).expect("JSON");
    for measured in json["measured"].as_array_mut().expect("a list") {
        let is_it = measured["case"]["kernel"]
            .as_str()
            .is_some_and(|k| k.contains(kernel));
        let rounds = measured["timing"]["rounds"].as_array_mut().expect("rounds");
        for (index, round) in rounds.iter_mut().enumerate() {
            // Rounds without noise, so that the verdict is known.
            let seconds = 1e-6 * (1.0 + 1e-3 * index as f64) * if is_it { by } else { 1.0 };
            *round = serde_json::json!([seconds, seconds]);
        }
    }
    fs::write(to, serde_json::to_vec(&json).expect("JSON")).expect("writable");
}

#[test]
fn two_records_are_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let run = short(&path("run"), "table");
    assert!(run.status.success(), "{}", text(&run.stderr));
    for (name, by) in [("once", 1.0), ("slow", 1.5), ("fast", 0.5)] {
        slowed(&path("run"), &path(name), "cpu_quantize", by);
    }
    let compare = |after: &str| {
        let (before, after) = (path("once"), path(after));
        let [before, after] = [&before, &after].map(|path| path.to_str().expect("a path"));
        mxlab(&["--compare", before, after, "--format", "csv"])
    };
    let verdict = |output: &Output, kernel: &str| {
        let table = text(&output.stdout);
        let line = table.lines().find(|line| line.starts_with(kernel));
        let line = line.unwrap_or_else(|| panic!("no {kernel} in {table}"));
        line.split(',')
            .find(|field| ["faster", "slower", "same", "ambiguous"].contains(field))
            .expect("a verdict")
            .to_owned()
    };
    let same = compare("once");
    assert!(same.status.success(), "{}", text(&same.stderr));
    assert_eq!(verdict(&same, "cpu_quantize"), "same");
    let slow = compare("slow");
    assert_eq!(slow.status.code(), Some(1));
    assert_eq!(verdict(&slow, "cpu_quantize"), "slower");
    assert_eq!(verdict(&slow, "cpu_dequantize"), "same");
    let fast = compare("fast");
    assert!(fast.status.success());
    assert_eq!(verdict(&fast, "cpu_quantize"), "faster");
}

#[test]
fn what_is_no_record_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| {
        folder
            .path()
            .join(name)
            .to_str()
            .expect("a path")
            .to_owned()
    };
    let run = short(path("run").as_ref(), "table");
    assert!(run.status.success());
    let whole = fs::read_to_string(path("run")).expect("a record");
    let version = whole.replacen("\"schema_version\":1", "\"schema_version\":99", 1);
    assert_ne!(version, whole);
    for (name, contents, reason) in [
        ("cut", &whole[..whole.len() / 2], "EOF"),
        ("newer", version.as_str(), "version 99"),
        (
            "other",
            r#"{"kind":"verify","schema_version":1}"#,
            "`verify`",
        ),
        ("none", "{}", "no field `kind`"),
        ("empty", "", "EOF"),
    ] {
        fs::write(path(name), contents).expect("writable");
        let output = mxlab(&["--compare", &path("run"), &path(name)]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {message}");
        assert!(
            message.contains(name) && message.contains(reason),
            "{message}"
        );
        assert!(output.stdout.is_empty());
    }
    let output = mxlab(&["--compare", &path("run"), &path("missing")]);
    assert!(text(&output.stderr).contains("missing"));
}

#[test]
fn bad_flags_are_refused_before_anything_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("a path");
    let cases: [(&[&str], i32, &str); 10] = [
        (&["--roofs-only", "--kernel", "x"], 2, "--roofs-only"),
        (&["--roofs-only", "--family", "copy"], 2, "--roofs-only"),
        (&["--device", "cpu", "--kernel", "no_such*"], 2, "--kernel"),
        (&["--shape", "12"], 2, "--shape"),
        (&["--shape", "0x4"], 2, "--shape"),
        (&["--tokens", "0"], 2, "--tokens"),
        (&["--rounds", "0"], 2, "--rounds"),
        (&["--threshold", "5"], 2, "--compare"),
        (&["--device", "emulator"], 2, "--kernel and --shape"),
        (
            &[
                "--device",
                "cpu",
                "--shape",
                "4x32",
                "--output-path",
                folder,
            ],
            1,
            folder,
        ),
    ];
    for (arguments, code, part) in cases {
        let output = mxlab(arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.contains(part), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty());
    }
}

/// Where slower paths alone match, one message tells how to name them.
#[test]
fn slower_paths_alone_are_one_message() {
    if Isa::best() == Isa::Portable {
        return not_run("slower paths alone are one message", "AVX2");
    }
    let output = mxlab(&["--device", "cpu", "--kernel", "cpu_matmul_fp4*portable*"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    let said = "error: --kernel: no kernel of the fastest path matches; left out kernels of slower \
                paths: ";
    assert!(message.starts_with(said), "{message}");
    assert!(message.ends_with("such as `*__portable`\n"), "{message}");
}

#[test]
fn the_emulator_stands_in_for_a_gpu() {
    let output = mxlab(&[
        "--device",
        "emulator",
        "--kernel",
        "norm_bf16*",
        "--kernel",
        "matmul_gemv8_bf16_bf16*",
        "--shape",
        "64x128",
        "--rounds",
        "1",
        "--samples",
        "2",
        "--sample-ms",
        "1",
        "--warm-up-ms",
        "1",
        "--format",
        "json",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("do not predict a GPU's"));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["machine"]["properties"]["kind"], "emulator");
    let measured = json["measured"].as_array().expect("a list");
    assert!(measured.len() >= 2, "{measured:?}");
    assert!(
        measured
            .iter()
            .any(|m| m["case"]["operations"].as_u64() > Some(0))
    );
}

#[test]
fn roofs_are_timed_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("roofs.json");
    let flags = "--roofs-only --rounds 2 --samples 2 --sample-ms 1 --warm-up-ms 1 --output-path";
    let run = |device: &[&str], format: &str| {
        let flags = flags
            .split_whitespace()
            .chain([path.to_str().expect("a path")]);
        let flags: Vec<&str> = flags.chain(["--format", format]).collect();
        mxlab(&[device, &flags].concat())
    };
    let output = run(&["--device", "cpu", "--threads", "1"], "csv");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for roof in [
        "cpu_copy",
        "cpu_read__l3",
        "cpu_update__memory",
        "cpu_fma_f32__portable",
    ] {
        assert!(table.contains(&format!("\n{roof},")), "{roof}: {table}");
    }
    let record =
        || -> Value { serde_json::from_slice(&fs::read(&path).expect("a record")).expect("JSON") };
    let of_cpu = record();
    assert_eq!(of_cpu["is_complete"], true);
    assert_eq!(of_cpu["measured"].as_array().map(Vec::len), Some(0));
    assert!(of_cpu["roof"]["empty"].is_null());

    let output = run(&["--device", "emulator"], "table");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for part in [
        "copy_bf16",
        "matmul_",
        "empty",
        "gap_us: ",
        "public figures: not compared",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(!table.contains("not measured"), "{table}");
    let of_device = record();
    let rounds = &of_device["roof"]["empty"]["timing"]["rounds"];
    assert_eq!(rounds.as_array().map(Vec::len), Some(2));
}
