//! The differences between architectures whose forward pass is Llama's, as tables. A new
//! architecture is a row of [`ARCHITECTURES`].

use crate::config::Projection::{self, Down, Gate, K, O, Q, Up, V};

/// An architecture: the names in its checkpoints and the defaults of its configurations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Architecture {
    /// `model_type` in a `config.json`.
    pub model_type: &'static str,
    /// Its class in transformers, as `architectures` in a `config.json` names it.
    pub class: &'static str,
    /// Models with this architecture, for messages.
    pub models: &'static str,
    /// Projections that have a bias, and the condition.
    pub biases: &'static [(Bias, &'static [Projection])],
    /// Modules of a layer that stack several projections by rows.
    pub fused: &'static [(&'static str, &'static [Projection])],
    /// The layout of its GGUF files; `None` if they are not supported.
    pub gguf: Option<Gguf>,
    /// Whether `sliding_window` limits attention.
    pub has_sliding_window: bool,
    /// The values of `rope_type`. Messages list the first name of each kind.
    pub rope_types: &'static [(&'static str, RopeType)],
    /// The class of its tokenizer in transformers 4, where a checkpoint names none.
    pub tokenizer_class: &'static str,
    /// transformers' defaults for missing fields.
    pub defaults: Defaults,
}

/// The condition for a bias.
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
    /// The conditions that depend on a field of `config.json`.
    pub const FIELDS: [(&'static str, Self); 2] = [
        ("attention_bias", Self::AttentionBias),
        ("mlp_bias", Self::MlpBias),
    ];
}

/// The layout of an architecture's GGUF files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gguf {
    /// `general.architecture`, and the prefix of its metadata.
    pub name: &'static str,
    /// Whether the two halves of each query and key head are interleaved, for a rotation of
    /// neighbouring features.
    pub interleaves_heads: bool,
}

/// How rotary frequencies are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeType {
    /// No scaling.
    Default,
    /// [`RopeScaling::Linear`](super::RopeScaling::Linear).
    Linear,
    /// [`RopeScaling::Dynamic`](super::RopeScaling::Dynamic).
    Dynamic,
    /// [`RopeScaling::Llama3`](super::RopeScaling::Llama3).
    Llama3,
    /// [`RopeScaling::Long`](super::RopeScaling::Long).
    Long,
}

/// transformers' defaults for missing fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// `max_position_embeddings`.
    pub max_position_embeddings: usize,
    /// `original_max_position_embeddings`; `None` for the value of `max_position_embeddings`.
    pub original_max_position_embeddings: Option<usize>,
    /// `rms_norm_eps`.
    pub rms_norm_eps: f64,
    /// `eos_token_id`.
    pub eos_token_id: u32,
}

/// Llama 1 to 3.3: one tensor for each projection.
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
        ("dynamic", RopeType::Dynamic),
        ("llama3", RopeType::Llama3),
        ("longrope", RopeType::Long),
        ("su", RopeType::Long),
    ],
    tokenizer_class: "LlamaTokenizer",
    defaults: Defaults {
        max_position_embeddings: 2048,
        original_max_position_embeddings: None,
        rms_norm_eps: 1e-6,
        eos_token_id: 2,
    },
};

/// Phi-3 and Phi-3.5: query, key and value projections share one tensor, gate and up projections
/// another.
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
    // Early configs use the last two names.
    rope_types: &[
        ("default", RopeType::Default),
        ("longrope", RopeType::Long),
        ("su", RopeType::Long),
        ("yarn", RopeType::Long),
    ],
    tokenizer_class: "LlamaTokenizer",
    defaults: Defaults {
        max_position_embeddings: 4096,
        original_max_position_embeddings: Some(4096),
        rms_norm_eps: 1e-5,
        eos_token_id: 32_000,
    },
};

/// All architectures.
pub const ARCHITECTURES: [&Architecture; 2] = [&LLAMA, &PHI3];
