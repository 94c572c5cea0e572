//! Limits on the length of sequences. Two scalings of RoPE depend on it. LongRoPE has other
//! frequencies for sequences that are longer than those of the training; dynamic scaling has others
//! for each such length.
//!
//! The frequencies depend on the length of a sequence alone, never on its batch.

use super::LlamaError;
use crate::description::{ModelConfig, RopeScaling};

/// How far a sequence reaches, if rotary frequencies depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Not beyond the training; or nothing depends on it.
    #[default]
    Trained,
    /// Beyond the training, with LongRoPE.
    Long,
    /// To this length beyond the training, with dynamic scaling.
    Dynamic(usize),
}

/// The reach of a sequence of `tokens` tokens.
pub fn reach(config: &ModelConfig, tokens: usize) -> Reach {
    let mut reaches = config.ropes.iter().map(|rope| match rope.scaling {
        Some(RopeScaling::Long {
            original_max_position_embeddings: trained,
            ..
        }) if tokens > trained => Reach::Long,
        Some(RopeScaling::Dynamic { .. }) if tokens > config.max_position_embeddings => {
            Reach::Dynamic(tokens)
        }
        _ => Reach::Trained,
    });
    reaches
        .find(|reach| *reach != Reach::Trained)
        .unwrap_or_default()
}

/// The reach of prompts that are continued up to `end` tokens. Cached keys cannot be rotated again,
/// so a prompt must not reach beyond the training on the way, and with dynamic scaling not at all.
///
/// # Errors
/// [`LlamaError::BecomesLong`], [`LlamaError::DynamicRope`].
pub fn reach_to_the_end(
    config: &ModelConfig,
    prompts: impl Iterator<Item = usize>,
    end: usize,
) -> Result<Reach, LlamaError> {
    let at_end = reach(config, end);
    match at_end {
        Reach::Trained => {}
        Reach::Dynamic(tokens) => {
            let trained = config.max_position_embeddings;
            return Err(LlamaError::DynamicRope { tokens, trained });
        }
        Reach::Long => {
            for prompt in prompts {
                if reach(config, prompt) != at_end {
                    let trained = trained(config).unwrap_or(end);
                    return Err(LlamaError::BecomesLong {
                        prompt,
                        end,
                        trained,
                    });
                }
            }
        }
    }
    Ok(at_end)
}

/// The reach of each class of sequences that are continued: those of one class have equal keys for
/// equal tokens.
pub const CLASSES: [Reach; 2] = [Reach::Trained, Reach::Long];

/// The class of a prompt that is continued up to `end` tokens.
///
/// # Errors
/// As [`reach_to_the_end`].
pub fn class(config: &ModelConfig, prompt: usize, end: usize) -> Result<usize, LlamaError> {
    let reach = reach_to_the_end(config, [prompt].into_iter(), end)?;
    Ok(usize::from(reach == Reach::Long))
}

/// Longest sequence that LongRoPE takes as short; `None` if the model does not distinguish them.
fn trained(config: &ModelConfig) -> Option<usize> {
    config.ropes.iter().find_map(|rope| match rope.scaling {
        Some(RopeScaling::Long {
            original_max_position_embeddings,
            ..
        }) => Some(original_max_position_embeddings),
        _ => None,
    })
}
