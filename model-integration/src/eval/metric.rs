//! What is said of a task, by lm-evaluation-harness' names.

use mxlab_harness::measure::{Estimate, mean, paired_difference, perplexity, ratio};
use serde::{Deserialize, Serialize};

use super::model::Score;
use super::plan::Plan;
use crate::task::{Content, Kind, Task};

/// A number that is said of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Part of the examples that are right: greedy decoding gives the target, or the right choice is the likeliest.
    Acc,
    /// Part of the examples whose right choice is the likeliest for its number of characters.
    AccNorm,
    /// `exp(-mean log-likelihood)` of the targets.
    Perplexity,
    /// `exp(-log-likelihood / words)` of all documents.
    WordPerplexity,
    /// `exp(-log-likelihood / bytes)` of all documents.
    BytePerplexity,
    /// Its logarithm base 2.
    BitsPerByte,
    /// Mean log-likelihood in nats: of the targets, of the right choices, or of a word of the documents.
    Loglikelihood,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A part of a whole.
    Percent,
    /// A perplexity.
    Perplexity,
    /// Anything else.
    Plain,
}

impl Metric {
    /// Those of a task: first the one that counts, whose difference from the baseline is shown, then another; the
    /// log-likelihood last.
    pub const fn of(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Cloze => &[Self::Acc, Self::Perplexity, Self::Loglikelihood],
            Kind::Choices => &[Self::Acc, Self::AccNorm, Self::Loglikelihood],
            Kind::Document => &[
                Self::BitsPerByte,
                Self::WordPerplexity,
                Self::BytePerplexity,
                Self::Loglikelihood,
            ],
        }
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acc => "acc",
            Self::AccNorm => "acc_norm",
            Self::Perplexity => "perplexity",
            Self::WordPerplexity => "word_perplexity",
            Self::BytePerplexity => "byte_perplexity",
            Self::BitsPerByte => "bits_per_byte",
            Self::Loglikelihood => "mean_loglikelihood",
        }
    }

    /// What a table calls it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Acc => "acc %",
            Self::AccNorm => "acc_norm %",
            Self::Perplexity => "perplexity",
            Self::WordPerplexity => "word ppl",
            Self::BytePerplexity => "byte ppl",
            Self::BitsPerByte => "bits/byte",
            Self::Loglikelihood => "log-lik",
        }
    }

    /// How it is written.
    pub const fn unit(self) -> Unit {
        match self {
            Self::Acc | Self::AccNorm => Unit::Percent,
            Self::Perplexity | Self::WordPerplexity | Self::BytePerplexity => Unit::Perplexity,
            Self::BitsPerByte | Self::Loglikelihood => Unit::Plain,
        }
    }

    /// Whether more is better.
    pub const fn is_higher_better(self) -> bool {
        matches!(self, Self::Acc | Self::AccNorm | Self::Loglikelihood)
    }

    /// How lm-evaluation-harness makes one number of those of examples; `None` where it has no such metric.
    pub const fn aggregation(self) -> Option<&'static str> {
        match self {
            Self::Acc | Self::AccNorm => Some("mean"),
            Self::Perplexity => Some("perplexity"),
            Self::WordPerplexity | Self::BytePerplexity => Some("weighted_perplexity"),
            Self::BitsPerByte => Some("bits_per_byte"),
            Self::Loglikelihood => None,
        }
    }
}

/// A metric's values, one for each example, and for a ratio what they are counted in.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Which.
    pub metric: Metric,
    /// Of each example.
    pub values: Vec<f64>,
    /// Words or bytes of each example.
    pub weights: Option<Vec<f64>>,
}

impl Column {
    /// Every metric of a task, of the scores of all prompts in the order of the plan.
    pub fn all(task: &Task, plan: &Plan, scores: &[Score]) -> Vec<Self> {
        let metrics = Metric::of(task.kind()).iter();
        metrics
            .map(|&metric| {
                let examples = task.examples.iter().zip(plan.examples());
                let values = examples
                    .map(|(example, prompts)| value(metric, &example.content, &scores[prompts]));
                let (values, weights): (Vec<f64>, Vec<Option<f64>>) = values.unzip();
                Self {
                    metric,
                    values,
                    weights: weights.into_iter().collect(),
                }
            })
            .collect()
    }

    /// The number.
    pub fn estimate(&self) -> Estimate {
        let exponential = |mean: Estimate| {
            let value = (-mean.value).exp();
            let stderr = mean.stderr.map(|stderr| value * stderr);
            Estimate { value, stderr }
        };
        match (self.metric, &self.weights) {
            (Metric::Perplexity, _) => perplexity(&self.values),
            (Metric::WordPerplexity | Metric::BytePerplexity, Some(weights)) => {
                exponential(ratio(&self.values, weights))
            }
            (_, Some(weights)) => ratio(&self.values, weights),
            (_, None) => mean(&self.values),
        }
    }

    /// The number less the baseline's, on the same examples; `None` of perplexities, whose logarithm has one.
    pub fn difference(&self, baseline: &Self) -> Option<Estimate> {
        if self.metric.unit() == Unit::Perplexity {
            return None;
        }
        Some(match &self.weights {
            None => paired_difference(&self.values, &baseline.values),
            Some(weights) => {
                let pairs = self.values.iter().zip(&baseline.values);
                let differences: Vec<f64> = pairs.map(|(own, base)| own - base).collect();
                ratio(&differences, weights)
            }
        })
    }
}

/// The value of an example, of the scores of its prompts, and what it is counted in.
fn value(metric: Metric, content: &Content, scores: &[Score]) -> (f64, Option<f64>) {
    let is = |is: bool| (f64::from(u8::from(is)), None);
    let total: f64 = scores.iter().map(|score| score.loglikelihood).sum();
    match (content, metric) {
        (Content::Cloze { .. }, Metric::Acc) => is(scores.iter().all(|score| score.is_greedy)),
        (Content::Cloze { .. }, _) => (total, None),
        (Content::Choices { choices, gold, .. }, _) => {
            let chosen = |length: &dyn Fn(&str) -> f64| {
                let each = scores.iter().zip(choices);
                likeliest(each.map(|(score, choice)| score.loglikelihood / length(choice)))
            };
            match metric {
                Metric::Acc => is(chosen(&|_| 1.0) == *gold),
                Metric::AccNorm => is(chosen(&|choice| choice.chars().count() as f64) == *gold),
                _ => (scores[*gold].loglikelihood, None),
            }
        }
        (Content::Document { words, bytes, .. }, _) => match metric {
            Metric::BitsPerByte => (-total / std::f64::consts::LN_2, Some(*bytes as f64)),
            Metric::BytePerplexity => (total, Some(*bytes as f64)),
            _ => (total, Some(*words as f64)),
        },
    }
}

/// The first of the greatest.
pub fn likeliest(values: impl Iterator<Item = f64>) -> usize {
    let first = values
        .enumerate()
        .reduce(|best, other| match other.1 > best.1 {
            true => other,
            false => best,
        });
    first.map_or(0, |(index, _)| index)
}
