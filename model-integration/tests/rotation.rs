//! Rotated models: the same function before rounding, one result packed and not, and refusals.

use std::path::Path;
use std::process::{Command, Output};

use mxlab::config::{FormatFlags, Projection, QuantConfig};
use mxlab::embedded;
use mxlab::study::expand::only;
use mxlab::study::explain::between;
use mxlab::study::weights::errors;
use mxlab_kernels::format::{FloatType, ScaleRule};
use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(arguments).env("HF_HUB_OFFLINE", "1");
    command.output().expect("runs")
}

fn refused(arguments: &[&str], expected: &str) {
    let output = run(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && message.contains(expected),
        "{arguments:?}: {expected:?} is not in {message:?}"
    );
}

/// The log-likelihoods of 20 examples under one configuration.
fn scores(folder: &Path, model: &str, flags: &[&str]) -> Vec<f64> {
    let output = folder.join("eval");
    let output = output.to_str().expect("UTF-8");
    let own = ["eval", "--model", model, "--limit", "20"];
    let kept = ["--output-path", output, "--log-samples", "--overwrite"];
    let done = run(&[&own[..], &kept, flags].concat());
    let message = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{flags:?}: {message}");
    let logs = std::fs::read_dir(folder.join("eval/log")).expect("logs");
    let paths = logs.map(|entry| entry.expect("a log").path());
    // Beside that of the baseline, if there is one.
    let path = paths.max_by_key(|path| !path.to_string_lossy().contains(".baseline."));
    let text = std::fs::read_to_string(path.expect("a log")).expect("text");
    let lines = text.lines().skip(1);
    let mut scores: Vec<(u64, f64)> = lines
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let score = line["loglikelihood"].as_f64().expect("a score");
            (line["example"].as_u64().expect("a number"), score)
        })
        .collect();
    scores.sort_by_key(|(example, _)| *example);
    std::fs::remove_dir_all(folder.join("eval")).expect("removed");
    scores.into_iter().map(|(_, score)| score).collect()
}

#[test]
fn a_rotated_model_is_the_same_function_and_its_file_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, model) = (folder.path(), folder.path().join("model"));
    let model = model.to_str().expect("UTF-8");
    // In f32, so that rounding is far below what a wrong rotation would change.
    let f32 = ["--dtype", "float32"];
    let plain = scores(
        folder,
        "embedded",
        &[&f32[..], &["--config", "baseline"]].concat(),
    );
    for rotation in ["32", "16:7", "row"] {
        let rotated = scores(
            folder,
            "embedded",
            &[&f32[..], &["--rotation", rotation]].concat(),
        );
        for (plain, rotated) in plain.iter().zip(&rotated) {
            assert!(
                (plain - rotated).abs() < 2e-3,
                "{rotation}: {rotated}, not {plain}"
            );
        }
        assert_ne!(plain, rotated, "{rotation} changes no sum");
    }
    // What is rotated is no baseline, and its weights are values.
    let gguf = folder.join("q4.gguf");
    let gguf = gguf.to_str().expect("UTF-8");
    let done = run(&[
        "convert",
        "embedded",
        gguf,
        "--to",
        "gguf",
        "--weights",
        "q4_0",
    ]);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let table = run(&["eval", "--model", gguf, "--rotation", "32", "--limit", "2"]).stdout;
    let table = String::from_utf8_lossy(&table);
    let row = |name: &str| {
        let row = table.lines().find(|line| line.starts_with(name));
        let row = row.unwrap_or_else(|| panic!("{name} in {table}"));
        row.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (stored, rotated) = (row("baseline "), row("rotation-32 "));
    let mebibytes = |row: &[String]| row[row.len() - 2].parse::<f64>().expect("MiB");
    assert_eq!(
        (stored[1].as_str(), rotated[1].as_str()),
        ("-", "R"),
        "{table}"
    );
    assert!(rotated[3] != "-", "{table}");
    assert!(mebibytes(&rotated) > 3.0 * mebibytes(&stored), "{table}");

    let formats = [
        "--weights",
        "mxfp4",
        "--activations",
        "fp6_e2m3",
        "--rotation",
        "32:5",
    ];
    let convert = ["convert", "embedded", model, "--to", "mxlab"];
    let done = run(&[&convert[..], &formats].concat());
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let stored = scores(folder, model, &["--config", "baseline"]);
    assert_eq!(stored, scores(folder, "embedded", &formats));
    assert_ne!(stored, scores(folder, "embedded", &formats[..4]));
    // The same rotation again is the one that is there.
    assert_eq!(stored, scores(folder, model, &["--rotation", "32:5"]));
    let again = folder.join("again");
    let again = again.to_str().expect("UTF-8");
    let done = run(&["convert", model, again, "--to", "mxlab"]);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_eq!(stored, scores(folder, again, &["--config", "baseline"]));

    let eval = |flags: &[&'static str], expected: &str| {
        refused(
            &[&["eval", "--model", model, "--limit", "1"], flags].concat(),
            expected,
        );
    };
    eval(&["--rotation", "32"], "is rotated by 32:5");
    for target in ["compressed-tensors", "modelopt", "gguf", "dense"] {
        let output = folder.join(format!("{target}.gguf"));
        let output = output.to_str().expect("UTF-8");
        refused(
            &["convert", model, output, "--to", target],
            "rotated by 32:5",
        );
        let own = [
            "convert",
            "embedded",
            output,
            "--to",
            target,
            "--weights",
            "mxfp4",
        ];
        refused(&[&own[..], &["--rotation", "16"]].concat(), "rotated by 16");
        assert!(!Path::new(output).exists());
    }
    // A file of its tensors alone would lose what its metadata say.
    let file = Path::new(model).join("model.safetensors");
    let file = file.to_str().expect("UTF-8");
    let quantised = ["quantize", file, "--weights", "mxfp4", "--output"];
    refused(&[&quantised[..], &[again]].concat(), "has packed tensors");
    // An older build, to which a field of the format is unknown, refuses it.
    let file = std::fs::read(Path::new(model).join("model.safetensors")).expect("a file");
    let size = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + size]).expect("a header");
    let format = header["__metadata__"]["mxlab.format"]
        .as_str()
        .expect("a format");
    let format: Value = serde_json::from_str(format).expect("JSON");
    assert_eq!(format["rotation"], "32:5");
    let unknown = serde_json::from_value::<mxlab_kernels::format::BlockFormat>(format);
    let message = unknown
        .expect_err("a field that it does not have")
        .to_string();
    assert!(message.contains("unknown field `rotation`"), "{message}");
}

#[test]
fn rotations_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out");
    let output = output.to_str().expect("UTF-8");
    let eval = ["eval", "--model", "embedded", "--limit", "1", "--rotation"];
    for (rotation, expected) in [
        ("24", "a power of two"),
        ("256", ".weight`: rows of"),
        ("half", "unknown rotation `half`"),
        ("32:x", "32:7"),
    ] {
        refused(&[&eval[..], &[rotation]].concat(), expected);
    }
    let emulated = ["--device", "emulator", "--weights", "mxfp4"];
    for rotation in ["4", "row"] {
        let refusal = format!("by {rotation}; expected blocks of a power of two from 8 to 256");
        refused(&[&eval[..], &[rotation], &emulated].concat(), &refusal);
        refused(
            &[&eval[..], &[rotation], &emulated].concat(),
            "--device cpu",
        );
    }
    let convert = ["convert", "embedded", output, "--to", "mxlab"];
    refused(
        &[&convert[..], &["--rotation", "32"]].concat(),
        "not quantised",
    );
    let done = run(&[&convert[..], &["--weights", "mxfp4"]].concat());
    assert!(done.status.success());
    refused(
        &[
            "eval",
            "--model",
            output,
            "--limit",
            "1",
            "--rotation",
            "32",
        ],
        "give weights a format",
    );
    refused(
        &["quantize", "x.safetensors", "--rotation", "32"],
        "belong to a model",
    );
}

/// Some projections alone: before rounding the same function, and its file says which.
#[test]
fn some_projections_are_rotated() {
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, model) = (folder.path(), folder.path().join("model"));
    let model = model.to_str().expect("UTF-8");
    let down = ["--rotation", "32:5", "--rotated", "down"];
    let others = ["--rotation", "32:5", "--rotated", "q,k,v,o,gate,up"];
    let f32 = ["--dtype", "float32"];
    let of = |flags: &[&str]| scores(folder, "embedded", &[&f32[..], flags].concat());
    let plain = of(&["--config", "baseline"]);
    let [of_down, of_others] = [of(&down), of(&others)];
    for rotated in [&of_down, &of_others] {
        let pairs = plain.iter().zip(rotated);
        assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 2e-3));
        assert_ne!(plain, *rotated);
    }
    assert_ne!(of_down, of_others);

    let formats = ["--weights", "mxfp4", "--activations", "fp6_e2m3"];
    let rotated = [&formats[..], &down].concat();
    let convert = ["convert", "embedded", model, "--to", "mxlab"];
    let done = run(&[&convert[..], &rotated].concat());
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let stored = scores(folder, model, &["--config", "baseline"]);
    assert_eq!(stored, scores(folder, "embedded", &rotated));
    assert_ne!(stored, scores(folder, "embedded", &formats));
    assert_ne!(
        stored,
        scores(folder, "embedded", &[&formats[..], &down[..2]].concat())
    );
    refused(
        &[
            "eval",
            "--model",
            "embedded",
            "--weights",
            "mxfp4",
            "--rotated",
            "down",
        ],
        "`rotated`: no rotation",
    );
}

/// What a study makes of a rotated configuration is rotated.
#[test]
fn studies_keep_rotations() {
    let flags = |rotation: &str| FormatFlags {
        weights: vec!["mxfp4".parse().expect("a format")],
        rotation: Some(rotation.parse().expect("a rotation")),
        ..FormatFlags::default()
    };
    let rotated = flags("32:7").config().expect("a configuration");
    let part = only(&rotated, "part", &[(None, Some(Projection::Q))]);
    assert_eq!(part.rotation, rotated.rotation);

    let plain = QuantConfig {
        rotation: None,
        ..rotated.clone()
    };
    let checkpoint = embedded::checkpoint().expect("the embedded model");
    let of = |config: &QuantConfig| {
        let errors = errors(&checkpoint, FloatType::Bf16, config).expect("errors");
        errors.expect("formats").tensors
    };
    assert_ne!(of(&plain), of(&rotated));

    let mut other = flags("32:7");
    other.block_size = Some(16);
    other.scale_rule = Some(ScaleRule::Rceil);
    let other = other.config().expect("a configuration");
    for (hybrid, _) in between(&rotated, &other).expect("hybrids") {
        assert_eq!(hybrid.rotation, rotated.rotation, "{}", hybrid.name);
    }
    assert!(between(&plain, &other).is_err(), "the rotation is no part");
}
