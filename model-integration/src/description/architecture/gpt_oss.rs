//! gpt-oss.

use super::{
    ATTENTION, ActivationFunction, Architecture, Condition, Defaults, Experts, LLAMA, Module,
    NORMS_BEFORE, NormKind, RoutingRule, TypeRule, Windows,
};
use crate::config::Projection::{Down, Gate, K, O, Q, Up, V};
use crate::description::parameters::Role;

const SINKS: [Module; 1] = [Module(Role::Sinks, "self_attn.sinks", "attn_sinks")];

/// gpt-oss: experts that are stacked in one tensor, a clamped SwiGLU, attention sinks, every other
/// layer windowed.
pub const GPT_OSS: Architecture = Architecture {
    model_type: "gpt_oss",
    class: "GptOssForCausalLM",
    models: "gpt-oss",
    special: "stacked experts, attention sinks, a clamped SwiGLU, windows",
    layer: &[&NORMS_BEFORE, &ATTENTION, &SINKS],
    norm: NormKind::RmsOnce,
    biases: &[
        (Condition::If("attention_bias", true), &[Q, K, V, O]),
        (Condition::Always, &[Gate, Up, Down]),
    ],
    windows: Windows::ByType(TypeRule::AllBut {
        field: None,
        every: 2,
    }),
    gguf: None,
    experts: Some(Experts {
        modules: &[
            Module(Role::Router, "mlp.router", "ffn_gate_inp"),
            Module(Role::Projection(Gate), "mlp.experts.{}.gate_proj", ""),
            Module(Role::Projection(Up), "mlp.experts.{}.up_proj", ""),
            Module(Role::Projection(Down), "mlp.experts.{}.down_proj", ""),
        ],
        router_has_bias: true,
        stacks: &[
            ("mlp.experts.gate_up_proj", &[Gate, Up]),
            ("mlp.experts.down_proj", &[Down]),
        ],
        count: &["num_local_experts", "num_experts"],
        per_token: 4,
        width: "intermediate_size",
        routing: RoutingRule::TopFirst,
        has_plain_layers: false,
    }),
    tokenizer_class: "PreTrainedTokenizerFast",
    defaults: Defaults {
        num_attention_heads: Some(64),
        num_key_value_heads: Some(8),
        head_dim: Some(64),
        max_position_embeddings: 131_072,
        sliding_window: Some(128),
        norm_eps: 1e-5,
        rope_theta: 150_000.0,
        scales_positions: true,
        activation: ActivationFunction::ClampedSwiglu {
            alpha: 1.702,
            limit: 7.0,
        },
        bos_token_id: None,
        eos_token_id: None,
        ..LLAMA.defaults
    },
    ..LLAMA
};
