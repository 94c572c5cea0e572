//! Phi-3 and Phi-4-mini.

use super::{Architecture, Defaults, LLAMA, RopeType, Windows};
use crate::config::Projection::{Gate, K, Q, Up, V};

/// Phi-3, Phi-3.5, Phi-4 and Phi-4-mini: query, key and value projections share one tensor, gate
/// and up projections another.
pub const PHI3: Architecture = Architecture {
    model_type: "phi3",
    class: "Phi3ForCausalLM",
    models: "Phi-3, Phi-3.5, Phi-4, Phi-4-mini",
    special: "fused projections, heads that are rotated in part",
    biases: &[],
    fused: &[
        ("self_attn.qkv_proj", &[Q, K, V]),
        ("mlp.gate_up_proj", &[Gate, Up]),
    ],
    windows: Windows::Everywhere { by_flag: false },
    has_partial_rotation: true,
    // Early configs use the last two names.
    rope_types: &[
        ("default", RopeType::Default),
        ("longrope", RopeType::Long),
        ("su", RopeType::Long),
        ("yarn", RopeType::Long),
    ],
    gguf: None,
    defaults: Defaults {
        max_position_embeddings: 4096,
        original_max_position_embeddings: Some(4096),
        norm_eps: 1e-5,
        eos_token_id: Some(32_000),
        ..LLAMA.defaults
    },
    ..LLAMA
};
