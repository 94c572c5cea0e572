//! Rotations merged into weights: the same function before rounding in every kind of file, and
//! refusals of models whose function would be another one.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mxlab::checkpoint::{Checkpoint, TensorFile, synthetic};
use mxlab::config::QuantConfig;
use mxlab::embedded;
use mxlab::engine::{Engine, Request};
use mxlab::model::cpu::CpuEngine;
use mxlab::model::merged::merged;
use mxlab_kernels::format::{FloatType, random_at};
use serde_json::{Value, json};

use crate::checkpoint::phi3::phi3;
use crate::checkpoint::tiny::{TinyModel, write};
use crate::stories::text;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(arguments).env("HF_HUB_OFFLINE", "1");
    command.output().expect("runs")
}

fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {message}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(arguments: &[&str], expected: &str) {
    let output = run(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && message.contains(expected),
        "{arguments:?}: {expected:?} is not in {message:?}"
    );
}

/// Log-likelihoods of the last tokens of random sequences.
fn scores(checkpoint: Checkpoint, dtype: FloatType) -> Vec<f64> {
    let engine = CpuEngine::new(checkpoint, Some(dtype), Some(FloatType::F32)).expect("an engine");
    let tokens = engine.tokenizer().encode("the", false).expect("tokens");
    let most = engine.vocabulary().min(12) as u64;
    let request = |number: u64| Request {
        tokens: (0..20)
            .map(|at| match at {
                0 => tokens[0],
                at => (u64::from(random_at(5, 20 * number + at)) % most) as u32,
            })
            .collect(),
        targets: 8,
    };
    let requests: Vec<Request> = (0..6).map(request).collect();
    let mut model = (engine.load(&QuantConfig::unquantised("baseline"))).expect("a model");
    let scores = model.score(&requests).expect("scores");
    scores.iter().map(|score| score.loglikelihood).collect()
}

fn open(model: &TinyModel) -> Checkpoint {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &model.files());
    Checkpoint::open(folder.path()).expect("a model")
}

/// The tiny model with some fields of its config.
fn tiny(fields: &[(&str, Value)]) -> Checkpoint {
    let mut model = TinyModel::new(FloatType::F32);
    for (name, value) in fields {
        model.config[*name] = value.clone();
    }
    model.fill(FloatType::F32);
    open(&model)
}

fn rotated(checkpoint: Checkpoint, rotation: &str) -> Checkpoint {
    merged(checkpoint, &rotation.parse().expect("a rotation")).expect("a merged model")
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn a_merged_model_is_the_same_function() {
    let yes = || Value::Bool(true);
    let biases = [("attention_bias", yes()), ("mlp_bias", yes())];
    let tied = [&biases[..], &[("tie_word_embeddings", yes())]].concat();
    let embedded = || embedded::checkpoint().expect("a model");
    let grouped = || synthetic::open("tiny:3").expect("a model");
    let (untied, with_biases) = (|| tiny(&[]), || tiny(&biases));
    let tied = || tiny(&tied);
    let fused = || open(&phi3(FloatType::F32));
    let gguf = || {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("model.gguf");
        let name = file.to_str().expect("UTF-8");
        done(&["convert", "embedded", name, "--to", "gguf"]);
        Checkpoint::open(&file).expect("a model")
    };
    type Open<'a> = &'a dyn Fn() -> Checkpoint;
    let models: [(&str, Open, &[&str]); 7] = [
        ("embedded", &embedded, &["2", "32", "16:7", "row:1"]),
        ("GGUF", &gguf, &["32:5"]),
        ("grouped heads", &grouped, &["8:2", "64", "row"]),
        ("untied head", &untied, &["4", "8:3", "row:9"]),
        ("biases", &with_biases, &["2:1", "8", "row:4"]),
        ("biases, tied head", &tied, &["8:6"]),
        ("fused", &fused, &["4:2", "row"]),
    ];
    for (name, open, rotations) in models {
        let plain = scores(open(), FloatType::F32);
        for rotation in rotations {
            let turned = scores(rotated(open(), rotation), FloatType::F32);
            let difference = largest_difference(&plain, &turned);
            println!("{name}, {rotation}: {difference:.1e} of {:.1}", plain[0]);
            assert!(difference < 2e-4, "{name}, {rotation}: {difference:e}");
            assert_ne!(plain, turned, "{name}: {rotation} changes no sum");
        }
    }
}

/// The norms, the embedding and the head of a written model.
fn floats(model: &Path) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let checkpoint = Checkpoint::open(model).expect("a model");
    let read = |name: &str| {
        let parameter = checkpoint.parameters().named(name).expect("a parameter");
        let view = checkpoint.tensor(parameter).expect("a tensor");
        let mut values = vec![0.0; view.len()];
        view.read_f32(0..view.len(), &mut values);
        values
    };
    let mut norms = Vec::new();
    for parameter in checkpoint.parameters().stored() {
        if parameter.role.is_norm() {
            norms.extend(read(&parameter.name));
        }
    }
    let embedding = read("model.embed_tokens.weight");
    (norms, embedding, read("lm_head.weight"))
}

#[test]
fn every_target_takes_what_is_merged_as_plain_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let name = |name: &str| path(name).to_str().expect("UTF-8").to_owned();
    let convert = |to: &str, output: &str, others: &[&str]| {
        let own = ["convert", "embedded", output, "--to", to];
        let merge = ["--merge-rotation", "32:5"];
        done(&[&own[..], &merge, others].concat())
    };
    let open = |name: &str| Checkpoint::open(&path(name)).expect("a model");
    let bf16 = FloatType::Bf16;
    convert("dense", &name("dense"), &[]);
    let embedded = || embedded::checkpoint().expect("a model");
    let dense = scores(open("dense"), bf16);
    // Weights are rounded to bf16 once.
    assert_eq!(dense, scores(rotated(embedded(), "32:5"), bf16));
    let difference = largest_difference(&dense, &scores(embedded(), bf16));
    assert!(difference < 0.5, "{difference}");

    let (norms, embedding, head) = floats(&path("dense"));
    assert!(norms.iter().all(|&gain| gain == 1.0));
    assert_ne!(embedding, head);
    let config = fs::read(path("dense/config.json")).expect("a config");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!(config["tie_word_embeddings"], json!(false));

    let quantised = ["--weights", "mxfp4"];
    let text = convert("mxlab", &name("mxlab"), &quantised);
    assert!(!text.contains("has codes"), "{text}");
    let expected = scores(open("mxlab"), bf16);
    assert_ne!(expected, dense);
    for (to, output) in [
        ("compressed-tensors", "compressed"),
        ("gguf", "model.gguf"),
        ("dense", "values"),
    ] {
        convert(to, &name(output), &quantised);
        assert_eq!(scores(open(output), bf16), expected, "{to}");
    }
    // A head of its own, in the type of the model, counts.
    let mebibytes = |model: &str| {
        let table = done(&["eval", "--model", model, "--limit", "1"]);
        let row = table.lines().find(|line| line.starts_with("baseline "));
        let row = row.unwrap_or_else(|| panic!("{table}"));
        let row: Vec<&str> = row.split_whitespace().collect();
        row[row.len() - 2].parse::<f64>().expect("MiB")
    };
    let more = mebibytes(&name("dense")) - mebibytes("embedded");
    let of_head = 2.0 * head.len() as f64 / f64::from(1 << 20);
    assert!((more - of_head).abs() < 0.11, "{more} MiB, not {of_head}");
    // What is not the embedding may have a format.
    convert(
        "mxlab",
        &name("head"),
        &[&quantised[..], &["--head", "fp8_e4m3"]].concat(),
    );
    assert_ne!(scores(open("head"), bf16), expected);
}

#[test]
fn calibration_names_what_is_merged() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let name = |name: &str| path(name).to_str().expect("UTF-8").to_owned();
    let text = text(folder.path());
    let by = ["--text", &text, "--sequences", "12", "--length", "48"];
    let formats = ["--weights", "mxfp4", "--activations", "fp6_e2m3"];
    let calibrate = |output: &str, others: &[&str]| {
        let command = ["calibrate", "embedded", output];
        done(&[&command[..], &by, &formats, others].concat());
    };
    calibrate(&name("merged"), &["--merge-rotation", "16:3"]);
    calibrate(&name("plain"), &[]);
    let run = |model: &str| -> Value {
        let file = fs::read(path(model).join("model.safetensors")).expect("a file");
        let size = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
        let header: Value = serde_json::from_slice(&file[8..8 + size]).expect("a header");
        let run = header["__metadata__"]["mxlab.calibration"].as_str();
        serde_json::from_str(run.expect("a run")).expect("JSON")
    };
    assert_eq!(run("merged")["merged_rotation"], "16:3");
    assert_ne!(run("merged")["model"], run("plain")["model"]);
    assert_eq!(run("plain").get("merged_rotation"), None);
    let digest = |rotation: &str| {
        let embedded = embedded::checkpoint().expect("a model");
        rotated(embedded, rotation).fingerprint()
    };
    assert_ne!(digest("16:3"), digest("16:4"));
    // The same codes as of a model that was merged before.
    let dense = name("dense");
    let merge = ["--merge-rotation", "16:3"];
    done(
        &[
            &["convert", "embedded", &dense, "--to", "dense"][..],
            &merge,
        ]
        .concat(),
    );
    let again = name("again");
    done(&[&["calibrate", &dense, &again][..], &by, &formats].concat());
    let codes = |model: &str| -> Vec<(String, Vec<u8>)> {
        let file = TensorFile::open(&path(model).join("model.safetensors")).expect("a file");
        let tensors = file.tensors();
        let tensors = tensors.map(|tensor| (tensor.name().to_owned(), tensor.bytes().to_vec()));
        tensors.collect()
    };
    assert_eq!(codes("merged"), codes("again"));
    // Nothing of it is said, or done, when the model runs.
    let merge = [
        "convert",
        &again,
        &name("twice"),
        "--to",
        "mxlab",
        "--weights",
        "mxfp4",
    ];
    refused(
        &[&merge[..], &["--merge-rotation", "8"]].concat(),
        "is stored with a quantised input",
    );
}

#[test]
fn rotations_that_undo_each_other_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out");
    let output = output.to_str().expect("UTF-8");
    let convert = [
        "convert",
        "embedded",
        output,
        "--to",
        "mxlab",
        "--weights",
        "mxfp4",
    ];
    let both = ["--merge-rotation", "32", "--rotation"];
    refused(
        &[&convert[..], &both, &["32"]].concat(),
        "--rotation undoes --merge-rotation at the input of q",
    );
    for others in [&["32:1"][..], &["32", "--rotated", "down"]] {
        let done = run(&[&convert[..], &both, others, &["--overwrite"]].concat());
        assert!(
            done.status.success(),
            "{others:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
}

#[test]
fn models_with_another_function_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out");
    let output = output.to_str().expect("UTF-8");
    let convert = |model: &str, rotation: &str, expected: &str| {
        let own = [
            "convert",
            model,
            output,
            "--to",
            "dense",
            "--merge-rotation",
        ];
        refused(&[&own[..], &[rotation]].concat(), expected);
        assert!(!Path::new(output).exists());
    };
    for (model, expected) in [
        (
            "gemma-2-2b",
            "type `gemma2`, which has norms behind projections",
        ),
        ("gemma-3-1b", "norms behind projections"),
        (
            "olmo-2-1b",
            "type `olmo2`, which has norms behind projections",
        ),
        ("starcoder2-3b", "norms that subtract the mean"),
    ] {
        convert(&format!("synthetic:{model}"), "32", expected);
    }
    convert("synthetic:odd", "32", "a residual stream of 77 features: ");
    convert("synthetic:odd", "row", "a residual stream of 77 features: ");
    convert("embedded", "24", "a power of two");
    convert("embedded", "half", "unknown rotation `half`");
    let model = folder.path().join("rotated");
    let model = model.to_str().expect("UTF-8");
    let rotated = [
        "convert",
        "embedded",
        model,
        "--to",
        "mxlab",
        "--weights",
        "mxfp4",
    ];
    done(&[&rotated[..], &["--rotation", "16"]].concat());
    convert(model, "32", "is stored with the rotation 16");
}
