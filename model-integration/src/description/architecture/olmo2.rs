//! OLMo 2.

use super::{
    ATTENTION, Architecture, Condition, Defaults, GATED_MLP, Gguf, HEAD_NORMS, HeadNorms, LLAMA,
    Module, NormKind,
};
use crate::config::Projection::{K, O, Q, V};
use crate::description::parameters::Role;

const NORMS_AFTER: [Module; 2] = [
    Module(
        Role::AfterAttentionNorm,
        "post_attention_layernorm",
        "post_attention_norm",
    ),
    Module(
        Role::AfterMlpNorm,
        "post_feedforward_layernorm",
        "post_ffw_norm",
    ),
];

/// OLMo 2: norms after both halves alone; those of queries and keys go over all heads.
pub const OLMO2: Architecture = Architecture {
    model_type: "olmo2",
    class: "Olmo2ForCausalLM",
    models: "OLMo 2",
    special: "norms after both halves alone, norms of queries and keys over all heads",
    layer: &[&ATTENTION, &HEAD_NORMS, &NORMS_AFTER, &GATED_MLP],
    norm: NormKind::RmsOnce,
    head_norms: HeadNorms::Whole,
    biases: &[(Condition::If("attention_bias", false), &[Q, K, V, O])],
    rounds_rotation: false,
    gguf: Some(Gguf {
        name: "olmo2",
        interleaves_heads: false,
    }),
    tokenizer_class: "GPT2Tokenizer",
    defaults: Defaults {
        norm_eps: 1e-5,
        bos_token_id: None,
        eos_token_id: Some(50_279),
        ..LLAMA.defaults
    },
    ..LLAMA
};
