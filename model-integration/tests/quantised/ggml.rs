//! Weights in ggml's formats.

use std::path::Path;
use std::process::Command;

use clap::Parser;
use mxlab::checkpoint::{Checkpoint, synthetic};
use mxlab::config::{FormatFlags, QuantConfig};
use mxlab::engine::Engine;
use mxlab::model::cpu::CpuEngine;
use mxlab::model::device::DeviceEngine;
use mxlab::model::device::input::Operands;
use mxlab::model::device::plan::Storage;
use mxlab_harness::device::Device;
use mxlab_kernels::format::{FloatType, GgmlFormat};
use not_run::not_run;
use tempfile::tempdir;

use super::scores;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    formats: FormatFlags,
}

fn config(line: &str) -> QuantConfig {
    let words = std::iter::once("test").chain(line.split_whitespace());
    let flags = Flags::try_parse_from(words).expect("flags").formats;
    flags.config().expect("a configuration")
}

fn convert(model: &str, output: &Path, flags: &[&str]) {
    let mut mxlab = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    mxlab.args(["convert", model]).arg(output);
    mxlab.args(["--to", "gguf"]).args(flags);
    let output = mxlab.output().expect("mxlab runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
}

fn on_cpu(checkpoint: Checkpoint) -> CpuEngine {
    CpuEngine::new(checkpoint, None, None).expect("an engine")
}

/// The largest rows of the embedded model take K-quants; the others get a stand-in.
const FALLBACK: [&str; 2] = ["--fallback", "ggml"];

/// A model whose weights are quantised when it is loaded scores, bit for bit, as the GGUF file with
/// these blocks; and a copy of the file has the same blocks.
#[test]
fn a_model_scores_as_the_file_with_its_blocks() {
    let folder = tempdir().expect("a folder");
    let embedded = on_cpu(Checkpoint::embedded().expect("a model"));
    let baseline = QuantConfig::unquantised("baseline");
    let plain = scores(&embedded, &baseline);
    for name in ["q4_1", "q3_k", "f16"] {
        let file = folder.path().join(format!("{name}.gguf"));
        let flags = ["--weights", name, FALLBACK[0], FALLBACK[1]];
        convert("embedded", &file, &flags);
        let expected = scores(&on_cpu(Checkpoint::open(&file).expect("a model")), &baseline);
        let own = config(&flags.join(" "));
        assert_eq!(scores(&embedded, &own), expected, "{name}");
        // Weights in bf16 are floats of f16 but for the smallest.
        assert!(name == "f16" || expected != plain, "{name}");

        let copy = folder.path().join(format!("{name}-copy.gguf"));
        convert(file.to_str().expect("UTF-8"), &copy, &[]);
        let [one, two] = [&file, &copy].map(|path| Checkpoint::open(path).expect("a model"));
        for parameter in one.parameters().stored() {
            let [one, two] = [&one, &two].map(|of| of.view(parameter).expect("a tensor"));
            assert_eq!(one.ggml(), two.ggml(), "{}", parameter.name);
            assert_eq!(one.ggml_blocks(), two.ggml_blocks(), "{}", parameter.name);
        }
    }
}

/// Every block that a file gets is that of `ggml_quantize_chunk`. `MXLAB_GGUF` names a folder with
/// the packages gguf and libggml-python.
#[test]
fn written_blocks_are_those_of_ggml() {
    let what = "blocks of ggml's formats";
    let Some(packages) = std::env::var_os("MXLAB_GGUF") else {
        return not_run(what, "MXLAB_GGUF");
    };
    let library = Path::new(&packages).join("libggml/lib64/libggml-base.so");
    if !library.exists() {
        return not_run(what, "libggml-python");
    }
    let folder = tempdir().expect("a folder");
    convert("embedded", &folder.path().join("source.gguf"), &[]);
    for format in GgmlFormat::ALL {
        let file = folder.path().join(format!("{format}.gguf"));
        let flags = ["--weights", format.name(), FALLBACK[0], FALLBACK[1]];
        convert("embedded", &file, &flags);
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/ggml_blocks.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(folder.path()).arg(&library);
    let output = python.env("PYTHONPATH", &packages).output();
    let output = output.expect("a Python");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let counts = String::from_utf8_lossy(&output.stdout);
    print!("{counts}");
    assert_eq!(counts.lines().count(), GgmlFormat::ALL.len() - 1, "{counts}");
}

#[test]
fn the_footprint_has_true_bits_and_stand_ins() {
    let embedded = on_cpu(Checkpoint::embedded().expect("a model"));
    let footprint = |flags: &str| embedded.footprint(&config(flags)).expect("a size");
    for (flags, bits) in [
        ("--weights q4_0", 4.5),
        ("--weights q8_0", 8.5),
        ("--weights mxfp4", 4.25),
    ] {
        let packed = footprint(flags).packed.expect("packed weights");
        assert_eq!(packed.bits(), bits, "{flags}");
    }
    let nvfp4 = footprint("--weights nvfp4").packed.expect("packed weights");
    assert!((4.5..4.501).contains(&nvfp4.bits()), "{}", nvfp4.bits());
    let stand_ins = footprint("--weights q4_k --fallback ggml").stand_ins;
    let lines: Vec<String> = stand_ins.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["q5_0 in place of q4_k in 60 matrices with rows of 128"]);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let embedded = on_cpu(Checkpoint::embedded().expect("a model"));
    let error = embedded.check(&config("--weights q6_k")).unwrap_err();
    let message = format!("{error:#}");
    assert!(message.contains("q_proj.weight` has rows of 128 elements"), "{message}");
    assert!(message.contains("with which it gets q8_0"), "{message}");

    let tiny = synthetic::open("tiny:5").expect("a model");
    let storage = Storage::Packed(Operands::Bf16);
    let device = DeviceEngine::new(Device::emulator(), tiny, FloatType::F32, storage);
    let device = device.expect("an engine");
    for flags in ["--weights q4_0", "--head q8_0"] {
        let message = format!("{:#}", device.check(&config(flags)).unwrap_err());
        assert!(message.contains("use the CPU"), "{message}");
    }
}
