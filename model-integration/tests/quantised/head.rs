//! A format of the output head.

use std::path::Path;
use std::process::Command;

use mxlab::checkpoint::write::{NamedTensor, save_bf16};
use mxlab::checkpoint::{Checkpoint, synthetic};
use mxlab::config::QuantConfig;
use mxlab::description::parameters::Role;
use mxlab::engine::Engine;
use mxlab::model::cpu::CpuEngine;
use mxlab::model::device::DeviceEngine;
use mxlab::model::device::input::Operands;
use mxlab::model::device::plan::Storage;
use mxlab_harness::device::Device;
use mxlab_kernels::cpu;
use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType};
use tempfile::tempdir;

use super::{mxfp4, read, scores};

/// Writes a model with a tied head as one whose own head has these values.
pub fn write_untied(path: &Path, tied: &Checkpoint, head: &[f32]) {
    std::fs::create_dir(path).expect("a folder");
    let mut config = tied.config().clone();
    config.tie_word_embeddings = false;
    let json = config.to_json().to_string();
    std::fs::write(path.join("config.json"), json).expect("written");
    std::fs::write(path.join("tokenizer.json"), tied.tokenizer_json()).expect("written");
    let stored = tied.parameters().stored();
    let mut values: Vec<_> = stored
        .map(|one| (one.name.as_str(), one.shape.as_slice(), read(tied, one)))
        .collect();
    let own = tied.parameters().weight(None, Role::Head);
    values.push((&own.name, &own.shape, head.to_vec()));
    let tensors = values.iter().map(|(name, shape, values)| NamedTensor {
        name,
        shape,
        values,
    });
    let tensors: Vec<_> = tensors.collect();
    save_bf16(&path.join("model.safetensors"), &tensors).expect("written");
}

/// A head in MXFP4 scores as a checkpoint does whose untied head has the values of these codes, be
/// the embedding tied to it or not. The rows of the embedding stay as they are.
#[test]
fn a_head_with_a_format_is_that_of_a_checkpoint_with_its_values() {
    let folder = tempdir().expect("a folder");
    let tied = synthetic::open("tiny:5").expect("a model");
    assert!(tied.config().tie_word_embeddings);
    let embedding = tied.parameters().weight(None, Role::Embedding);
    let [rows, cols] = embedding.matrix().expect("a matrix");
    let own = read(&tied, embedding);
    let packed = cpu::quantize(&own, rows, cols, &mxfp4(), FloatType::Bf16).expect("codes");
    let mut of_codes = vec![0.0; own.len()];
    cpu::dequantize(&packed, &mut of_codes).expect("values");
    assert_ne!(own, of_codes);

    let untied = |name: &str, head: &[f32]| {
        let path = folder.path().join(name);
        write_untied(&path, &tied, head);
        Checkpoint::open(&path).expect("a model")
    };
    let baseline = QuantConfig::unquantised("baseline");
    let with_head = QuantConfig {
        head: Some(mxfp4().into()),
        ..baseline.clone()
    };
    let on_cpu = |checkpoint| CpuEngine::new(checkpoint, None, None).expect("an engine");
    let on_emulator = |checkpoint| {
        let storage = Storage::Packed(Operands::Bf16);
        DeviceEngine::new(Device::emulator(), checkpoint, FloatType::F32, storage)
            .expect("an engine")
    };
    let expected = scores(&on_cpu(untied("cpu", &of_codes)), &baseline);
    let quantised = on_cpu(synthetic::open("tiny:5").expect("a model"));
    let packed = quantised.footprint(&with_head).expect("a size").packed;
    assert_eq!(
        packed.map(|packed| packed.elements),
        Some((rows * cols) as u64)
    );
    assert_eq!(scores(&quantised, &with_head), expected);
    assert_ne!(scores(&quantised, &baseline), expected);
    assert_eq!(scores(&on_cpu(untied("own", &own)), &with_head), expected);
    let expected = scores(&on_emulator(untied("device", &of_codes)), &baseline);
    let quantised = on_emulator(synthetic::open("tiny:5").expect("a model"));
    assert_eq!(scores(&quantised, &with_head), expected);
    assert_eq!(
        scores(&on_emulator(untied("again", &own)), &with_head),
        expected
    );
}

/// A head that is stored in codes is one that gets them when the model is loaded.
#[test]
fn a_stored_head_is_multiplied_as_codes() {
    let folder = tempdir().expect("a folder");
    let [source, packed] = ["source", "packed"].map(|name| folder.path().join(name));
    let tied = synthetic::open("tiny:5").expect("a model");
    let own = read(&tied, tied.parameters().weight(None, Role::Embedding));
    write_untied(&source, &tied, &own);
    let mut mxlab = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    mxlab.arg("convert").args([&source, &packed]);
    mxlab.args([
        "--to",
        "mxlab",
        "--weights",
        "fp4_e2m1",
        "--head",
        "fp4_e2m1",
    ]);
    let output = mxlab.output().expect("mxlab runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");

    let open = |path: &Path| {
        let checkpoint = Checkpoint::open(path).expect("a model");
        CpuEngine::new(checkpoint, None, None).expect("an engine")
    };
    let int8 = BlockFormat::new(ElementFormat::INT8).build();
    let stored = QuantConfig {
        head_activations: Some(int8.expect("a format")),
        ..QuantConfig::unquantised("stored")
    };
    let given = QuantConfig {
        weights: Some(mxfp4().into()),
        head: Some(mxfp4().into()),
        ..stored.clone()
    };
    let of_packed = open(&packed);
    assert_eq!(scores(&of_packed, &stored), scores(&open(&source), &given));
    let footprint = of_packed.footprint(&stored).expect("a size");
    assert_eq!(footprint.integer_products, 1);
}
