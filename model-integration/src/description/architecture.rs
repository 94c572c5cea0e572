//! What sets architectures apart whose forward pass is that of a Llama, as tables. A new one is a
//! row of [`ARCHITECTURES`].

use crate::config::Projection::{self, Down, Gate, K, O, Q, Up, V};

/// An architecture: how its checkpoints are named and what its configurations leave out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Architecture {
    /// `model_type` in a `config.json`.
    pub model_type: &'static str,
    /// Its class in transformers, as `architectures` in a `config.json` names it.
    pub class: &'static str,
    /// Models of this architecture, for messages.
    pub models: &'static str,
    /// Projections that have a bias, and when they do.
    pub biases: &'static [(Bias, &'static [Projection])],
    /// Modules of a layer that hold several projections: the rows of one after those of another.
    pub fused: &'static [(&'static str, &'static [Projection])],
    /// How a GGUF file holds it; `None` if none is read.
    pub gguf: Option<Gguf>,
    /// Whether `sliding_window` limits attention.
    pub has_sliding_window: bool,
    /// The values of `rope_type`. A second name of a kind is read and not advertised.
    pub rope_types: &'static [(&'static str, RopeType)],
    /// What transformers takes where a config is silent.
    pub defaults: Defaults,
}

/// When projections have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// In every model.
    Always,
    /// If `attention_bias` is true.
    AttentionBias,
    /// If `mlp_bias` is true.
    MlpBias,
}

impl Bias {
    /// Those that depend on a field of a `config.json`.
    pub const FIELDS: [(&'static str, Self); 2] = [
        ("attention_bias", Self::AttentionBias),
        ("mlp_bias", Self::MlpBias),
    ];
}

/// How a GGUF file holds an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gguf {
    /// `general.architecture`, and the prefix of its metadata.
    pub name: &'static str,
    /// Whether the two halves of each query and key head are interleaved, for a rotation of
    /// neighbours.
    pub interleaves_heads: bool,
}

/// How rotary frequencies are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeType {
    /// Not at all.
    Default,
    /// [`RopeScaling::Linear`](super::RopeScaling::Linear).
    Linear,
    /// [`RopeScaling::Llama3`](super::RopeScaling::Llama3).
    Llama3,
    /// [`RopeScaling::Long`](super::RopeScaling::Long).
    Long,
}

/// What transformers takes where a config is silent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// `max_position_embeddings`.
    pub max_position_embeddings: usize,
    /// `original_max_position_embeddings`; `None` for `max_position_embeddings`.
    pub original_max_position_embeddings: Option<usize>,
    /// `rms_norm_eps`.
    pub rms_norm_eps: f64,
    /// `eos_token_id`.
    pub eos_token_id: u32,
}

/// Llama 1 to 3.3: a tensor for each projection.
pub const LLAMA: Architecture = Architecture {
    model_type: "llama",
    class: "LlamaForCausalLM",
    models: "Llama 1 to 3.3 and models of the same architecture",
    biases: &[
        (Bias::AttentionBias, &[Q, K, V, O]),
        (Bias::MlpBias, &[Gate, Up, Down]),
    ],
    fused: &[],
    gguf: Some(Gguf {
        name: "llama",
        interleaves_heads: true,
    }),
    has_sliding_window: false,
    rope_types: &[
        ("default", RopeType::Default),
        ("linear", RopeType::Linear),
        ("llama3", RopeType::Llama3),
        ("longrope", RopeType::Long),
        ("su", RopeType::Long),
    ],
    defaults: Defaults {
        max_position_embeddings: 2048,
        original_max_position_embeddings: None,
        rms_norm_eps: 1e-6,
        eos_token_id: 2,
    },
};

/// Phi-3 and Phi-3.5: query, key and value projections are rows of one tensor, gate and up
/// projections of another.
pub const PHI3: Architecture = Architecture {
    model_type: "phi3",
    class: "Phi3ForCausalLM",
    models: "Phi-3, Phi-3.5",
    biases: &[],
    fused: &[
        ("self_attn.qkv_proj", &[Q, K, V]),
        ("mlp.gate_up_proj", &[Gate, Up]),
    ],
    gguf: None,
    has_sliding_window: true,
    // Early configs have the last two names.
    rope_types: &[
        ("default", RopeType::Default),
        ("longrope", RopeType::Long),
        ("su", RopeType::Long),
        ("yarn", RopeType::Long),
    ],
    defaults: Defaults {
        max_position_embeddings: 4096,
        original_max_position_embeddings: Some(4096),
        rms_norm_eps: 1e-5,
        eos_token_id: 32_000,
    },
};

/// All.
pub const ARCHITECTURES: [&Architecture; 2] = [&LLAMA, &PHI3];
