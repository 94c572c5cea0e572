//! What the device's kernels compute of a model's description. A model with other parts is refused
//! before its weights are read.

use mxlab_kernels::family::attention::AttentionVariant;

use crate::config::Projection;
use crate::description::ModelConfig;
use crate::description::kinds::ActivationFunction;
use crate::description::parameters::Role;
use crate::model::LlamaError;
use crate::model::context::{self, Reach};

/// The error for parts without kernels.
pub(super) fn lacks(parts: &str) -> LlamaError {
    LlamaError::Parts {
        parts: parts.to_owned(),
    }
}

/// Checks that there are kernels for every part of a model.
///
/// # Errors
/// [`LlamaError::Parts`] with all that are lacking.
pub fn check(config: &ModelConfig) -> Result<(), LlamaError> {
    let has = |role| config.architecture.has(role);
    let has_experts = config.experts.is_some();
    let has_function = match config.activation {
        _ if has_experts => true,
        ActivationFunction::GeluTanh => true,
        ActivationFunction::Silu => has(Role::Projection(Projection::Gate)),
        _ => false,
    };
    let lacking = [
        (has_experts, "experts".to_owned()),
        (has(Role::Sinks), "attention sinks".to_owned()),
        (
            !has_function,
            format!("an MLP with `{}`", config.activation.name()),
        ),
        (
            config.head_dim > AttentionVariant::MAX_HEAD_DIM,
            format!("heads of {} features", config.head_dim),
        ),
    ];
    let lacking = lacking.into_iter().filter(|(is_lacking, _)| *is_lacking);
    let lacking: Vec<String> = lacking.map(|(_, part)| part).collect();
    match lacking.as_slice() {
        [] => Ok(()),
        parts => Err(lacks(&parts.join(", "))),
    }
}

/// Checks that the kernels compute a sequence of `tokens` tokens.
///
/// # Errors
/// [`LlamaError::DynamicRope`].
pub fn check_length(config: &ModelConfig, tokens: usize) -> Result<(), LlamaError> {
    match context::reach(config, tokens) {
        Reach::Dynamic(tokens) => Err(LlamaError::DynamicRope {
            tokens,
            trained: config.max_position_embeddings,
        }),
        Reach::Trained | Reach::Long => Ok(()),
    }
}
