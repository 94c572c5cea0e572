//! Gemma 2 and 3.

use super::{
    ATTENTION, ActivationFunction, Architecture, Condition, Defaults, Factor, GATED_MLP, Gguf,
    HEAD_NORMS, LLAMA, Module, NormKind, Rotations, Source, TypeRule, Windows,
};
use crate::config::Projection::{K, O, Q, V};
use crate::description::parameters::Role;

/// Norms before and after both halves.
const NORMS_AROUND: [Module; 4] = [
    Module(Role::InputNorm, "input_layernorm", "attn_norm"),
    Module(
        Role::AfterAttentionNorm,
        "post_attention_layernorm",
        "post_attention_norm",
    ),
    Module(Role::MlpNorm, "pre_feedforward_layernorm", "ffn_norm"),
    Module(
        Role::AfterMlpNorm,
        "post_feedforward_layernorm",
        "post_ffw_norm",
    ),
];

/// Gemma 2: norms of 1 + gain around both halves, soft caps, every other layer windowed.
pub const GEMMA2: Architecture = Architecture {
    model_type: "gemma2",
    class: "Gemma2ForCausalLM",
    models: "Gemma 2",
    special: "norms of 1 + gain around both halves, soft caps, GeGLU, scaled embeddings, windows",
    layer: &[&NORMS_AROUND, &ATTENTION, &GATED_MLP],
    norm: NormKind::RmsPlusOne,
    activation: "hidden_activation",
    biases: &[(Condition::If("attention_bias", false), &[Q, K, V, O])],
    factors: &[
        (Factor::Embedding, Source::RootOfWidth),
        (
            Factor::Attention,
            Source::InverseRoot("query_pre_attn_scalar", 256.0),
        ),
        (
            Factor::AttentionCap,
            Source::Field("attn_logit_softcapping", Some(50.0)),
        ),
        (
            Factor::LogitCap,
            Source::Field("final_logit_softcapping", Some(30.0)),
        ),
    ],
    windows: Windows::ByType(TypeRule::AllBut {
        field: None,
        every: 2,
    }),
    gguf: Some(Gguf {
        name: "gemma2",
        interleaves_heads: false,
    }),
    tokenizer_class: "GemmaTokenizer",
    defaults: Defaults {
        vocab_size: Some(256_000),
        num_attention_heads: Some(8),
        num_key_value_heads: Some(4),
        head_dim: Some(256),
        max_position_embeddings: 8192,
        sliding_window: Some(4096),
        tie_word_embeddings: true,
        activation: ActivationFunction::GeluTanh,
        bos_token_id: Some(2),
        eos_token_id: Some(1),
        ..LLAMA.defaults
    },
    ..LLAMA
};

/// Gemma 3, the text model: norms of queries and keys, five windowed layers to a full one, each
/// with rotations of their own. Its attention has no cap.
pub const GEMMA3: Architecture = Architecture {
    model_type: "gemma3_text",
    class: "Gemma3ForCausalLM",
    models: "Gemma 3 (text)",
    special: "what a Gemma 2 has but the cap of attention, norms of queries and keys, two rotations",
    layer: &[&NORMS_AROUND, &ATTENTION, &HEAD_NORMS, &GATED_MLP],
    factors: &[
        (Factor::Embedding, Source::RootOfWidth),
        (
            Factor::Attention,
            Source::InverseRoot("query_pre_attn_scalar", 256.0),
        ),
        (
            Factor::LogitCap,
            Source::Field("final_logit_softcapping", None),
        ),
    ],
    windows: Windows::ByType(TypeRule::AllBut {
        field: Some("sliding_window_pattern"),
        every: 6,
    }),
    rotations: Rotations::ByWindow,
    gguf: Some(Gguf {
        name: "gemma3",
        interleaves_heads: false,
    }),
    defaults: Defaults {
        vocab_size: Some(262_208),
        max_position_embeddings: 131_072,
        rope_theta: 1_000_000.0,
        ..GEMMA2.defaults
    },
    ..GEMMA2
};
