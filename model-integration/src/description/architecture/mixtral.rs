//! Mixtral and Qwen3-MoE: mixtures of experts in place of the MLP.

use super::{
    Architecture, Condition, Defaults, Experts, MISTRAL, Module, QWEN3, RoutingRule, Windows,
};
use crate::config::Projection::{Down, Gate, Up};
use crate::description::parameters::Role;

/// Mixtral: two of eight experts, whose weights sum to one.
pub const MIXTRAL: Architecture = Architecture {
    model_type: "mixtral",
    class: "MixtralForCausalLM",
    models: "Mixtral",
    special: "experts",
    gguf: None,
    experts: Some(Experts {
        modules: &[
            Module(Role::Router, "block_sparse_moe.gate", "ffn_gate_inp"),
            Module(Role::Projection(Gate), "block_sparse_moe.experts.{}.w1", ""),
            Module(Role::Projection(Up), "block_sparse_moe.experts.{}.w3", ""),
            Module(Role::Projection(Down), "block_sparse_moe.experts.{}.w2", ""),
        ],
        router_has_bias: false,
        stacks: &[],
        count: &["num_local_experts", "num_experts"],
        per_token: 2,
        width: "intermediate_size",
        routing: RoutingRule::SoftmaxFirst {
            normalised: Condition::Always,
            rounded: false,
        },
        has_plain_layers: false,
    }),
    defaults: Defaults {
        sliding_window: None,
        norm_eps: 1e-5,
        rope_theta: 1_000_000.0,
        ..MISTRAL.defaults
    },
    ..MISTRAL
};

/// Qwen3-MoE: narrow experts, whose weights sum to one if the configuration says so.
pub const QWEN3_MOE: Architecture = Architecture {
    model_type: "qwen3_moe",
    class: "Qwen3MoeForCausalLM",
    models: "Qwen3-30B-A3B, Qwen3-235B-A22B, Qwen3-Coder",
    special: "experts, norms of queries and keys",
    windows: Windows::Everywhere { by_flag: true },
    gguf: None,
    experts: Some(Experts {
        modules: &[
            Module(Role::Router, "mlp.gate", "ffn_gate_inp"),
            Module(Role::Projection(Gate), "mlp.experts.{}.gate_proj", ""),
            Module(Role::Projection(Up), "mlp.experts.{}.up_proj", ""),
            Module(Role::Projection(Down), "mlp.experts.{}.down_proj", ""),
        ],
        router_has_bias: false,
        stacks: &[],
        count: &["num_experts", "num_local_experts"],
        per_token: 8,
        width: "moe_intermediate_size",
        routing: RoutingRule::SoftmaxFirst {
            normalised: Condition::If("norm_topk_prob", false),
            rounded: true,
        },
        has_plain_layers: true,
    }),
    defaults: Defaults {
        head_dim: None,
        num_key_value_heads: Some(4),
        ..QWEN3.defaults
    },
    ..QWEN3
};
