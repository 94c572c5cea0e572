//! StarCoder2.

use super::{
    ATTENTION, ActivationFunction, Architecture, Condition, Defaults, Gguf, LLAMA, Module,
    NORMS_BEFORE, NormKind, Windows,
};
use crate::config::Projection::{Down, K, O, Q, Up, V};
use crate::description::parameters::Role;

const PLAIN_MLP: [Module; 2] = [
    Module(Role::Projection(Up), "mlp.c_fc", "ffn_up"),
    Module(Role::Projection(Down), "mlp.c_proj", "ffn_down"),
];

/// StarCoder2: layer norms and biases, an MLP without gate.
pub const STARCODER2: Architecture = Architecture {
    model_type: "starcoder2",
    class: "Starcoder2ForCausalLM",
    models: "StarCoder2",
    special: "layer norms with bias, an MLP without gate",
    layer: &[&NORMS_BEFORE, &ATTENTION, &PLAIN_MLP],
    norm: NormKind::Layer,
    norm_eps: "norm_epsilon",
    biases: &[(Condition::If("use_bias", true), &[Q, K, V, O, Up, Down])],
    windows: Windows::Everywhere { by_flag: false },
    gguf: Some(Gguf {
        name: "starcoder2",
        interleaves_heads: false,
    }),
    tokenizer_class: "GPT2Tokenizer",
    defaults: Defaults {
        num_key_value_heads: Some(2),
        max_position_embeddings: 4096,
        norm_eps: 1e-5,
        tie_word_embeddings: true,
        activation: ActivationFunction::GeluTanh,
        bos_token_id: Some(50_256),
        eos_token_id: Some(50_256),
        ..LLAMA.defaults
    },
    ..LLAMA
};
