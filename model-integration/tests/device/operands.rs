//! 8-bit operands, compared with bf16 operands and with the CPU engine.

use mxlab::checkpoint::synthetic;
use mxlab::config::{Override, Projection, QuantConfig};
use mxlab::engine::{Engine, Request};
use mxlab::model::device::input::Operands;
use mxlab::model::device::plan::{Limits, Storage};
use mxlab::model::{Mlp, Projections};
use mxlab_harness::device::Device;
use mxlab_kernels::format::{BlockFormat, ElementFormat, ScaleFormat};
use mxlab_kernels::fragment::OperandType;

use super::{
    bound, checkpoint, config, cpu_logits, device_logits, engine_of, relative, stored, tokens,
};

/// Configurations whose projections all convert to the 8-bit operands `operand`. In the last one, v
/// has weights and an input of its own.
pub fn with_bytes() -> [(QuantConfig, OperandType); 4] {
    let format = |element, scale, k| {
        let format = BlockFormat::new(element).scale(scale).block_size(k);
        format.build().expect("a format")
    };
    let mut ints = config("baseline");
    ints.name = "int4, int8".to_owned();
    ints.weights = Some(format(ElementFormat::INT4, ScaleFormat::Fp16, 64).into());
    ints.activations = Some(format(ElementFormat::INT8, ScaleFormat::E8M0, 64));
    (ints.head, ints.head_activations) = (ints.weights, ints.activations);
    let mut mixed = config("mx-linear");
    mixed.name = "mx-linear, v int8".to_owned();
    let of_v = Override {
        layers: None,
        projections: Some(vec![Projection::V]),
        weights: Some(Some(
            format(ElementFormat::INT8, ScaleFormat::E8M0, 32).into(),
        )),
        activations: None,
        keys: None,
        values: None,
    };
    mixed.overrides.push(of_v);
    [
        (config("mx-linear-kv"), OperandType::E4m3),
        (config("mxfp8"), OperandType::E4m3),
        (ints, OperandType::S8),
        (mixed, OperandType::E4m3),
    ]
}

/// 8-bit weights and activations: with power-of-two scales the products are equal, and only the
/// order of sums differs.
#[test]
fn logits_of_8_bit_operands_are_those_of_the_cpu_engine() {
    let tokens = tokens(3);
    for (config, operand) in with_bytes() {
        let engine = stored(checkpoint(), Storage::Packed(Operands::Bytes));
        let limits = Limits::new(Device::emulator().properties(), 8, 16);
        let loaded = engine.model(&config, limits, 16).expect("a model");
        let of_head = config.head.map_or(OperandType::Bf16, |_| operand);
        assert_eq!(loaded.llama.head_input.operand, of_head, "{}", config.name);
        for layer in &loaded.llama.layers {
            assert_eq!(layer.o.input.operand, operand, "{}", config.name);
            let Mlp::Gated { gate_up, down } = &layer.mlp else {
                panic!("a gate");
            };
            assert_eq!(down.input.operand, operand, "{}", config.name);
            let name = &config.name;
            match &layer.qkv {
                Projections::Fused { input, .. } => assert_eq!(input.operand, operand, "{name}"),
                Projections::Separate([q, k, v]) => {
                    assert!(!config.overrides.is_empty(), "{name}");
                    let inputs = [q, k, v].map(|linear| linear.input.operand);
                    assert_eq!(inputs, [operand, operand, OperandType::S8], "{name}");
                }
            }
            match gate_up {
                Projections::Fused { input, .. } => assert_eq!(input.operand, operand, "{name}"),
                Projections::Separate(_) => panic!("{name}: gate and up are apart"),
            }
        }
        let theirs = cpu_logits(&checkpoint(), &config, &tokens, 40);
        let ours = device_logits(&engine, &config, &tokens, 40);
        let bf16 = device_logits(&engine_of(checkpoint()), &config, &tokens, 40);
        let difference = relative(&ours, &theirs);
        let name = &config.name;
        eprintln!(
            "{name}, 8 bits: {difference:.4}, bf16: {:.4}",
            relative(&bf16, &theirs)
        );
        assert!(difference <= bound(&config), "{name}: {difference}");
        assert!(relative(&ours, &bf16) <= 0.01, "{name}");
    }
}

/// With other scales bf16 operands are rounded and 8-bit ones are not; the prompt uses prefill
/// tiles.
#[test]
fn long_prompts_and_other_scales_take_8_bit_operands() {
    let requests: Vec<Request> = (0..6)
        .map(|example| Request {
            tokens: tokens(example),
            targets: 2,
        })
        .collect();
    assert!(
        requests
            .iter()
            .map(|request| request.tokens.len())
            .sum::<usize>()
            > 200
    );
    let [.., (mut fp16, _), _] = with_bytes();
    fp16.activations = fp16.weights.and_then(|of| of.block()).map(|weights| {
        let format = BlockFormat::new(ElementFormat::INT8).scale(weights.scale());
        format
            .block_size(weights.block_size())
            .build()
            .expect("a format")
    });
    let power = config("mxfp8");
    for (config, bound) in [(power, 0.01), (fp16, 0.2)] {
        let scores = [Operands::Bf16, Operands::Bytes].map(|operands| {
            let engine = stored(checkpoint(), Storage::Packed(operands));
            let footprint = engine.footprint(&config).expect("a footprint");
            let all = 7 * checkpoint().config().num_hidden_layers;
            let of_bytes = footprint.operands.map(|counts| counts.s8 + counts.e4m3);
            assert_eq!(of_bytes, (operands == Operands::Bytes).then_some(all));
            let mut model = engine.load(&config).expect("a model");
            model.score(&requests).expect("scores")
        });
        let pairs = scores[0].iter().zip(&scores[1]);
        let worst = pairs
            .map(|(bf16, bytes)| (bf16.loglikelihood - bytes.loglikelihood).abs())
            .fold(0.0, f64::max);
        eprintln!(
            "{}: log-likelihoods by 8 bits within {worst:.4}",
            config.name
        );
        assert!(worst <= bound, "{}: {worst}", config.name);
    }
}

/// Widths, heads and a vocabulary that fit no tile, and biases.
#[test]
fn odd_sizes_take_8_bit_operands() {
    let tokens: Vec<u32> = (0..48).map(|i| i * 11 % 517).collect();
    for (config, _) in with_bytes() {
        let odd = || synthetic::open("odd").expect("a model");
        let theirs = cpu_logits(&odd(), &config, &tokens, 40);
        let engine = stored(odd(), Storage::Packed(Operands::Bytes));
        let difference = relative(&device_logits(&engine, &config, &tokens, 40), &theirs);
        let name = &config.name;
        eprintln!("odd, {name}, 8 bits: {difference:.4}");
        assert!(difference <= bound(&config), "{name}: {difference}");
    }
}
