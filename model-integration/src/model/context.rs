//! Limits on the length of sequences. LongRoPE has other frequencies for sequences that are longer
//! than those of the training; such sequences are *long*.
//!
//! The frequencies depend on the length of a sequence alone, never on its batch.

use super::LlamaError;
use crate::description::{ModelConfig, RopeScaling};

/// Whether a sequence of `tokens` tokens is long.
pub fn is_long(config: &ModelConfig, tokens: usize) -> bool {
    trained(config).is_some_and(|trained| tokens > trained)
}

/// Checks that a sequence of `tokens` tokens fits the model's attention window, and the length to
/// which its rotary frequencies are plain.
///
/// # Errors
/// [`LlamaError::SlidingWindow`], [`LlamaError::DynamicRope`].
pub fn check_window(config: &ModelConfig, tokens: usize) -> Result<(), LlamaError> {
    let trained = config.max_position_embeddings;
    match (config.sliding_window, &config.rope_scaling) {
        (Some(window), _) if tokens > window => Err(LlamaError::SlidingWindow { tokens, window }),
        (_, Some(RopeScaling::Dynamic { .. })) if tokens > trained => {
            Err(LlamaError::DynamicRope { tokens, trained })
        }
        _ => Ok(()),
    }
}

/// Whether prompts that are continued up to `end` tokens are long. Cached keys cannot be rotated
/// again, so a prompt must not become long on the way.
///
/// # Errors
/// [`LlamaError::BecomesLong`] for a prompt that is not long and could become long.
pub fn is_long_to_the_end(
    config: &ModelConfig,
    prompts: impl Iterator<Item = usize>,
    end: usize,
) -> Result<bool, LlamaError> {
    if !is_long(config, end) {
        return Ok(false);
    }
    for prompt in prompts {
        if !is_long(config, prompt) {
            return Err(LlamaError::BecomesLong {
                prompt,
                end,
                trained: trained(config).unwrap_or(end),
            });
        }
    }
    Ok(true)
}

/// Longest sequence that is not long; `None` if the model does not distinguish them.
const fn trained(config: &ModelConfig) -> Option<usize> {
    match &config.rope_scaling {
        Some(RopeScaling::Long {
            original_max_position_embeddings,
            ..
        }) => Some(*original_max_position_embeddings),
        _ => None,
    }
}
