//! Rotated models on the emulator, compared with the CPU engine.

use mxlab::config::{Override, Projection};
use mxlab::model::device::input::Operands;
use mxlab::model::device::plan::Storage;

use super::{bound, checkpoint, config, cpu_logits, device_logits, relative, stored, tokens};

/// Leaves the weight of every gate as it is.
fn plain_gates() -> Override {
    Override {
        layers: None,
        projections: Some(vec![Projection::Gate]),
        weights: Some(None),
        activations: None,
        keys: None,
        values: None,
    }
}

/// Inputs of projections rotated by row kernels, in bf16 and in 8 bits; without them, the products
/// with rotated weights would be those of other models.
#[test]
fn inputs_give_the_logits_of_the_cpu_engine() {
    let tokens = tokens(3);
    // Where a gate has another format than its up, a kernel of rows multiplies their outputs.
    let apart = vec![plain_gates()];
    let cases = [
        ("baseline", "16:7", Operands::Bf16, vec![]),
        ("mx-linear", "32", Operands::Bf16, vec![]),
        ("mx-linear", "32:2", Operands::Bf16, apart),
        ("mx-linear", "32", Operands::Bytes, vec![]),
        ("nvfp4", "32:5", Operands::Bf16, vec![]),
    ];
    for (name, rotation, operands, overrides) in cases {
        let mut config = config(name);
        config.rotation = Some(rotation.parse().expect("a rotation"));
        config.overrides.extend(overrides);
        let theirs = cpu_logits(&checkpoint(), &config, &tokens, 40);
        let engine = stored(checkpoint(), Storage::Packed(operands));
        let difference = relative(&device_logits(&engine, &config, &tokens, 40), &theirs);
        eprintln!("{name}, rotated by {rotation}, {operands:?}: {difference:.4}");
        assert!(
            difference <= bound(&config),
            "{name}, rotated by {rotation}, {operands:?}: {difference}"
        );
    }
}
