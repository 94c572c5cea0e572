//! `mxlab calibrate`: the same bytes whatever the machine does, and errors that say what to do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::checkpoint::tiny::{Tensor, TinyModel, VOCABULARY, write};
use crate::stories::text;
use mxlab::checkpoint::{Checkpoint, TensorFile};
use mxlab::config::FormatFlags;
use mxlab::embedded;
use mxlab::engine::{Engine, Request};
use mxlab::model::cpu::CpuEngine;
use mxlab_kernels::format::FloatType;
use serde_json::{Value, json};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(arguments).env("HF_HUB_OFFLINE", "1");
    command
}

fn done(arguments: &[&str]) -> Output {
    let output = command(arguments).output().expect("runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {message}");
    output
}

/// `mxlab calibrate embedded OUTPUT` with W4A6 and other arguments.
fn calibrate<'a>(output: &'a str, text: &'a str, others: &[&'a str]) -> Vec<&'a str> {
    let formats = ["--weights", "mxfp4", "--activations", "fp6_e2m3"];
    let by = ["--text", text, "--sequences", "12", "--length", "48"];
    [
        &["calibrate", "embedded", output][..],
        &formats,
        &by,
        others,
    ]
    .concat()
}

/// The same by every method that is not the default.
fn by_all_methods<'a>(output: &'a str, text: &'a str, others: &[&'a str]) -> Vec<&'a str> {
    let rotated = ["--rotation", "16:3"];
    let methods = ["--scales", "search"];
    calibrate(output, text, &[&rotated[..], &methods, others].concat())
}

fn weights(model: &Path) -> Vec<u8> {
    fs::read(model.join("model.safetensors")).expect("a model")
}

#[test]
fn threads_instruction_sets_and_kills_change_no_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = text(folder.path());
    let path = |name: &str| folder.path().join(name);
    let name = |name: &str| path(name).to_str().expect("UTF-8").to_owned();
    done(&by_all_methods(&name("first"), &text, &[]));
    let first = weights(&path("first"));
    let layers = path("first.calibration");
    assert!(!layers.exists(), "finished layers are left");

    for (number, others) in [&["--threads", "1"][..], &["--isa", "portable"]]
        .iter()
        .enumerate()
    {
        let output = name(&number.to_string());
        done(&by_all_methods(&output, &text, others));
        assert_eq!(weights(Path::new(&output)), first, "{others:?}");
    }

    let output = name("killed");
    let finished = path("killed.calibration").join("layer-0001.safetensors");
    let mut child = command(&by_all_methods(&output, &text, &["--threads", "1"]));
    let mut child = child
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("runs");
    while !finished.exists() {
        assert!(
            child.try_wait().expect("a process").is_none(),
            "it ended before it was killed"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(!path("killed").exists(), "a model of a part of the layers");
    // Another run's layers are not taken.
    let other = command(&by_all_methods(&output, &text, &["--order", "stored"]))
        .output()
        .expect("runs");
    let message = String::from_utf8_lossy(&other.stderr);
    assert!(message.contains("whose `recipe` differs"), "{message}");
    done(&by_all_methods(&output, &text, &[]));
    assert_eq!(weights(&path("killed")), first);
}

/// The sum of the log-likelihoods of the last words of held-out stories.
fn likelihood(checkpoint: Checkpoint, weights: &str) -> f64 {
    let engine = CpuEngine::new(checkpoint, None, None).expect("an engine");
    let requests = embedded::TASK.lines().take(60).map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = line["text"].as_str().expect("a text");
        let tokens = engine.tokenizer().encode(text, true).expect("tokens");
        Request { tokens, targets: 2 }
    });
    let mut requests: Vec<Request> = requests.collect();
    requests.sort_by_key(|request| std::cmp::Reverse(request.tokens.len()));
    let flags = FormatFlags {
        weights: [weights.parse().expect("a format")].into(),
        ..FormatFlags::default()
    };
    let config = flags.config().expect("a configuration");
    let mut model = engine.load(&config).expect("a model");
    let scores = model.score(&requests).expect("scores");
    scores.iter().map(|score| score.loglikelihood).sum()
}

#[test]
fn a_calibrated_model_is_nearer_to_the_original() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = text(folder.path());
    let output = folder.path().join("model");
    let name = output.to_str().expect("UTF-8");
    let weights = [
        "--weights",
        "mxfp4",
        "--text",
        &text,
        "--sequences",
        "40",
        "--length",
        "64",
    ];
    let original = || embedded::checkpoint().expect("the embedded model");
    let baseline = likelihood(original(), "none");
    let nearest = baseline - likelihood(original(), "mxfp4");
    for rotation in [&[][..], &["--rotation", "32:3"]] {
        done(&[&["calibrate", "embedded", name][..], &weights, rotation].concat());
        let calibrated = likelihood(Checkpoint::open(&output).expect("a model"), "none");
        let calibrated = baseline - calibrated;
        assert!(
            calibrated < 0.7 * nearest,
            "{rotation:?}: lost {calibrated} of {nearest}"
        );
        fs::remove_dir_all(&output).expect("removed");
    }
}

/// A Mixtral of three experts of equal weights, of which equal scores choose the first two.
fn with_idle_expert(folder: &Path) {
    let mut model = TinyModel::new(FloatType::F32);
    for (key, value) in [
        ("architectures", json!(["MixtralForCausalLM"])),
        ("model_type", json!("mixtral")),
        ("num_local_experts", json!(3)),
        ("num_experts_per_tok", json!(2)),
    ] {
        model.config[key] = value;
    }
    for layer in 0..2 {
        let experts = format!("model.layers.{layer}.block_sparse_moe");
        for (own, name) in [("gate", "w1"), ("up", "w3"), ("down", "w2")] {
            let own = format!("model.layers.{layer}.mlp.{own}_proj.weight");
            let weight = model.tensor(&own).clone();
            model.remove_tensor(&own);
            model.tensors.extend((0..3).map(|expert| Tensor {
                name: format!("{experts}.experts.{expert}.{name}.weight"),
                ..weight.clone()
            }));
        }
        model.tensors.push(Tensor {
            name: format!("{experts}.gate.weight"),
            dtype: "F32".to_owned(),
            shape: vec![3, 8],
            data: vec![0; 3 * 8 * 4],
        });
    }
    write(folder, &model.files());
}

/// The tensors of an expert in a layer of a packed model.
fn expert(model: &Path, expert: usize) -> BTreeMap<String, Vec<u8>> {
    let file = TensorFile::open(&model.join("model.safetensors")).expect("a file");
    let before = format!("model.layers.1.block_sparse_moe.experts.{expert}.");
    let own = file.tensors().filter_map(|tensor| {
        let name = tensor.name().strip_prefix(&before)?;
        Some((name.to_owned(), tensor.bytes().to_vec()))
    });
    own.collect()
}

#[test]
fn an_expert_that_no_token_chooses_has_the_nearest_codes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let name = |name: &str| path(name).to_str().expect("UTF-8").to_owned();
    let [model, text, calibrated, nearest] = ["model", "text", "calibrated", "nearest"].map(name);
    fs::create_dir(&model).expect("made");
    with_idle_expert(Path::new(&model));
    let words = (0..200).map(|i| VOCABULARY[3 + (i * i + i / 7) % 9]);
    fs::write(&text, words.collect::<Vec<_>>().join(" ")).expect("written");
    let formats = ["--weights", "mxfp4", "--block-size", "4"];
    let by = ["--text", &text, "--sequences", "8", "--length", "16"];
    done(&[&["calibrate", &model, &calibrated][..], &formats, &by].concat());
    let convert = ["convert", &model, &nearest, "--to", "mxlab"];
    done(&[&convert[..], &formats].concat());
    let [calibrated, nearest] = [calibrated, nearest].map(|model| {
        let model = Path::new(&model);
        [0, 2].map(|number| expert(model, number))
    });
    assert!(!nearest[1].is_empty());
    assert_eq!(calibrated[1], nearest[1]);
    assert_ne!(calibrated[0], nearest[0], "a chosen expert is calibrated");
}

#[test]
fn what_cannot_be_calibrated_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = text(folder.path());
    let output = folder.path().join("out");
    let output = output.to_str().expect("UTF-8");
    let part = format!("{text}#0..10000000");
    let run = |text: &str, others: &[&str]| {
        let own = ["calibrate", "embedded", output, "--text", text];
        command(&[&own[..], others].concat())
            .output()
            .expect("runs")
    };
    for (text, others, code, expected) in [
        (
            &text,
            &["--activations", "fp6_e2m3"][..],
            2,
            "quantises no weights",
        ),
        (&text, &["--weights", "q4_0"], 2, "block scales"),
        (
            &text,
            &["--weights", "mxfp4", "--length", "100000"],
            2,
            "the model takes 512",
        ),
        (
            &text,
            &["--weights", "mxfp4", "--sequences", "99999999"],
            1,
            "give more text",
        ),
        (
            &text,
            &["--weights", "mxfp4", "--sequences", "1", "--text", &text],
            1,
            "fewer than",
        ),
        (
            &text,
            &["--weights", "mxfp4", "--length", "1"],
            1,
            "too short",
        ),
        (
            &text,
            &["--weights", "mxfp4", "--sequences", "0"],
            2,
            "--sequences",
        ),
        (
            &text,
            &["--weights", "mxfp4", "--damping=-1"],
            2,
            "--damping",
        ),
        (&part, &["--weights", "mxfp4"], 1, "characters"),
        (
            &"none.txt".to_owned(),
            &["--weights", "mxfp4"],
            1,
            "none.txt",
        ),
    ] {
        let refused = run(text, others);
        let message = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{others:?}: {message}");
        assert!(
            message.contains(expected),
            "{expected:?} is not in {message:?}"
        );
        assert!(!folder.path().join("out").exists());
    }
    // Files of others are never taken for finished layers, nor removed.
    let notes = folder.path().join("out.calibration/notes.txt");
    fs::create_dir(notes.parent().expect("a folder")).expect("made");
    fs::write(&notes, "mine").expect("written");
    let sizes = ["--sequences", "2", "--length", "32"];
    let refused = run(&text, &[&["--weights", "mxfp4"], &sizes[..]].concat());
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("is not empty"), "{message}");
    assert_eq!(fs::read_to_string(&notes).expect("kept"), "mine");
    fs::remove_dir_all(notes.parent().expect("a folder")).expect("removed");
    // A model is never lost, and hours are not spent for nothing.
    fs::create_dir(folder.path().join("out")).expect("made");
    fs::write(folder.path().join("out/config.json"), "{}").expect("written");
    for (others, expected) in [
        (&["--weights", "mxfp4"][..], "--overwrite"),
        (
            &[
                "--weights",
                "nf4",
                "--to",
                "compressed-tensors",
                "--overwrite",
            ],
            "nf4",
        ),
    ] {
        let refused = run(&text, others);
        let message = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success() && message.contains(expected),
            "{message}"
        );
        assert!(!folder.path().join("out.calibration").exists());
    }
}
