//! Quantised checkpoints: every encoding gives the same values, and malformed ones are refused.

mod auto_round;
mod damage;
pub mod head;
mod layouts;
mod malformed;
mod packages;
mod parts;
mod writers;

use mxlab::checkpoint::{Checkpoint, synthetic};
use mxlab::config::{FormatFlags, QuantConfig, load};
use mxlab::description::parameters::Parameter;
use mxlab::engine::{Engine, Request};
use mxlab::model::cpu::CpuEngine;
use mxlab::model::device::DeviceEngine;
use mxlab::model::device::input::Operands;
use mxlab::model::device::plan::Storage;
use mxlab_harness::device::Device;
use mxlab_kernels::cpu;
use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType};
use proptest::prelude::*;
use tempfile::tempdir;

use writers::{Encoding, Model};

fn mxfp4() -> BlockFormat {
    BlockFormat::new(ElementFormat::FP4_E2M1)
        .build()
        .expect("MXFP4")
}

fn tiny() -> Checkpoint {
    synthetic::open("tiny:5").expect("a model")
}

fn read(checkpoint: &Checkpoint, parameter: &Parameter) -> Vec<f32> {
    let name = &parameter.name;
    let view = checkpoint.tensor(parameter).expect(name);
    let mut values = vec![f32::NAN; view.len()];
    view.read_f32(0..view.len(), &mut values);
    // A part that begins and ends inside rows has the same values.
    let mut part = vec![f32::NAN; view.len() / 2];
    let first = view.len() / 3;
    view.read_f32(first..first + part.len(), &mut part);
    assert_eq!(part, values[first..first + part.len()], "{name}");
    values
}

#[test]
fn every_encoding_stands_for_the_values_that_were_packed() {
    let model = Model::of(&tiny(), mxfp4());
    for encoding in Encoding::ALL {
        let folder = tempdir().expect("a folder");
        let checkpoint = Checkpoint::open(&model.write(folder.path(), encoding)).expect("a model");
        let mut quantised = 0;
        for parameter in checkpoint.parameters().stored() {
            let name = &parameter.name;
            let tensor = model.tensor(name);
            let values = read(&checkpoint, parameter);
            assert!(values == tensor.values, "{encoding:?}: {name}");
            let view = checkpoint.view(parameter).expect(name);
            let packed = view.format().and_then(|format| view.packed(&format));
            assert_eq!(packed, tensor.packed, "{encoding:?}: {name}");
            quantised += usize::from(packed.is_some());
        }
        assert_eq!(quantised, 2 * 7, "{encoding:?}");
    }
}

/// Bits of log-likelihoods of some random tokens.
fn scores(engine: &dyn Engine, config: &QuantConfig) -> Vec<u64> {
    let tokens: Vec<u32> = (0..40).map(|index| 7 * index % 256).collect();
    let requests = [40, 23].map(|length| Request {
        tokens: tokens[..length].to_vec(),
        targets: 9,
    });
    let mut model = engine.load(config).expect("a model");
    let scores = model.score(&requests).expect("scores");
    scores
        .iter()
        .map(|score| score.loglikelihood.to_bits())
        .collect()
}

/// Weights that are stored in a format count as quantised for 8-bit operands.
#[test]
fn stored_codes_become_operands_of_8_bits() {
    let folder = tempdir().expect("a folder");
    let path = Model::of(&tiny(), mxfp4()).write(folder.path(), Encoding::CompressedTensors);
    let engine = |checkpoint| {
        let storage = Storage::Packed(Operands::Bytes);
        DeviceEngine::new(Device::emulator(), checkpoint, FloatType::F32, storage)
            .expect("an engine")
    };
    let stored = engine(Checkpoint::open(&path).expect("a model"));
    let with = |element| QuantConfig {
        activations: Some(BlockFormat::new(element).build().expect("a format")),
        ..QuantConfig::unquantised("stored")
    };
    let mxfp6 = with(ElementFormat::FP6_E2M3);
    let counts = stored.footprint(&mxfp6).expect("sizes").operands;
    assert_eq!(counts.map(|counts| counts.e4m3), Some(2 * 7));
    let quantised = QuantConfig {
        weights: Some(mxfp4().into()),
        ..mxfp6.clone()
    };
    assert_eq!(scores(&stored, &mxfp6), scores(&engine(tiny()), &quantised));
    // No operand type has both.
    let refused = stored.check(&with(ElementFormat::INT8));
    let message = format!("{:#}", refused.expect_err("FP4 by INT8"));
    assert!(message.contains("no projection"), "{message}");
}

#[test]
fn stored_codes_score_as_those_of_a_configuration() {
    let baseline = QuantConfig::unquantised("baseline");
    let weights = QuantConfig {
        weights: Some(mxfp4().into()),
        ..baseline.clone()
    };
    let on_cpu = |checkpoint| CpuEngine::new(checkpoint, None, None).expect("an engine");
    let on_device = |checkpoint, storage| {
        let device = Device::emulator();
        DeviceEngine::new(device, checkpoint, FloatType::F32, storage).expect("an engine")
    };
    let expected = on_cpu(tiny());
    let packed = expected.footprint(&weights).expect("sizes");
    let expected = scores(&expected, &weights);
    let on_emulator = scores(
        &on_device(tiny(), Storage::Packed(Operands::Bf16)),
        &weights,
    );
    let model = Model::of(&tiny(), mxfp4());
    for encoding in Encoding::ALL {
        let folder = tempdir().expect("a folder");
        let path = model.write(folder.path(), encoding);
        let open = || Checkpoint::open(&path).expect("a model");
        let engine = on_cpu(open());
        assert_eq!(
            engine.info().stored_weights.as_deref(),
            Some("fp4_e2m1 e8m0 k32")
        );
        assert_eq!(
            engine.footprint(&baseline).expect("sizes"),
            packed,
            "{encoding:?}"
        );
        assert_eq!(scores(&engine, &baseline), expected, "{encoding:?}");
        // Values of MXFP4 are representable in MXFP4, so another rule does not change them.
        let nvidia = load("mxfp4-weights", &FormatFlags::default()).expect("a configuration");
        let again = nvidia
            .weights
            .and_then(|of| of.block())
            .expect("a format")
            .to_builder();
        let again = again.dialect("nvidia".parse().expect("a dialect")).build();
        let again = QuantConfig {
            weights: Some(again.expect("a format").into()),
            ..baseline.clone()
        };
        assert_eq!(scores(&engine, &again), expected, "{encoding:?}");
        if encoding == Encoding::CompressedTensors || encoding == Encoding::Gguf {
            for storage in [Storage::Packed(Operands::Bf16), Storage::Fake] {
                let engine = on_device(open(), storage);
                assert_eq!(
                    scores(&engine, &baseline),
                    on_emulator,
                    "{encoding:?} {storage:?}"
                );
            }
        }
    }
}

proptest! {
    /// Requantising any codes with any scales keeps their values.
    #[test]
    fn quantising_mxfp4_again_is_the_identity(
        codes in prop::collection::vec(any::<u8>(), 32),
        scales in prop::collection::vec(0u8..=251, 2),
    ) {
        let packed = mxlab_kernels::format::PackedTensor::new(mxfp4(), 1, 64, codes, scales, 1.0);
        let packed = packed.expect("a tensor");
        let mut values = [0.0; 64];
        cpu::dequantize(&packed, &mut values).expect("values");
        for dtype in [FloatType::F32, FloatType::Bf16] {
            let again = cpu::quantize(&values, 1, 64, &mxfp4(), dtype).expect("codes");
            let mut of_again = [0.0; 64];
            cpu::dequantize(&again, &mut of_again).expect("values");
            prop_assert_eq!(of_again.map(f32::to_bits), values.map(f32::to_bits));
        }
    }
}
