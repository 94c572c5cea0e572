//! `mxlab convert`: a converted model has the scores of its original.

use not_run::not_run;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mxlab::checkpoint::Checkpoint;
use mxlab::config::{FormatFlags, QuantConfig, load};
use mxlab::embedded;
use mxlab::engine::{Engine, Request};
use mxlab::model::cpu::CpuEngine;

fn convert(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command
        .arg("convert")
        .args(arguments)
        .env("HF_HUB_OFFLINE", "1");
    command.output().expect("runs")
}

fn converted(arguments: &[&str]) {
    let output = convert(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {message}");
}

fn refused(arguments: &[&str], code: i32, expected: &str) {
    let output = convert(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(
        message.contains(expected),
        "{expected:?} is not in {message:?}"
    );
}

/// Bits of the log-likelihoods of some examples of the embedded task.
fn scores(checkpoint: Checkpoint, config: &QuantConfig) -> Vec<u64> {
    let engine = CpuEngine::new(checkpoint, None, None).expect("an engine");
    let requests = embedded::TASK.lines().take(4).map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let text = line["text"].as_str().expect("a text");
        let tokens = engine.tokenizer().encode(text, true).expect("tokens");
        Request { tokens, targets: 3 }
    });
    let mut requests: Vec<Request> = requests.collect();
    requests.sort_by_key(|request| std::cmp::Reverse(request.tokens.len()));
    let mut model = engine.load(config).expect("a model");
    let scores = model.score(&requests).expect("scores");
    scores
        .iter()
        .map(|score| score.loglikelihood.to_bits())
        .collect()
}

fn stored(folder: &Path) -> Vec<u64> {
    let checkpoint = Checkpoint::open(folder).expect("a model");
    scores(checkpoint, &QuantConfig::unquantised("baseline"))
}

/// Weights alone; the second gives several projections formats of their own.
const CONFIGURATIONS: [(&str, &str, &[&str]); 3] = [
    (
        "mxfp4",
        "weights = \"fp4_e2m1\"",
        &["compressed-tensors", "mxlab", "dense"],
    ),
    (
        "mixed",
        "default = { scale = \"ue5m3\", block_size = 16 }\nweights = \"fp4_e2m1\"\n\
         [[override]]\nprojections = [\"down\"]\nweights = \"none\"\n\
         [[override]]\nlayers = \"1-2\"\nprojections = [\"k\"]\nweights = \"fp6_e3m2\"",
        &["mxlab", "dense"],
    ),
    (
        "some",
        "weights = \"fp6_e2m3\"\n[[override]]\nlayers = \"0\"\nweights = \"none\"",
        &["compressed-tensors"],
    ),
];

#[test]
fn a_converted_model_scores_as_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, text, targets) in CONFIGURATIONS {
        let file = path(&format!("{name}.toml"));
        fs::write(&file, text).expect("writable");
        let config = load(&file, &FormatFlags::default()).expect("a configuration");
        let expected = scores(embedded::checkpoint().expect("a model"), &config);
        for target in targets {
            let out = path(&format!("{name}-{target}"));
            converted(&["embedded", &out, "--to", target, "--config", &file]);
            assert_eq!(stored(out.as_ref()), expected, "{name} to {target}");
        }
    }
    // Weights that are quantised already keep their values in every layout.
    let (packed, expected) = (
        path("mxfp4-compressed-tensors"),
        stored(path("mxfp4-dense").as_ref()),
    );
    for target in ["mxlab", "dense", "compressed-tensors"] {
        let out = path(&format!("again-{target}"));
        converted(&[&packed, &out, "--to", target]);
        assert_eq!(stored(out.as_ref()), expected, "again to {target}");
    }
    let files = |name: &str| fs::read(folder.path().join(name).join("model.safetensors"));
    let (first, again) = (
        files("mxfp4-compressed-tensors"),
        files("again-compressed-tensors"),
    );
    assert!(first.expect("a file") == again.expect("a file"));
}

#[test]
fn what_cannot_be_converted_is_refused_and_nothing_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let out = path("out");
    let to = |target: &'static str| ["embedded", &out, "--to", target].map(str::to_owned);
    let refused_with = |target: &'static str, more: &[&str], code, expected| {
        let arguments = to(target);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        refused(&[&arguments, more].concat(), code, expected);
    };
    refused_with("mxlab", &[], 2, "no weight is quantised");
    refused_with(
        "mxlab",
        &["--config", "mx-linear"],
        2,
        "quantises activations",
    );
    refused_with(
        "compressed-tensors",
        &["--weights", "int4"],
        1,
        "compressed-tensors takes fp4_e2m1",
    );
    let entries = || fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(entries(), 0);

    fs::create_dir(&out).expect("writable");
    fs::write(path("out/notes.txt"), "mine").expect("writable");
    refused_with("dense", &[], 2, "replace it with --overwrite");
    refused_with("dense", &["--overwrite"], 2, "not a model directory");
    assert_eq!(fs::read(path("out/notes.txt")).expect("a file"), b"mine");
    fs::write(path("out/config.json"), "{}").expect("writable");
    converted(&["embedded", &out, "--to", "dense", "--overwrite"]);
    assert!(!Path::new(&path("out/notes.txt")).exists());
    assert_eq!(entries(), 1);
    let config = QuantConfig::unquantised("baseline");
    let expected = scores(embedded::checkpoint().expect("a model"), &config);
    assert_eq!(stored(out.as_ref()), expected);
}

/// compressed-tensors decompresses a packed Llama and a packed Phi-3 to the floats of `--to dense`.
/// `MXLAB_PYTHON` names a Python with compressed-tensors, transformers and torch.
#[test]
fn compressed_tensors_reads_what_is_written_for_it() {
    let Some(python) = std::env::var_os("MXLAB_PYTHON") else {
        not_run("comparison with compressed-tensors", "MXLAB_PYTHON");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let script = |name: &str, arguments: &[&str]| {
        let script = format!("{}/tests/peers/{name}", env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(&python).arg(script).args(arguments).output();
        let output = output.expect("a Python");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {message}");
        println!("{}", String::from_utf8_lossy(&output.stdout).trim());
    };
    script("transformers_logits.py", &[&path("models")]);
    for (model, format) in [
        ("embedded".to_owned(), "fp4_e2m1"),
        (path("models/phi3-longrope"), "fp4_e2m1"),
        (path("models/llama-llama3"), "fp6_e2m3"),
    ] {
        let [packed, dense] = ["packed", "dense"].map(path);
        for (out, target) in [(&packed, "compressed-tensors"), (&dense, "dense")] {
            converted(&[
                &model,
                out,
                "--to",
                target,
                "--weights",
                format,
                "--overwrite",
            ]);
        }
        script("compressed_tensors_weights.py", &[&packed, &dense]);
    }
}
