//! What the scores of a task under a configuration amount to.

use mxlab_harness::measure::{Estimate, mean, paired_difference, perplexity};
use serde::{Deserialize, Serialize};

use super::model::{Footprint, Score};

/// The result of a task under a configuration. It is determined by the run's settings: how
/// long it took is kept apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Name of the task.
    pub task: String,
    /// Name of the configuration.
    pub config: String,
    /// The configuration in one line.
    pub description: String,
    /// The bits of each quantised operand, as in `W4A6KV4`; empty if there is none.
    pub operands: String,
    /// Number of examples.
    pub examples: usize,
    /// Number of examples whose prompts were cut to fit the model.
    pub truncated: usize,
    /// Part of the examples in which the target is what greedy decoding gives.
    pub accuracy: Estimate,
    /// `exp(-mean log-likelihood)` of the targets.
    pub perplexity: Estimate,
    /// Mean log-likelihood of the targets in nats.
    pub mean_loglikelihood: Estimate,
    /// Difference from the baseline; `None` where none was evaluated, and of the baseline itself.
    pub from_baseline: Option<Difference>,
    /// Memory that the model takes.
    pub footprint: Footprint,
}

/// A difference between two configurations on the same examples, with paired errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Name of the baseline's configuration.
    pub baseline: String,
    /// Of the accuracies.
    pub accuracy: Estimate,
    /// Of the mean log-likelihoods in nats.
    pub mean_loglikelihood: Estimate,
}

/// Log-likelihoods, and accuracies 0 or 1, of the examples.
pub(super) struct Columns {
    loglikelihood: Vec<f64>,
    correct: Vec<f64>,
}

impl Columns {
    pub fn new(scores: &[Score]) -> Self {
        Self {
            loglikelihood: scores.iter().map(|score| score.loglikelihood).collect(),
            correct: scores
                .iter()
                .map(|score| f64::from(u8::from(score.is_greedy)))
                .collect(),
        }
    }

    pub fn accuracy(&self) -> Estimate {
        mean(&self.correct)
    }

    pub fn perplexity(&self) -> Estimate {
        perplexity(&self.loglikelihood)
    }

    pub fn mean_loglikelihood(&self) -> Estimate {
        mean(&self.loglikelihood)
    }

    pub fn difference(&self, name: &str, baseline: &Self) -> Difference {
        Difference {
            baseline: name.to_owned(),
            accuracy: paired_difference(&self.correct, &baseline.correct),
            mean_loglikelihood: paired_difference(&self.loglikelihood, &baseline.loglikelihood),
        }
    }
}
