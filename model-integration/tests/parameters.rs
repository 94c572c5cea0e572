//! A model's parameters follow from its configuration and its architecture's table.

use mxlab::checkpoint::synthetic;
use mxlab::config::Projection::{self, Gate, K, O, Q, Up, V};
use mxlab::config::QuantConfig;
use mxlab::description::ModelConfig;
use mxlab::description::architecture::{Architecture, LLAMA, PHI3};
use mxlab::description::parameters::{Parameters, Role, Usage, parameters};
use mxlab_kernels::format::BlockFormat;

/// An artificial architecture: biases in some projections of a stack, and two of them in one
/// tensor.
static MIXED: Architecture = Architecture {
    biases: &[],
    fused: &[("self_attn.qv_proj", &[Q, V])],
    ..LLAMA
};

/// Two layers of 64 features, 4 query and 2 key heads of 16.
fn tiny(architecture: &'static Architecture) -> ModelConfig {
    let model = synthetic::open("tiny").expect("a model");
    ModelConfig {
        architecture,
        ..model.config().clone()
    }
}

/// Names of biases, without the prefix of the layer.
fn biases(parameters: &Parameters) -> Vec<&str> {
    let biases = parameters.stored().filter(|parameter| parameter.is_bias);
    biases
        .map(|bias| bias.name.trim_start_matches("model.layers."))
        .collect()
}

#[test]
fn biases_are_those_of_the_configuration() {
    let mut config = tiny(&LLAMA);
    assert!(biases(&parameters(&config)).is_empty());
    config.biases = Projection::ALL.to_vec();
    let of_llama = parameters(&config);
    assert_eq!(biases(&of_llama).len(), 2 * 7);
    config.architecture = &MIXED;
    config.biases = vec![Q, V, Gate];
    let expected = [
        "0.self_attn.q_proj.bias",
        "0.self_attn.v_proj.bias",
        "0.mlp.gate_proj.bias",
        "1.self_attn.q_proj.bias",
        "1.self_attn.v_proj.bias",
        "1.mlp.gate_proj.bias",
    ];
    let mixed = parameters(&config);
    assert_eq!(biases(&mixed), expected);
    assert_eq!(mixed.bias(Some(0), Role::Projection(O)), None);
    let bias = mixed.bias(Some(1), Role::Projection(V)).expect("a bias");
    assert_eq!((&*bias.shape, bias.projection()), (&[32][..], None));
    assert_eq!(bias.gguf_name, "blk.1.attn_v.bias");
    // Q, V and gate have them: 64, 32 and 160; K, O, up and down do not.
    let fewer = 2 * (32 + 64 + 160 + 64);
    assert_eq!(mixed.elements(), of_llama.elements() - fewer);
}

#[test]
fn fused_rows_follow_each_other() {
    let mut mixed = tiny(&MIXED);
    mixed.biases = vec![V];
    let (mixed, phi3) = (parameters(&mixed), parameters(&tiny(&PHI3)));
    for (parameters, projection, name, rows, first) in [
        (&mixed, Q, "self_attn.qv_proj", 96, 0),
        (&mixed, V, "self_attn.qv_proj", 96, 64),
        (&phi3, Q, "self_attn.qkv_proj", 128, 0),
        (&phi3, K, "self_attn.qkv_proj", 128, 64),
        (&phi3, V, "self_attn.qkv_proj", 128, 96),
        (&phi3, Up, "mlp.gate_up_proj", 320, 160),
    ] {
        let weight = parameters.weight(Some(1), Role::Projection(projection));
        let fused = weight.fused.as_ref().expect(name);
        assert_eq!(fused.name, format!("model.layers.1.{name}.weight"));
        assert_eq!((fused.rows, fused.first), (rows, first), "{projection:?}");
    }
    let bias = mixed.bias(Some(0), Role::Projection(V)).expect("a bias");
    let fused = bias.fused.as_ref().expect("a part");
    assert_eq!(fused.name, "model.layers.0.self_attn.qv_proj.bias");
    assert_eq!(mixed.weight(Some(0), Role::Projection(K)).fused, None);
}

#[test]
fn a_tied_head_is_the_embedding() {
    let mut config = tiny(&LLAMA);
    let quantised = QuantConfig {
        head: Some(BlockFormat::NVFP4.into()),
        ..QuantConfig::unquantised("head")
    };
    for (is_tied, usage) in [(true, Usage::LookupAndProduct), (false, Usage::Lookup)] {
        config.tie_word_embeddings = is_tied;
        let parameters = parameters(&config);
        let head = parameters.weight(None, Role::Head);
        assert_eq!(head.tied_to, is_tied.then_some(Role::Embedding));
        assert_eq!(parameters.named("lm_head.weight").is_some(), !is_tied);
        let embedding = parameters.weight(None, Role::Embedding);
        let plain = QuantConfig::unquantised("plain");
        assert_eq!(parameters.usage(embedding, &plain), usage);
        assert_eq!(parameters.usage(head, &plain), Usage::Product);
        assert_eq!(parameters.head(&plain).is_none(), is_tied);
        assert_eq!(
            parameters.kept(&plain).count(),
            parameters.kept(&quantised).count() - usize::from(is_tied)
        );
        // A head with a format is a matrix of its own; the embedding is only looked up.
        assert_eq!(parameters.usage(embedding, &quantised), Usage::Lookup);
        let kept: Vec<_> = parameters.kept(&quantised).collect();
        let (stored, usage, formats) = kept[kept.len() - 1];
        assert_eq!(stored.role == Role::Embedding, is_tied);
        assert_eq!(
            (usage, formats.formats(&quantised)),
            (Usage::Product, (Some(BlockFormat::NVFP4), None))
        );
        assert_eq!((head.matrix(), head.projection()), (Some([512, 64]), None));
    }
}
