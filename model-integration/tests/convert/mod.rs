//! `mxlab convert`: a converted model has the scores of its original.

mod gguf;
mod peers;
mod silent;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

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

/// A name, a configuration, and the targets that have its formats.
const CONFIGURATIONS: [(&str, &str, &[&str]); 10] = [
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
    (
        "groups",
        "weights = { element = \"int4\", scale = \"bf16\" }\n\
         [[override]]\nprojections = [\"down\"]\nweights = \"fp8_e4m3\"\n\
         [[override]]\nprojections = [\"q\"]\n\
         weights = { element = \"int8\", scale = \"fp32\", block_size = 4096 }\n\
         [[override]]\nprojections = [\"k\"]\nweights = { element = \"int3\", scale = \"fp16\" }\n\
         [[override]]\nprojections = [\"v\"]\nweights = \"none\"",
        &["compressed-tensors"],
    ),
    (
        "fp8-rows",
        "default = { scale = \"fp32\", block_size = 4096 }\n\
         weights = \"fp8_e4m3\"\nactivations = \"fp8_e4m3\"",
        &["compressed-tensors", "modelopt"],
    ),
    (
        "mxfp8-inputs",
        "default = { rule = \"rceil\" }\nweights = \"fp8_e4m3\"\nactivations = \"fp8_e4m3\"",
        &["compressed-tensors", "modelopt"],
    ),
    (
        "mxfp4-inputs",
        "default = { rule = \"rceil\" }\nweights = \"fp4_e2m1\"\nactivations = \"fp4_e2m1\"",
        &["modelopt"],
    ),
    (
        "w4a6",
        "weights = \"fp4_e2m1\"\nactivations = { element = \"fp6_e2m3\", rounding = \"away\" }\n\
         [[override]]\nprojections = [\"down\"]\nactivations = \"none\"\n\
         [[override]]\nlayers = \"2\"\nactivations = \"int8\"",
        &["mxlab"],
    ),
    ("nvfp4", NVFP4, &["modelopt", "mxlab", "dense"]),
    (
        "int8-rows",
        "weights = { element = \"int8\", scale = \"fp32\", block_size = 4096 }\n\
         [[override]]\nprojections = [\"down\"]\nweights = { element = \"fp4_e2m1\", \
         scale = \"ue4m3\", block_size = 16, tensor_scale = true, dialect = \"nvidia\" }",
        &["modelopt"],
    ),
];

const NVFP4: &str = "default = { scale = \"ue4m3\", block_size = 16, tensor_scale = true, \
    dialect = \"nvidia\" }\nweights = \"fp4_e2m1\"";

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

/// Codes and scales of all projections; the tensor scale where `with_factor`.
fn stored_codes(folder: &str, with_factor: bool) -> Vec<(Vec<u8>, Vec<u8>, u32)> {
    let checkpoint = Checkpoint::open(folder.as_ref()).expect("a model");
    let projections = checkpoint.parameters().projections();
    let codes = projections.map(|(_, _, weight)| {
        let view = checkpoint.tensor(weight).expect("a weight");
        let format = view.format().expect("codes");
        let packed = view.packed(&format).expect("codes");
        let factor = packed.tensor_scale().to_bits();
        let factor = if with_factor { factor } else { 0 };
        (packed.codes().to_vec(), packed.scales().to_vec(), factor)
    });
    codes.collect()
}

#[test]
fn codes_and_scales_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let read = |name: &str| fs::read(folder.path().join(name).join("model.safetensors"));
    let config = path("nvfp4.toml");
    fs::write(&config, NVFP4).expect("writable");
    let own = path("own");
    converted(&["embedded", &own, "--to", "mxlab", "--config", &config]);
    let expected = stored_codes(&own, false);
    let exact = stored_codes(&own, true);

    // The divisors of compressed-tensors are reciprocals, and stay what they are from then on.
    let [divided, again, third] = ["divided", "again", "third"].map(path);
    converted(&[&own, &divided, "--to", "compressed-tensors"]);
    assert_eq!(stored_codes(&divided, false), expected);
    converted(&[&divided, &again, "--to", "compressed-tensors"]);
    assert!(read("divided").expect("a file") == read("again").expect("a file"));
    converted(&[&divided, &third, "--to", "mxlab"]);
    assert_eq!(stored_codes(&third, false), expected);

    // ModelOpt's factors are ours.
    let [modelopt, back] = ["modelopt", "back"].map(path);
    converted(&[&own, &modelopt, "--to", "modelopt"]);
    assert_eq!(stored_codes(&modelopt, true), exact);
    converted(&[&modelopt, &back, "--to", "mxlab"]);
    assert!(read("own").expect("a file") == read("back").expect("a file"));
}

#[test]
fn files_beside_the_weights_are_carried_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (source, out) = (path("source"), path("out"));
    converted(&[
        "embedded",
        &source,
        "--to",
        "mxlab",
        "--weights",
        "fp4_e2m1",
    ]);
    let kept = [
        ("generation_config.json", "{\"eos_token_id\": 1}"),
        ("chat_template.jinja", "{{ messages }}"),
        ("special_tokens_map.json", "{\"bos_token\": \"<s>\"}"),
        ("tokenizer.model", "not read"),
        ("LICENSE", "a licence"),
    ];
    let left = [
        ("README.md", "another model"),
        ("hf_quant_config.json", "{}"),
    ];
    for (name, text) in kept {
        fs::write(Path::new(&source).join(name), text).expect("writable");
    }
    fs::write(Path::new(&source).join("README.md"), left[0].1).expect("writable");
    let config = Path::new(&source).join("config.json");
    let text = fs::read_to_string(&config).expect("a file");
    let text = text.replacen('{', "{\n  \"my_field\": [1, {\"a\": 2}],", 1);
    fs::write(&config, text).expect("writable");

    converted(&[&source, &out, "--to", "compressed-tensors"]);
    let at = |name: &str| Path::new(&out).join(name);
    for (name, text) in kept {
        assert_eq!(fs::read_to_string(at(name)).expect(name), text);
    }
    for (name, _) in left {
        assert!(!at(name).exists(), "{name}");
    }
    let settings = |folder: &str| -> serde_json::Map<String, serde_json::Value> {
        let text = fs::read(Path::new(folder).join("config.json")).expect("a file");
        serde_json::from_slice(&text).expect("JSON")
    };
    let mut written = settings(&out);
    written
        .remove("quantization_config")
        .expect("a quantisation");
    assert_eq!(written, settings(&source));
    // Nothing of it is left in a model without quantisation.
    let dense = path("dense");
    converted(&[&out, &dense, "--to", "dense"]);
    assert_eq!(settings(&dense), written);
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
        "dense",
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
    refused_with(
        "modelopt",
        &["--weights", "fp8_e4m3"],
        1,
        "its input in floats; ModelOpt takes",
    );
    refused_with(
        "compressed-tensors",
        &["--weights", "int8", "--kv", "int8"],
        2,
        "quantises the cache",
    );
    refused_with(
        "modelopt",
        &["--weights", "fp8_e4m3", "--head-activations", "int8"],
        2,
        "quantises the head's input",
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
    refused(
        &[&out, &out, "--to", "dense", "--overwrite"],
        2,
        "is the model to convert",
    );
}

/// An interrupted conversion leaves nothing behind.
#[test]
fn an_interrupted_conversion_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let entries = || fs::read_dir(folder.path()).expect("readable").count();
    let mut mxlab = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    mxlab.args(["convert", "synthetic:smollm2-135m", "--to", "dense"]);
    mxlab.arg(folder.path().join("out"));
    let mut running = mxlab.stderr(Stdio::piped()).spawn().expect("mxlab runs");
    while entries() == 0 {
        assert!(
            running.try_wait().expect("a child").is_none(),
            "it ended early"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let process = running.id().to_string();
    let sent = Command::new("kill").args(["-INT", &process]).status();
    assert!(sent.expect("kill runs").success());
    let output = running.wait_with_output().expect("a child");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains("interrupted: nothing is kept"),
        "{message}"
    );
    assert!(!output.status.success());
    assert_eq!(entries(), 0, "{message}");
}
