//! What the device's kernels compute of a model's description. A model with other parts is refused
//! before its weights are read.

use crate::description::kinds::{ActivationFunction, NormKind};
use crate::description::parameters::Role;
use crate::description::{Factors, ModelConfig};
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
    let architecture = config.architecture;
    let has = |roles: &[Role]| roles.iter().any(|&role| architecture.has(role));
    let plain = Factors::plain(config.head_dim);
    let factors = config.factors;
    let rotated = config.ropes.iter().map(|rope| rope.features);
    let lacking = [
        (
            architecture.norm != NormKind::Rms,
            "other norms than a Llama's",
        ),
        (
            has(&[Role::AfterAttentionNorm, Role::AfterMlpNorm]),
            "norms after attention and MLP",
        ),
        (
            has(&[Role::QueryNorm, Role::KeyNorm]),
            "norms of queries and keys",
        ),
        (has(&[Role::Sinks]), "attention sinks"),
        (
            !has(&[Role::Projection(crate::config::Projection::Gate)]),
            "an MLP without gate",
        ),
        (
            config.activation != ActivationFunction::Silu,
            "other functions of the MLP than SiLU",
        ),
        (
            factors.attention_cap.is_some() || factors.logit_cap.is_some(),
            "soft caps",
        ),
        (
            (factors.embedding, factors.residual, factors.logit_divisor)
                != (plain.embedding, plain.residual, plain.logit_divisor),
            "factors of embeddings, layers or logits",
        ),
        (
            rotated
                .min()
                .is_some_and(|features| features != config.head_dim),
            "a rotation of parts of heads",
        ),
        (
            config.layers.iter().any(|layer| layer.rope.is_none()),
            "layers without rotation",
        ),
    ];
    let lacking = lacking.into_iter().filter(|(is_lacking, _)| *is_lacking);
    let lacking: Vec<&str> = lacking.map(|(_, part)| part).collect();
    match lacking.as_slice() {
        [] => Ok(()),
        parts => Err(lacks(&parts.join(", "))),
    }
}

/// Checks that the kernels compute a sequence of `tokens` tokens.
///
/// # Errors
/// [`LlamaError::SlidingWindow`], [`LlamaError::DynamicRope`].
pub fn check_length(config: &ModelConfig, tokens: usize) -> Result<(), LlamaError> {
    context::check_window(config, tokens)?;
    match context::reach(config, tokens) {
        Reach::Dynamic(tokens) => Err(LlamaError::DynamicRope {
            tokens,
            trained: config.max_position_embeddings,
        }),
        Reach::Trained | Reach::Long => Ok(()),
    }
}
