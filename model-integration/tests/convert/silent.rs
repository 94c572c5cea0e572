//! Conversions that would change values in silence are refused.

use std::fs;

use mxlab::checkpoint::{Checkpoint, synthetic};
use serde_json::{Value, json};
use tempfile::tempdir;

use super::{convert, converted, refused};
use crate::quantised::head::write_untied;

/// FP8 by rows.
const FP8: [&str; 8] = [
    "--weights",
    "fp8_e4m3",
    "--activations",
    "fp8_e4m3",
    "--scale",
    "fp32",
    "--block-size",
    "65536",
];

/// Packages round inputs to even. A configuration that rounds otherwise is not written for them.
#[test]
fn another_rounding_of_inputs_is_not_written() {
    let folder = tempdir().expect("a folder");
    let out = folder.path().join("out").display().to_string();
    for target in ["compressed-tensors", "modelopt"] {
        let mut arguments = vec!["embedded", &out, "--to", target, "--overwrite"];
        arguments.extend(FP8);
        converted(&arguments);
        arguments.extend(["--rounding", "half-to-zero"]);
        refused(&arguments, 1, "nearest/half-to-zero");
    }
}

/// A written model directory with quantised weights, and changes of its files.
#[test]
fn codes_that_are_nan_and_a_changed_sidecar_are_noticed() {
    let folder = tempdir().expect("a folder");
    let out = folder.path().join("out");
    let path = out.display().to_string();
    let mut arguments = vec!["embedded", path.as_str(), "--to", "modelopt"];
    arguments.extend(FP8);
    converted(&arguments);
    let before = Checkpoint::open(&out).expect("a model").fingerprint();
    let sidecar = out.join("hf_quant_config.json");
    let text = fs::read_to_string(&sidecar).expect("the sidecar");
    let mut changed: Value = serde_json::from_str(&text).expect("JSON");
    changed["comment"] = json!("changed");
    fs::write(&sidecar, changed.to_string()).expect("writable");
    let after = Checkpoint::open(&out).expect("a model").fingerprint();
    assert_ne!(before, after);

    // 0x7f is NaN in E4M3.
    let weights = out.join("model.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("a length")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
    let name = "model.layers.0.self_attn.q_proj.weight";
    let begin = header[name]["data_offsets"][0].as_u64().expect("an offset") as usize;
    bytes[8 + length + begin] = 0x7f;
    fs::write(&weights, bytes).expect("writable");
    let dense = folder.path().join("dense").display().to_string();
    refused(&[&path, &dense, "--to", "dense"], 1, "must be finite");
}

/// A packed head is no format of compressed-tensors' linear layers here: that it becomes floats is
/// said.
#[test]
fn codes_that_become_floats_are_said() {
    let folder = tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (packed, again) = (path("packed"), path("again"));
    let to = ["--to", "compressed-tensors"];
    let untied = path("untied");
    let tied = synthetic::open("tiny:5").expect("a model");
    let head = vec![0.5; 512 * 64];
    write_untied(untied.as_ref(), &tied, &head);
    let mut arguments = vec![untied.as_str(), packed.as_str(), "--weights", "fp4_e2m1"];
    arguments.extend(["--head", "fp4_e2m1"]);
    arguments.extend(to);
    converted(&arguments);
    let output = convert(&[packed.as_str(), again.as_str(), to[0], to[1]]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    let line = "written as floats, though the source has codes: 1 tensors, `lm_head.weight`";
    assert!(printed.contains(line), "{printed}");
}
