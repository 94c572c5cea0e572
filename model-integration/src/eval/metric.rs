//! What is said of a task, by lm-evaluation-harness' names.

use mxlab_harness::measure::{Estimate, mean, paired_difference, perplexity, ratio};
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::runner::Given;
use crate::engine::Score;
use crate::task::generation::{Filter, is_match};
use crate::task::{Content, Kind, Task};

/// A number that is said of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Part of the examples that are right: greedy decoding gives the target, or the right choice is the likeliest.
    Acc,
    /// Part of the examples whose right choice is the likeliest for its number of characters.
    AccNorm,
    /// Part of the problems whose answer, the last number of the text, is right.
    FlexibleMatch,
    /// Part of the problems whose answer, the number after `#### `, is right.
    StrictMatch,
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
            Kind::Problem => &[Self::FlexibleMatch, Self::StrictMatch],
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
            Self::FlexibleMatch | Self::StrictMatch => "exact_match",
            Self::Perplexity => "perplexity",
            Self::WordPerplexity => "word_perplexity",
            Self::BytePerplexity => "byte_perplexity",
            Self::BitsPerByte => "bits_per_byte",
            Self::Loglikelihood => "mean_loglikelihood",
        }
    }

    /// What of an answer it looks at; `None` of those that are not generated.
    pub const fn filter(self) -> Option<Filter> {
        match self {
            Self::FlexibleMatch => Some(Filter::Flexible),
            Self::StrictMatch => Some(Filter::Strict),
            _ => None,
        }
    }

    /// The name and the filter, as lm-evaluation-harness joins them.
    pub fn key(self) -> String {
        let filter = self.filter().map_or("none", Filter::name);
        format!("{},{filter}", self.name())
    }

    /// What a table calls it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Acc => "acc %",
            Self::AccNorm => "acc_norm %",
            Self::FlexibleMatch => "flexible %",
            Self::StrictMatch => "strict %",
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
            Self::Acc | Self::AccNorm | Self::FlexibleMatch | Self::StrictMatch => Unit::Percent,
            Self::Perplexity | Self::WordPerplexity | Self::BytePerplexity => Unit::Perplexity,
            Self::BitsPerByte | Self::Loglikelihood => Unit::Plain,
        }
    }

    /// Whether more is better.
    pub const fn is_higher_better(self) -> bool {
        matches!(self.unit(), Unit::Percent) || matches!(self, Self::Loglikelihood)
    }

    /// How lm-evaluation-harness makes one number of those of examples; `None` where it has no such metric.
    pub const fn aggregation(self) -> Option<&'static str> {
        match self {
            Self::Acc | Self::AccNorm | Self::FlexibleMatch | Self::StrictMatch => Some("mean"),
            Self::Perplexity => Some("perplexity"),
            Self::WordPerplexity | Self::BytePerplexity => Some("weighted_perplexity"),
            Self::BitsPerByte => Some("bits_per_byte"),
            Self::Loglikelihood => None,
        }
    }
}

/// A metric's values, one for each example, and for a ratio what they are counted in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Which.
    pub metric: Metric,
    /// Of each example.
    pub values: Vec<f64>,
    /// Words or bytes of each example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Vec<f64>>,
}

impl Column {
    /// Every metric of a task, of the answers to all prompts in the order of the plan.
    pub fn all(task: &Task, plan: &Plan, given: &Given) -> Vec<Self> {
        let metrics = Metric::of(task.kind()).iter();
        metrics
            .map(|&metric| {
                let examples = task.examples.iter().zip(plan.examples());
                let values = examples.map(|(example, prompts)| match given {
                    Given::Scores(scores) => value(metric, &example.content, &scores[prompts]),
                    Given::Texts(texts) => (right(metric, &example.content, &texts[prompts]), None),
                });
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
        // Not scored.
        (Content::Problem { .. }, _) => (f64::NAN, None),
        (Content::Document { words, bytes, .. }, _) => match metric {
            Metric::BitsPerByte => (-total / std::f64::consts::LN_2, Some(*bytes as f64)),
            Metric::BytePerplexity => (total, Some(*bytes as f64)),
            _ => (total, Some(*words as f64)),
        },
    }
}

/// Whether a generated answer is right.
fn right(metric: Metric, content: &Content, texts: &[String]) -> f64 {
    let number = metric.filter().map(|filter| filter.extract(&texts[0]));
    let is_right = number.is_some_and(|number| is_match(&number, content.solution()));
    f64::from(u8::from(is_right))
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
