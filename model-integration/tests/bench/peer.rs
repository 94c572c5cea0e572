//! Peer programs that time other implementations in the same rounds.

use super::{mxlab, text};
use not_run::not_run;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// The list of a peer with one case.
const LISTED: &str = r#"{"name":"theirs","versions":{"it":"1.2"},"cases":[{"kernel":"their_copy","family":"peer","rows":2,"cols":2,"tokens":null,"bytes":32,"operations":0}]}"#;

/// The path of a shell script.
fn program(folder: &Path, name: &str, script: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    path.to_str().expect("a path").to_owned()
}

/// The script of a peer that runs `timing` to time its case.
fn script(timing: &str) -> String {
    format!(
        "while read line; do case \"$line\" in *list*) echo '{LISTED}';; *time*) {timing};; \
         *) echo '{{\"ok\":true}}';; esac; done"
    )
}

/// A short run of the peer alone.
fn run(peer: &str, more: &[&str]) -> Output {
    let arguments = "--device cpu --threads 1 --family peer --rounds 2 --samples 2 --sample-ms 0.2 \
                     --warm-up-ms 0.2 --peer";
    let arguments: Vec<&str> = arguments.split_whitespace().chain([peer]).collect();
    mxlab(&[&arguments, more].concat())
}

const MILLISECOND: &str = r#"echo '{"seconds":0.001}'"#;

#[test]
fn peers_are_timed_beside() {
    let folder = tempfile::tempdir().expect("a folder");
    let peer = program(folder.path(), "good", &script(MILLISECOND));
    let ours = "cpu_quantize_fp4_e2m1_e8m0_floor_even_ocp_f32_k32__portable";
    let more = [
        "--family", "quantize", "--kernel", ours, "--shape", "16x64", "--format", "json",
    ];
    let output = run(&peer, &more);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["peers"][0]["versions"]["it"], "1.2");
    assert_eq!(json["measured"][0]["case"]["kernel"], ours);
    assert_eq!(json["measured"][1]["case"]["kernel"], "their_copy");
}

#[test]
fn what_a_peer_does_wrong_is_told_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let no_time = script(r#"echo '{"seconds":0}'"#);
    for (name, script, part) in [
        ("ends", "exit 3", "it ended"),
        ("babbles", "echo hello; cat > /dev/null", "hello"),
        (
            "fails",
            r#"echo '{"error":"no torch"}'; cat > /dev/null"#,
            "no torch",
        ),
        ("stands-still", no_time.as_str(), "0 is no time"),
    ] {
        let output = run(&program(folder.path(), name, script), &[]);
        let message = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{name}: {message}");
        let is_told = message.contains(part) && message.contains(name);
        assert!(is_told, "{message}");
    }
}

/// `mxlab bench` of a peer of this repository on a small shape.
fn run_script(name: &str, more: &[&str], environment: &[(&str, &str)]) -> Output {
    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers");
    let peer = peer.join(name).display().to_string();
    let arguments = "bench --device cpu --threads 1 --rounds 1 --samples 2 --sample-ms 0.2 \
                     --warm-up-ms 0.2 --format json --peer";
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command
        .args(arguments.split_whitespace())
        .arg(peer)
        .args(more);
    command.envs(environment.iter().copied());
    command.output().expect("mxlab runs")
}

#[test]
fn ggml_is_a_peer() {
    let Some(packages) = std::env::var_os("MXLAB_GGUF") else {
        return not_run("ggml as a peer", "MXLAB_GGUF");
    };
    let packages = packages.to_str().expect("a path");
    if !Path::new(packages).join("libggml").exists() {
        return not_run("ggml as a peer", "libggml-python");
    }
    let small = ["--family", "peer", "--shape", "64x128", "--tokens", "1,3"];
    let output = run_script("ggml.py", &small, &[("PYTHONPATH", packages)]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let refused = &json["refused"];
    if refused.to_string().contains("needs a C compiler") {
        return not_run("ggml as a peer", "a C compiler, cc");
    }
    assert_eq!(refused.as_array().map(Vec::len), Some(0), "{refused}");
    let kernels = json["measured"].as_array().expect("a list").iter();
    let kernels: Vec<&str> = kernels
        .filter_map(|m| m["case"]["kernel"].as_str())
        .collect();
    for kernel in [
        "ggml_matmul_mxfp4",
        "ggml_matmul_q8_0",
        "ggml_quantize_mxfp4",
    ] {
        assert!(kernels.contains(&kernel), "{kernels:?}");
    }
    // Without a compiler every case is there, and not run.
    let environment = [("PYTHONPATH", packages), ("CC", "no-such-compiler")];
    let output = run_script("ggml.py", &small, &environment);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let refused = json["refused"].as_array().expect("a list");
    assert_eq!(refused.len(), kernels.len());
    let reason = refused[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("not run: needs a C compiler"), "{reason}");
}

#[test]
fn generation_is_timed_beside_a_peer_that_is_not_there() {
    let flags =
        "--model embedded --config baseline,mxfp4-weights --prompt-tokens 3 --decode-tokens 2";
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let output = run_script(
        "llama_cpp.py",
        &flags,
        &[("MXLAB_LLAMA_CPP", "no-such-folder")],
    );
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let names = |list: &str| -> Vec<String> {
        let list = json[list].as_array().expect("a list").iter();
        let name = |item: &Value| item["case"]["kernel"].as_str().map(str::to_owned);
        list.filter_map(name).collect()
    };
    let ours = [
        "prompt__baseline",
        "decode__baseline",
        "prompt__mxfp4-weights",
        "decode__mxfp4-weights",
    ];
    assert_eq!(
        names("measured"),
        ours.map(|name| format!("generate_{name}"))
    );
    assert_eq!(names("refused"), ["llama_cpp_prompt", "llama_cpp_decode"]);
    let reason = json["refused"][0]["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("not run: found no libggml-base.so*"),
        "{reason}"
    );
}

/// Without configurations: the model as stored, and INT8 inputs beside weights of integers.
#[test]
fn generation_has_rows_of_8_bit_inputs_beside_integers() {
    let folder = tempfile::tempdir().expect("a folder");
    let q8 = folder.path().join("q8.gguf").display().to_string();
    let mut convert = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    convert.args([
        "convert",
        "embedded",
        &q8,
        "--to",
        "gguf",
        "--weights",
        "q8_0",
    ]);
    assert!(convert.status().expect("mxlab runs").success());
    let of_bytes = "generate_decode__a-int8+head-a-int8";
    for (model, has_integers) in [("embedded", false), (q8.as_str(), true)] {
        let output = mxlab(&["--device", "cpu", "--model", model, "--list"]);
        let rows = text(&output.stdout);
        assert!(rows.contains("generate_decode__baseline"), "{rows}");
        assert_eq!(rows.contains(of_bytes), has_integers, "{rows}");
    }
}

/// A record that can no longer be written loses no timings.
#[test]
fn what_was_timed_is_printed_though_the_record_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let gone = folder.path().join("gone");
    fs::create_dir(&gone).expect("a folder");
    // After the first record is written, the peer replaces the folder by a file.
    let away = format!("rm -rf {0}; : > {0}; {MILLISECOND}", gone.display());
    let peer = program(folder.path(), "peer", &script(&away));
    let record = gone.join("run.json");
    let output = run(&peer, &["--output-path", record.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("their_copy"));
    let message = text(&output.stderr);
    assert!(message.contains("gone"), "{message}");
}
