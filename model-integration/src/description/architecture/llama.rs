//! Llama, from which all rows start, and architectures with its layers.

use super::{
    ATTENTION, ActivationFunction, Architecture, Condition, Defaults, GATED_MLP, Gguf, HeadNorms,
    NORMS_BEFORE, NormKind, RopeType, Rotations, TypeRule, Windows,
};
use crate::config::Projection::{Down, Gate, K, O, Q, Up, V};

/// Llama 1 to 3.3: one tensor for each projection.
pub const LLAMA: Architecture = Architecture {
    model_type: "llama",
    class: "LlamaForCausalLM",
    models: "Llama 1 to 3.3, SmolLM2 and models of the same architecture",
    special: "",
    layer: &[&NORMS_BEFORE, &ATTENTION, &GATED_MLP],
    norm: NormKind::Rms,
    norm_eps: "rms_norm_eps",
    head_norms: HeadNorms::Each,
    activation: "hidden_act",
    biases: &[
        (Condition::If("attention_bias", false), &[Q, K, V, O]),
        (Condition::If("mlp_bias", false), &[Gate, Up, Down]),
    ],
    fused: &[],
    experts: None,
    factors: &[],
    windows: Windows::Nowhere,
    rope_types: &[
        ("default", RopeType::Default),
        ("linear", RopeType::Linear),
        ("dynamic", RopeType::Dynamic),
        ("yarn", RopeType::Yarn),
        ("llama3", RopeType::Llama3),
        ("longrope", RopeType::Long),
        ("su", RopeType::Long),
    ],
    rotations: Rotations::Same,
    has_partial_rotation: false,
    rounds_rotation: true,
    gguf: Some(Gguf {
        name: "llama",
        interleaves_heads: true,
    }),
    tokenizer_class: "LlamaTokenizer",
    defaults: Defaults {
        vocab_size: None,
        num_attention_heads: None,
        num_key_value_heads: None,
        head_dim: None,
        max_position_embeddings: 2048,
        original_max_position_embeddings: None,
        sliding_window: None,
        norm_eps: 1e-6,
        rope_theta: 10_000.0,
        scales_positions: false,
        tie_word_embeddings: false,
        activation: ActivationFunction::Silu,
        bos_token_id: Some(1),
        eos_token_id: Some(2),
    },
};

/// Mistral 7B, Nemo and Small 24B: a window, if any, in every layer. Their GGUF files are Llamas.
pub const MISTRAL: Architecture = Architecture {
    model_type: "mistral",
    class: "MistralForCausalLM",
    models: "Mistral 7B, Nemo, Small",
    special: "a window in every layer",
    biases: &[],
    windows: Windows::Everywhere { by_flag: false },
    defaults: Defaults {
        num_key_value_heads: Some(8),
        max_position_embeddings: 131_072,
        sliding_window: Some(4096),
        ..LLAMA.defaults
    },
    ..LLAMA
};

/// SmolLM3: every fourth layer has no rotation.
pub const SMOLLM3: Architecture = Architecture {
    model_type: "smollm3",
    class: "SmolLM3ForCausalLM",
    models: "SmolLM3",
    special: "layers without rotation",
    windows: Windows::ByType(TypeRule::Unrotated),
    rotations: Rotations::SomeWithout,
    gguf: Some(Gguf {
        name: "smollm3",
        interleaves_heads: true,
    }),
    tokenizer_class: "PreTrainedTokenizerFast",
    defaults: Defaults {
        num_attention_heads: Some(16),
        num_key_value_heads: Some(4),
        max_position_embeddings: 32_768,
        rope_theta: 2_000_000.0,
        tie_word_embeddings: true,
        bos_token_id: Some(128_000),
        eos_token_id: Some(128_001),
        ..LLAMA.defaults
    },
    ..LLAMA
};
