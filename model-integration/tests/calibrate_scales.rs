//! Scales of tensors that `mxlab calibrate` chooses, and those that several weights share.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use candle_core::{Device, Tensor, safetensors};

fn mxlab(arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    let output = command.args(arguments).output().expect("runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {message}");
}

fn calibrate(model: &Path, output: &Path, others: &[&str]) {
    let [model, output] = [model, output].map(|path| path.to_str().expect("UTF-8"));
    let own = [
        "calibrate",
        model,
        output,
        "--weights",
        "nvfp4",
        "--text",
        "embedded",
    ];
    let sizes = ["--sequences", "8", "--length", "64"];
    mxlab(&[&own, &sizes[..], others].concat());
}

fn tensors(model: &Path) -> HashMap<String, Tensor> {
    safetensors::load(model.join("model.safetensors"), &Device::Cpu).expect("tensors")
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.flatten_all().expect("a vector");
    tensor.to_vec1().expect("bytes")
}

fn number(tensor: &Tensor) -> f32 {
    tensor
        .flatten_all()
        .expect("a vector")
        .to_vec1()
        .expect("floats")[0]
}

/// The embedded model in floats, and the same as a Phi-3, whose projections are fused.
fn models(folder: &Path) -> [std::path::PathBuf; 2] {
    let [llama, phi] = ["llama", "phi"].map(|name| folder.join(name));
    mxlab(&[
        "convert",
        "embedded",
        llama.to_str().expect("UTF-8"),
        "--to",
        "dense",
    ]);
    fs::create_dir(&phi).expect("made");
    for entry in fs::read_dir(&llama).expect("a model") {
        let path = entry.expect("a file").path();
        fs::copy(&path, phi.join(path.file_name().expect("a name"))).expect("copied");
    }
    let config = fs::read_to_string(llama.join("config.json")).expect("a config");
    let config = config
        .replace("\"llama\"", "\"phi3\"")
        .replace("LlamaFor", "Phi3For");
    fs::write(phi.join("config.json"), config).expect("written");
    let mut all = tensors(&llama);
    for layer in 0..10 {
        for (whole, parts) in FUSED {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            let parts: Vec<Tensor> = parts
                .iter()
                .map(|part| all.remove(&name(part)).expect("a weight"))
                .collect();
            all.insert(name(whole), Tensor::cat(&parts, 0).expect("one tensor"));
        }
    }
    safetensors::save(&all, phi.join("model.safetensors")).expect("written");
    [llama, phi]
}

const FUSED: [(&str, &[&str]); 2] = [
    (
        "self_attn.qkv_proj",
        &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    ),
    ("mlp.gate_up_proj", &["mlp.gate_proj", "mlp.up_proj"]),
];

/// Weights that programs run as one product have one scale, and so have those of one tensor, with
/// the same codes.
#[test]
fn fused_projections_have_one_tensor_scale() {
    let folder = tempfile::tempdir().expect("a folder");
    let [llama, phi] = models(folder.path());
    let calibrated = |model: &Path, name: &str, others: &[&str]| {
        let output = folder.path().join(name);
        calibrate(model, &output, others);
        tensors(&output)
    };
    for (target, codes, scales, global) in [
        (
            "compressed-tensors",
            "weight_packed",
            "weight_scale",
            "weight_global_scale",
        ),
        ("modelopt", "weight", "weight_scale", "weight_scale_2"),
    ] {
        let to = ["--to", target, "--scales", "tensor"];
        let apart = calibrated(&llama, &format!("{target}-llama"), &to);
        let fused = calibrated(&phi, &format!("{target}-phi"), &to);
        let mut scales_of_layers = Vec::new();
        for layer in 0..10 {
            let name = |part: &str, of: &str| format!("model.layers.{layer}.{part}.{of}");
            for (whole, parts) in FUSED {
                let one = number(&fused[&name(whole, global)]);
                for part in parts {
                    assert_eq!(number(&apart[&name(part, global)]), one, "{layer} {part}");
                }
                for of in [codes, scales] {
                    let parts = parts.iter().flat_map(|part| raw(&apart[&name(part, of)]));
                    let whole = raw(&fused[&name(whole, of)]);
                    assert!(parts.eq(whole), "{target}: {layer} {of}");
                }
                scales_of_layers.push(one);
            }
            scales_of_layers.push(number(&apart[&name("self_attn.o_proj", global)]));
        }
        scales_of_layers.dedup();
        assert!(scales_of_layers.len() > 20, "{scales_of_layers:?}");
    }
    // In our own layout each has its own.
    let own = calibrated(&llama, "own", &[]);
    let scale = |part: &str| number(&own[&format!("model.layers.4.{part}.weight.tensor_scale")]);
    assert!(scale("self_attn.q_proj") != scale("self_attn.v_proj"));
    // Of seven scales, the rule's is seldom the best.
    let tensor = calibrated(&llama, "tensor", &["--scales", "tensor", "--threads", "1"]);
    let names = own.keys().filter(|name| name.ends_with(".tensor_scale"));
    let ratios = names.map(|name| number(&tensor[name]) / number(&own[name]));
    let ratios: Vec<f32> = ratios.collect();
    assert!(
        ratios.iter().all(|ratio| (0.999..1.751).contains(ratio)),
        "{ratios:?}"
    );
    assert!(
        ratios.iter().filter(|ratio| **ratio > 1.001).count() > 35,
        "{ratios:?}"
    );
}

/// The bytes of a tensor of codes or of scales.
fn raw(tensor: &Tensor) -> Vec<u8> {
    match tensor.dtype() {
        candle_core::DType::U8 => bytes(tensor),
        _ => {
            let floats = tensor.to_dtype(candle_core::DType::F32).expect("floats");
            let floats: Vec<f32> = floats
                .flatten_all()
                .expect("a vector")
                .to_vec1()
                .expect("f32");
            floats.iter().flat_map(|x| x.to_le_bytes()).collect()
        }
    }
}
