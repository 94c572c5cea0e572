//! How long sequences may be, and which of them are long: LongRoPE has other frequencies for
//! sequences longer than those that the model was first trained on.
//!
//! Which ones a sequence takes depends on its own length alone, as if it were alone in its batch.

use super::LlamaError;
use crate::description::{ModelConfig, RopeScaling};

/// Whether a sequence of so many tokens is long.
pub fn is_long(config: &ModelConfig, tokens: usize) -> bool {
    trained(config).is_some_and(|trained| tokens > trained)
}

/// Checks that attention to all tokens before is what the model means in a sequence of so many.
///
/// # Errors
/// [`LlamaError::SlidingWindow`].
pub fn check_window(config: &ModelConfig, tokens: usize) -> Result<(), LlamaError> {
    match config.sliding_window {
        Some(window) if tokens > window => Err(LlamaError::SlidingWindow { tokens, window }),
        _ => Ok(()),
    }
}

/// Whether prompts are long that are continued up to `end` tokens; what is in the cache cannot be
/// rotated again.
///
/// # Errors
/// [`LlamaError::BecomesLong`] for a prompt that is not long and could become so.
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

/// Positions that the model was first trained on, if longer sequences are long.
const fn trained(config: &ModelConfig) -> Option<usize> {
    match &config.rope_scaling {
        Some(RopeScaling::Long {
            original_max_position_embeddings,
            ..
        }) => Some(*original_max_position_embeddings),
        _ => None,
    }
}
