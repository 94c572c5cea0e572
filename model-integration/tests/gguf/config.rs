//! Metadata become the configuration that llama.cpp takes from them.

use mxlab::config::Projection;
use mxlab::description::RopeScaling;
use mxlab::description::parameters::Role;

use super::writer::{Meta, Tensor};
use super::{open, refusal, small};

const TYPE: &str = "llama.rope.scaling.type";
const FACTOR: &str = "llama.rope.scaling.factor";
const OLD_FACTOR: &str = "llama.rope.scale_linear";

#[test]
fn scaling_of_rope_is_linear_unless_a_type_is_named() {
    let linear = |factor| Some(RopeScaling::Linear { factor });
    for (metadata, expected) in [
        (&[] as &[(&str, Meta)], None),
        (&[(FACTOR, Meta::F32(4.0))], linear(4.0)),
        (&[(OLD_FACTOR, Meta::F32(4.0))], linear(4.0)),
        (
            &[(OLD_FACTOR, Meta::F32(4.0)), (FACTOR, Meta::F32(2.0))],
            linear(2.0),
        ),
        (&[(FACTOR, Meta::F32(0.0))], None),
        (
            &[(FACTOR, Meta::F32(4.0)), (TYPE, Meta::Text("none".into()))],
            None,
        ),
        (
            &[
                (FACTOR, Meta::F32(4.0)),
                (TYPE, Meta::Text("linear".into())),
            ],
            linear(4.0),
        ),
    ] {
        let mut file = small();
        for (key, value) in metadata {
            file.set(key, value.clone());
        }
        let checkpoint = open(&file).expect("a model");
        assert_eq!(checkpoint.config().ropes[0].scaling, expected);
    }
    let mut file = small();
    file.set(TYPE, Meta::Text("yarn".to_owned()));
    let message = refusal(&file);
    assert!(
        message.contains("`llama.rope.scaling.type` is \"yarn\"; expected"),
        "{message}"
    );
}

#[test]
fn frequencies_have_divisors() {
    let divisors: Vec<f64> = (0..16).map(|i| 1.0 + f64::from(i)).collect();
    let tensor = |name: &str| {
        let bytes = divisors.iter().flat_map(|&x| (x as f32).to_le_bytes());
        Tensor(name.to_owned(), 0, vec![16], bytes.collect())
    };
    let mut file = small();
    file.tensors.push(tensor("rope_freqs.weight"));
    file.set(FACTOR, Meta::F32(2.0));
    let checkpoint = open(&file).expect("a model");
    let doubled: Vec<f64> = divisors.iter().map(|x| 2.0 * x).collect();
    let Some(RopeScaling::Long {
        short_factor,
        long_factor,
        attention_factor,
        ..
    }) = &checkpoint.config().ropes[0].scaling
    else {
        panic!("{:?}", checkpoint.config().ropes[0].scaling);
    };
    assert_eq!(
        (short_factor, long_factor, *attention_factor),
        (&doubled, &doubled, 1.0)
    );

    let mut file = small();
    file.set(TYPE, Meta::Text("longrope".to_owned()));
    let message = refusal(&file);
    assert!(
        message.contains("`rope_factors_short.weight` is missing"),
        "{message}"
    );
    file.tensors.push(tensor("rope_factors_short.weight"));
    file.tensors.push(tensor("rope_factors_long.weight"));
    file.set("llama.rope.scaling.attn_factor", Meta::F32(1.5));
    file.set("llama.rope.scaling.original_context_length", Meta::U32(32));
    let checkpoint = open(&file).expect("a model");
    let expected = RopeScaling::Long {
        short_factor: divisors.clone(),
        long_factor: divisors,
        attention_factor: 1.5,
        original_max_position_embeddings: 32,
    };
    assert_eq!(checkpoint.config().ropes[0].scaling, Some(expected));
    assert!(
        checkpoint
            .notes()
            .iter()
            .all(|note| !note.contains("not used"))
    );
}

/// llama.cpp adds the biases that are there.
#[test]
fn absent_biases_are_zero() {
    let mut file = small();
    let bytes: Vec<u8> = (0..64u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    let bias = Tensor("blk.0.attn_k.bias".to_owned(), 0, vec![64], bytes);
    file.tensors.push(bias);
    let checkpoint = open(&file).expect("a model");
    for (projection, expected) in [(Projection::Q, 0.0), (Projection::K, 2.0)] {
        let role = Role::Projection(projection);
        let bias = checkpoint.parameters().bias(Some(0), role).expect("a bias");
        let view = checkpoint.tensor(bias).expect("a bias");
        let mut values = vec![f32::NAN; view.len()];
        view.read_f32(0..view.len(), &mut values);
        // The halves of a head are interleaved in the file.
        assert_eq!(
            (values[1], values[33]),
            (expected, expected * 17.0),
            "{projection:?}"
        );
    }
}

#[test]
fn numbers_of_layers_may_be_an_array_of_equal_ones() {
    let mut file = small();
    let key = "llama.attention.head_count";
    file.set(key, Meta::I32s(vec![2, 2]));
    assert_eq!(
        open(&file).expect("a model").config().num_attention_heads,
        2
    );
    file.set(key, Meta::I32s(vec![2, 4]));
    let message = refusal(&file);
    assert!(
        message.contains("head_count` is an array of 2; expected one number"),
        "{message}"
    );
}

/// A factor of a whole matrix is a tensor of its own.
#[test]
fn nvfp4_has_a_factor_of_the_tensor() {
    let mut file = small();
    // Codes of 1, scales of 1, in 64 elements.
    let block = [&[0x38; 4][..], &[0x22; 32]].concat();
    let scale = |value: f32| {
        let bytes = value.to_le_bytes().to_vec();
        Tensor("blk.0.ffn_gate.scale".to_owned(), 0, vec![1], bytes)
    };
    let gate = |file: &super::File| {
        let checkpoint = open(file).expect("a model");
        let role = Role::Projection(Projection::Gate);
        let gate = checkpoint.parameters().weight(Some(0), role);
        let view = checkpoint.tensor(gate)?;
        let mut values = vec![f32::NAN; view.len()];
        view.read_f32(0..view.len(), &mut values);
        Ok::<_, mxlab::checkpoint::CheckpointError>(values)
    };
    file.tensors.push(scale(0.25));
    let message = refusal(&file);
    assert!(
        message.contains("`blk.0.ffn_gate.weight` of type BF16 has the factor 0.25"),
        "{message}"
    );
    let found = file
        .tensors
        .iter_mut()
        .find(|tensor| tensor.0 == "blk.0.ffn_gate.weight");
    *found.expect("a matrix") = Tensor(
        "blk.0.ffn_gate.weight".to_owned(),
        40,
        vec![64, 64],
        block.repeat(64),
    );
    assert!(
        gate(&file)
            .expect("values")
            .iter()
            .all(|&value| value == 0.25)
    );
    file.tensors.pop();
    assert!(
        gate(&file)
            .expect("values")
            .iter()
            .all(|&value| value == 1.0)
    );
    file.tensors.push(scale(f32::NAN));
    let message = refusal(&file);
    assert!(
        message.contains("`blk.0.ffn_gate.scale`: expected one finite F32"),
        "{message}"
    );
}

/// What no architecture here has is refused by its key; a file without a base has llama.cpp's.
#[test]
fn what_would_change_results_is_refused() {
    for (key, value) in [
        ("llama.attention.causal", Meta::Bool(false)),
        ("llama.attention.clamp_kqv", Meta::F32(8.0)),
        ("llama.attention.max_alibi_bias", Meta::F32(8.0)),
        ("llama.use_parallel_residual", Meta::Bool(true)),
        ("llama.nextn_predict_layers", Meta::U32(1)),
        ("llama.rope.freq_base_swa", Meta::F32(77.0)),
        ("llama.attention.sliding_window_pattern", Meta::U32(3)),
    ] {
        let mut file = small();
        file.set(key, value);
        let message = refusal(&file);
        assert!(message.contains(&format!("`{key}` is")), "{message}");
    }
    let file = small();
    let checkpoint = open(&file).expect("a model");
    assert_eq!(checkpoint.config().ropes[0].theta, 10_000.0);
}
