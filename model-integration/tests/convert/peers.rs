//! Other programs read what is written for them. `MXLAB_PYTHON` names a Python with transformers,
//! torch and, for their layouts, gguf, compressed-tensors and nvidia-modelopt.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use not_run::not_run;

use super::{NVFP4, converted};
use crate::stories::text;
use crate::transformers::{difference_on_cpu, sequences};
use mxlab::checkpoint::Checkpoint;

/// The Python, if it has these packages.
fn python(what: &str, packages: &[&str]) -> Option<OsString> {
    let Some(python) = std::env::var_os("MXLAB_PYTHON") else {
        not_run(what, "MXLAB_PYTHON");
        return None;
    };
    let imports = packages.iter().map(|package| format!("import {package}\n"));
    let imports = imports.collect::<String>();
    let output = Command::new(&python).args(["-c", &imports]).output();
    match output.expect("a Python").status.success() {
        true => Some(python),
        false => {
            not_run(what, &format!("MXLAB_PYTHON with {}", packages.join(", ")));
            None
        }
    }
}

/// What a script prints.
fn script(python: &OsString, name: &str, arguments: &[&str]) -> String {
    let script = format!("{}/tests/peers/{name}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .arg(script)
        .args(arguments)
        .env("HF_HUB_OFFLINE", "1")
        .output();
    let output = output.expect("a Python");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {message}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Compares the logits that transformers makes of a model with ours.
fn has_the_logits_of_transformers(python: &OsString, name: &str, model: &str, folder: &str) {
    script(python, "written_logits.py", &[model, folder]);
    let sequences = sequences(folder.as_ref());
    let checkpoint = Checkpoint::open(model.as_ref()).expect("a model");
    let difference = difference_on_cpu(&checkpoint, &sequences);
    println!("{name:34} largest difference of logits {difference:.1e}");
    assert!(difference < 1e-5, "{name}: {difference:e}");
}

#[test]
fn transformers_reads_what_is_written_for_compressed_tensors() {
    let what = "what is written for compressed-tensors";
    let Some(python) = python(what, &["transformers", "compressed_tensors"]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    script(&python, "transformers_logits.py", &[&path("models")]);
    let groups = "weights = { element = \"int4\", scale = \"bf16\" }\n\
        [[override]]\nprojections = [\"down\"]\nweights = \"fp8_e4m3\"\n\
        [[override]]\nprojections = [\"v\"]\nweights = \"none\"";
    let embedded = || "embedded".to_owned();
    for (name, model, text) in [
        ("MXFP4", embedded(), "weights = \"fp4_e2m1\""),
        (
            "MXFP6",
            path("models/llama-llama3"),
            "weights = \"fp6_e2m3\"",
        ),
        ("MXFP8", embedded(), "weights = \"fp8_e4m3\""),
        (
            "MXFP4, Phi-3",
            path("models/phi3-longrope"),
            "weights = \"fp4_e2m1\"",
        ),
        ("NVFP4", embedded(), NVFP4),
        ("NVFP4, Phi-3", path("models/phi3-longrope"), NVFP4),
        (
            "FP8 by rows",
            embedded(),
            "weights = { element = \"fp8_e4m3\", scale = \"fp32\", block_size = 4096 }",
        ),
        (
            "FP8 by groups",
            embedded(),
            "weights = { element = \"fp8_e4m3\", scale = \"bf16\", block_size = 64 }",
        ),
        (
            "INT8 by rows",
            embedded(),
            "weights = { element = \"int8\", scale = \"fp32\", block_size = 4096 }",
        ),
        (
            "INT4 by groups",
            embedded(),
            "weights = { element = \"int4\", scale = \"fp32\", block_size = 32 }",
        ),
        (
            "INT3 by groups",
            embedded(),
            "weights = { element = \"int3\", scale = \"bf16\", block_size = 64 }",
        ),
        ("INT4, MXFP8 and floats", embedded(), groups),
    ] {
        let (config, out) = (path("config.toml"), path("out"));
        fs::write(&config, text).expect("writable");
        let to = ["--to", "compressed-tensors", "--overwrite"];
        converted(&[&[&model, &out, "--config", &config], &to[..]].concat());
        has_the_logits_of_transformers(&python, name, &out, &path("logits"));
    }
}

/// Codes that calibration chose, of weights with a merged rotation, and a head of its own.
#[test]
fn transformers_reads_what_calibration_writes() {
    let what = "what calibration writes for compressed-tensors";
    let Some(python) = python(what, &["transformers", "compressed_tensors"]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (text, out) = (text(folder.path()), path("out"));
    let by = ["--text", &text, "--sequences", "12", "--length", "48"];
    let to = ["--to", "compressed-tensors", "--overwrite"];
    for (name, weights) in [
        ("MXFP4, calibrated", "mxfp4"),
        ("NVFP4, calibrated", "nvfp4"),
    ] {
        let formats = ["--weights", weights, "--merge-rotation", "32:5"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
        let command = command.args(["calibrate", "embedded", &out]);
        let output = command.args(by).args(to).args(formats).output();
        let output = output.expect("runs");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {message}");
        has_the_logits_of_transformers(&python, name, &out, &path("logits"));
    }
}

#[test]
fn transformers_reads_a_written_gguf_file() {
    let what = "what is written for llama.cpp";
    let Some(python) = python(what, &["transformers", "gguf"]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, text) in [
        ("GGUF, BF16", "weights = \"none\""),
        ("GGUF, MXFP4", "weights = \"fp4_e2m1\""),
        (
            "GGUF, NVFP4",
            "weights = { element = \"fp4_e2m1\", scale = \"ue4m3\", block_size = 16 }",
        ),
    ] {
        let (config, out) = (path("config.toml"), path("out.gguf"));
        fs::write(&config, text).expect("writable");
        let to = ["--to", "gguf", "--overwrite"];
        converted(&[&["embedded", &out, "--config", &config], &to[..]].concat());
        has_the_logits_of_transformers(&python, name, &out, &path("logits"));
    }
}

/// ModelOpt's own export of a model, written again, has the same tensors and the same two files; so
/// have, for formats whose codes follow the same rules, our codes of the same floats.
#[test]
fn modelopt_exports_what_is_written() {
    let what = "what is written for ModelOpt";
    let Some(python) = python(what, &["transformers", "modelopt"]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (dense, theirs, again) = (path("dense"), path("theirs"), path("again"));
    converted(&["embedded", &dense, "--to", "dense"]);
    let rows = "{ element = \"int8\", scale = \"fp32\", block_size = 4096 }";
    let int8 = format!("weights = {rows}");
    let mxfp8 =
        "default = { rule = \"rceil\" }\nweights = \"fp8_e4m3\"\nactivations = \"fp8_e4m3\"";
    let fp8 = "default = { scale = \"fp32\", block_size = 4096 }\n\
        weights = \"fp8_e4m3\"\nactivations = \"fp8_e4m3\"";
    for (name, ours) in [
        ("W4A16_NVFP4_CFG", None),
        ("NVFP4_DEFAULT_CFG", None),
        ("MXFP4_DEFAULT_CFG", None),
        ("FP8_DEFAULT_CFG", None),
        ("MXFP8_DEFAULT_CFG", Some(mxfp8)),
        ("FP8_PER_CHANNEL_PER_TOKEN_CFG", Some(fp8)),
        ("INT8_WEIGHT_ONLY_CFG", Some(&int8)),
    ] {
        script(&python, "modelopt_export.py", &[&dense, name, &theirs]);
        // Its folder has no tokenizer.
        fs::copy(
            Path::new(&dense).join("tokenizer.json"),
            Path::new(&theirs).join("tokenizer.json"),
        )
        .expect("a file");
        converted(&[&theirs, &again, "--to", "modelopt", "--overwrite"]);
        let compared = script(&python, "modelopt_tensors.py", &[&theirs, &again]);
        println!("{name:34} written again: {compared}");
        if let Some(text) = ours {
            let config = path("config.toml");
            fs::write(&config, text).expect("writable");
            let to = ["--to", "modelopt", "--overwrite"];
            converted(&[&["embedded", &again, "--config", &config], &to[..]].concat());
            let compared = script(&python, "modelopt_tensors.py", &[&theirs, &again]);
            println!("{name:34} from floats: {compared}");
        }
        fs::remove_dir_all(&theirs).expect("a folder");
    }
}
