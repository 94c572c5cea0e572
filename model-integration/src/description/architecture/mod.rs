//! Architectures as rows of data: the names in their checkpoints, the kinds of their parts, the
//! fields of their configurations with transformers' defaults. A new architecture is a row.
//!
//! Rows start from [`LLAMA`] and say what differs.

mod experts;
mod gemma;
mod gpt_oss;
mod granite;
mod llama;
mod mixtral;
mod olmo2;
mod phi3;
mod qwen;
mod relatives;
mod starcoder2;

pub use experts::{Experts, RoutingRule};
pub use gemma::{GEMMA2, GEMMA3};
pub use gpt_oss::GPT_OSS;
pub use granite::GRANITE;
pub use llama::{LLAMA, MISTRAL, SMOLLM3};
pub use mixtral::{MIXTRAL, QWEN3_MOE};
pub use olmo2::OLMO2;
pub use phi3::PHI3;
pub use qwen::{QWEN2, QWEN3};
pub use relatives::nearest;
pub use starcoder2::STARCODER2;

use super::kinds::{ActivationFunction, HeadNorms, NormKind};
use super::parameters::Role;
use crate::config::Projection::{self, Down, Gate, K, O, Q, Up, V};

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Architecture {
    /// `model_type` in a `config.json`.
    pub model_type: &'static str,
    /// Its class in transformers, as `architectures` in a `config.json` names it.
    pub class: &'static str,
    /// Models with this architecture, for messages.
    pub models: &'static str,
    /// What a Llama does not have, for messages.
    pub special: &'static str,
    /// The modules of a layer, in order. A role that is absent is not computed.
    pub layer: &'static [&'static [Module]],
    /// The kind of all norms but those of queries and keys.
    pub norm: NormKind,
    /// The field of a norm's epsilon.
    pub norm_eps: &'static str,
    /// What norms of queries and keys normalise, if the layer has them.
    pub head_norms: HeadNorms,
    /// The field of the MLP's function.
    pub activation: &'static str,
    /// Projections that have a bias, and when.
    pub biases: &'static [(Condition, &'static [Projection])],
    /// Modules of a layer that stack several projections by rows.
    pub fused: &'static [(&'static str, &'static [Projection])],
    /// The mixture of experts in place of the MLP.
    pub experts: Option<Experts>,
    /// The factors and caps that are not a Llama's.
    pub factors: &'static [(Factor, Source)],
    /// The layers that have a window.
    pub windows: Windows,
    /// The values of `rope_type`. Messages list the first name of each kind.
    pub rope_types: &'static [(&'static str, RopeType)],
    /// How rotations differ between layers.
    pub rotations: Rotations,
    /// Whether `partial_rotary_factor` limits the rotation to the first features of a head.
    pub has_partial_rotation: bool,
    /// Whether the rotation rounds cosines, sines and products to the type of the model's
    /// arithmetic; otherwise it is computed in float32.
    pub rounds_rotation: bool,
    /// The layout of its GGUF files; `None` if they are not supported.
    pub gguf: Option<Gguf>,
    /// The class of its tokenizer in transformers 4, where a checkpoint names none.
    pub tokenizer_class: &'static str,
    /// transformers' defaults for missing fields.
    pub defaults: Defaults,
}

/// A module of a layer: its role, and its names in safetensors and in GGUF files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module(pub Role, pub &'static str, pub &'static str);

/// Norms before attention and before the MLP.
pub const NORMS_BEFORE: [Module; 2] = [
    Module(Role::InputNorm, "input_layernorm", "attn_norm"),
    Module(Role::MlpNorm, "post_attention_layernorm", "ffn_norm"),
];

/// The projections of attention.
pub const ATTENTION: [Module; 4] = [
    Module(Role::Projection(Q), "self_attn.q_proj", "attn_q"),
    Module(Role::Projection(K), "self_attn.k_proj", "attn_k"),
    Module(Role::Projection(V), "self_attn.v_proj", "attn_v"),
    Module(Role::Projection(O), "self_attn.o_proj", "attn_output"),
];

/// Norms of queries and keys.
pub const HEAD_NORMS: [Module; 2] = [
    Module(Role::QueryNorm, "self_attn.q_norm", "attn_q_norm"),
    Module(Role::KeyNorm, "self_attn.k_norm", "attn_k_norm"),
];

/// An MLP with a gate.
pub const GATED_MLP: [Module; 3] = [
    Module(Role::Projection(Gate), "mlp.gate_proj", "ffn_gate"),
    Module(Role::Projection(Up), "mlp.up_proj", "ffn_up"),
    Module(Role::Projection(Down), "mlp.down_proj", "ffn_down"),
];

/// When a model has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// In every model.
    Always,
    /// If this field is true; the default where it is absent.
    If(&'static str, bool),
}

/// A constant of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// Multiplies embeddings.
    Embedding,
    /// Multiplies what a layer's halves add to the residual stream.
    Residual,
    /// Multiplies products of queries and keys.
    Attention,
    /// Divides logits.
    LogitDivisor,
    /// The soft cap of scaled products of queries and keys.
    AttentionCap,
    /// The soft cap of logits.
    LogitCap,
}

impl Factor {
    /// Whether it is a cap, of which there may be none.
    pub const fn is_cap(self) -> bool {
        matches!(self, Self::AttentionCap | Self::LogitCap)
    }
}

/// Where a constant comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// A field, and its value where it is absent. Null stands for no cap.
    Field(&'static str, Option<f64>),
    /// The reciprocal of the root of a field.
    InverseRoot(&'static str, f64),
    /// The root of `hidden_size`, rounded to the type of the model's arithmetic.
    RootOfWidth,
}

/// The layers whose attention has a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// None.
    Nowhere,
    /// All, if `sliding_window` is given; with the flag, only if `use_sliding_window` is true.
    Everywhere {
        /// Whether `use_sliding_window` has to be true.
        by_flag: bool,
    },
    /// Those that `layer_types` names, or else those of a rule.
    ByType(TypeRule),
}

/// The layers with a window where a configuration has no `layer_types`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeRule {
    /// From `max_window_layers` on, if `use_sliding_window` is true.
    From,
    /// Those without a rotation, if `use_sliding_window` is true.
    Unrotated,
    /// All but every n-th.
    AllBut {
        /// The field of n, if there is one.
        field: Option<&'static str>,
        /// n without a field.
        every: usize,
    },
}

impl Windows {
    /// Whether `use_sliding_window` has to be true for a window.
    pub const fn need_flag(self) -> bool {
        matches!(
            self,
            Self::Everywhere { by_flag: true } | Self::ByType(TypeRule::From | TypeRule::Unrotated)
        )
    }
}

/// How rotations differ between layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotations {
    /// They do not.
    Same,
    /// Layers without a rotation: those with 0 in `no_rope_layers`, or else every n-th, where
    /// `no_rope_layer_interval` is n.
    SomeWithout,
    /// Layers with a window have a base of their own, `rope_local_base_freq`, and no scaling.
    ByWindow,
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
    /// [`RopeScaling::Yarn`](super::RopeScaling::Yarn).
    Yarn,
    /// [`RopeScaling::Llama3`](super::RopeScaling::Llama3).
    Llama3,
    /// [`RopeScaling::Long`](super::RopeScaling::Long).
    Long,
}

/// transformers' defaults for missing fields; `None` where a field is required, or follows from
/// others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// `vocab_size`.
    pub vocab_size: Option<usize>,
    /// `num_attention_heads`.
    pub num_attention_heads: Option<usize>,
    /// `num_key_value_heads`; `None` for as many as queries have.
    pub num_key_value_heads: Option<usize>,
    /// `head_dim`; `None` for the width divided by the heads.
    pub head_dim: Option<usize>,
    /// `max_position_embeddings`.
    pub max_position_embeddings: usize,
    /// `original_max_position_embeddings` at the top level, where transformers reads it; `None` for
    /// the value of `max_position_embeddings`.
    pub original_max_position_embeddings: Option<usize>,
    /// `sliding_window`.
    pub sliding_window: Option<usize>,
    /// The epsilon of norms.
    pub norm_eps: f64,
    /// `rope_theta`.
    pub rope_theta: f64,
    /// Whether positions are scaled where the config says nothing; such a config is refused.
    pub scales_positions: bool,
    /// `tie_word_embeddings`.
    pub tie_word_embeddings: bool,
    /// The MLP's function.
    pub activation: ActivationFunction,
    /// `bos_token_id`.
    pub bos_token_id: Option<u32>,
    /// `eos_token_id`.
    pub eos_token_id: Option<u32>,
}

/// All architectures.
pub const ARCHITECTURES: [&Architecture; 14] = [
    &LLAMA,
    &MISTRAL,
    &PHI3,
    &QWEN2,
    &QWEN3,
    &SMOLLM3,
    &GEMMA2,
    &GEMMA3,
    &OLMO2,
    &STARCODER2,
    &MIXTRAL,
    &QWEN3_MOE,
    &GPT_OSS,
    &GRANITE,
];

impl Architecture {
    /// The modules of a layer without experts, in order.
    pub fn modules(&self) -> impl Iterator<Item = &'static Module> + use<> {
        self.layer.iter().copied().flatten()
    }

    /// The modules of a layer with experts, in order; those of an expert have `{}` in their names.
    pub fn modules_with_experts(&self) -> impl Iterator<Item = &'static Module> + use<> {
        let is_of_mlp = |role| matches!(role, Role::Projection(Gate | Up | Down));
        let others = self.modules().filter(move |module| !is_of_mlp(module.0));
        others.chain(self.experts.map_or(&[][..], |experts| experts.modules))
    }

    /// Whether its layers have a module of this role.
    pub fn has(&self, role: Role) -> bool {
        self.modules().any(|module| module.0 == role)
    }

    /// Whether its MLP has a clamped SwiGLU.
    pub const fn has_clamp(&self) -> bool {
        let function = self.defaults.activation;
        matches!(function, ActivationFunction::ClampedSwiglu { .. })
    }

    /// Whether its configurations have this field, of those that change results.
    pub fn reads(&self, field: &str) -> bool {
        let of_bias =
            |(bias, _): &(Condition, _)| matches!(bias, Condition::If(name, _) if *name == field);
        let of_factor = |(_, source): &(Factor, Source)| match source {
            Source::Field(name, _) | Source::InverseRoot(name, _) => *name == field,
            Source::RootOfWidth => false,
        };
        let of_rotation = match self.rotations {
            Rotations::Same => &[][..],
            Rotations::SomeWithout => &["no_rope_layers", "no_rope_layer_interval"],
            Rotations::ByWindow => &["rope_local_base_freq"],
        };
        let of_window = match self.windows {
            Windows::Nowhere => &[][..],
            Windows::Everywhere { .. } => &["sliding_window"],
            Windows::ByType(_) => &["sliding_window", "layer_types"],
        };
        let of_experts = self.experts.is_some_and(|experts| {
            let sparse = ["mlp_only_layers", "decoder_sparse_step"];
            experts.count.contains(&field)
                || experts.width == field
                || (experts.has_plain_layers && sparse.contains(&field))
        });
        of_experts
            || self.biases.iter().any(of_bias)
            || self.factors.iter().any(of_factor)
            || [of_rotation, of_window].concat().contains(&field)
            || self.activation == field
            || self.norm_eps == field
            || (self.has_partial_rotation && field == "partial_rotary_factor")
            || (self.has_clamp() && ["swiglu_alpha", "swiglu_limit"].contains(&field))
    }
}
