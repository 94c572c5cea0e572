//! Qwen 2 and 3.

use super::{
    ATTENTION, Architecture, Condition, Defaults, GATED_MLP, Gguf, HEAD_NORMS, LLAMA, NORMS_BEFORE,
    TypeRule, Windows,
};
use crate::config::Projection::{K, O, Q, V};

/// Qwen2 and Qwen2.5: biases of queries, keys and values.
pub const QWEN2: Architecture = Architecture {
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    models: "Qwen2, Qwen2.5, QwQ",
    special: "biases of queries, keys and values alone",
    biases: &[(Condition::Always, &[Q, K, V])],
    windows: Windows::ByType(TypeRule::From),
    gguf: Some(Gguf {
        name: "qwen2",
        interleaves_heads: false,
    }),
    tokenizer_class: "Qwen2Tokenizer",
    defaults: Defaults {
        num_key_value_heads: Some(32),
        max_position_embeddings: 32_768,
        sliding_window: Some(4096),
        bos_token_id: None,
        eos_token_id: None,
        ..LLAMA.defaults
    },
    ..LLAMA
};

/// Qwen3: norms of queries and keys, head by head.
pub const QWEN3: Architecture = Architecture {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    models: "Qwen3",
    special: "norms of queries and keys",
    layer: &[&NORMS_BEFORE, &ATTENTION, &HEAD_NORMS, &GATED_MLP],
    biases: &[(Condition::If("attention_bias", false), &[Q, K, V, O])],
    gguf: Some(Gguf {
        name: "qwen3",
        interleaves_heads: false,
    }),
    defaults: Defaults {
        head_dim: Some(128),
        ..QWEN2.defaults
    },
    ..QWEN2
};
