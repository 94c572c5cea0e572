//! Metrics, by lm-evaluation-harness' names.

use std::f64::consts::LN_2;

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Content, protocols};
use crate::engine::Score;

/// One metric. The common ones are constants here; a task may define its own.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in records, unique among all metrics.
    pub id: &'static str,
    /// lm-evaluation-harness' name.
    pub name: &'static str,
    /// Its name in a table.
    pub title: &'static str,
    /// How it is written.
    pub unit: Unit,
    /// How lm-evaluation-harness aggregates over examples; `None` if the harness has no such
    /// metric.
    pub aggregation: Option<&'static str>,
    /// The value of an example.
    pub judge: Judge,
    /// Weight of an example: words or bytes of a document.
    pub weight: fn(&Content) -> Option<f64>,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A fraction, printed as a percentage.
    Percent,
    /// A perplexity: `exp` of the negated mean of the values.
    Perplexity,
    /// Anything else.
    Plain,
}

/// How the answer to an example is judged.
#[derive(Clone, Copy, Debug)]
pub enum Judge {
    /// By the scores of its prompts.
    Scores(fn(&Content, &[Score]) -> f64),
    /// Whether the answer that a filter extracts from a generated text is right.
    Text(&'static Filter, fn(&Content, &str) -> bool),
}

/// Extracts the answer from a generated text.
#[derive(Debug)]
pub struct Filter {
    /// lm-evaluation-harness' name.
    pub name: &'static str,
    /// The extraction.
    pub extract: fn(&str) -> String,
}

impl Metric {
    /// Fraction of examples that are right: greedy decoding gives the target, or the right choice
    /// is the likeliest.
    pub const ACC: &Self = &Self::part("acc", "acc %", Judge::Scores(acc));
    /// Fraction of examples whose right choice is the likeliest relative to its number of
    /// characters.
    pub const ACC_NORM: &Self = &Self::part("acc_norm", "acc_norm %", Judge::Scores(acc_norm));
    /// `exp(-mean log-likelihood)` of the targets.
    pub const PERPLEXITY: &Self = &Self {
        unit: Unit::Perplexity,
        aggregation: Some("perplexity"),
        ..Self::plain("perplexity", "perplexity", total)
    };
    /// `exp(-log-likelihood / words)` of all documents.
    pub const WORD_PERPLEXITY: &Self = &Self {
        unit: Unit::Perplexity,
        aggregation: Some("weighted_perplexity"),
        weight: words,
        ..Self::plain("word_perplexity", "word ppl", total)
    };
    /// `exp(-log-likelihood / bytes)` of all documents.
    pub const BYTE_PERPLEXITY: &Self = &Self {
        unit: Unit::Perplexity,
        aggregation: Some("weighted_perplexity"),
        weight: bytes,
        ..Self::plain("byte_perplexity", "byte ppl", total)
    };
    /// [`Self::BYTE_PERPLEXITY`] as a logarithm base 2.
    pub const BITS_PER_BYTE: &Self = &Self {
        aggregation: Some("bits_per_byte"),
        weight: bytes,
        ..Self::plain("bits_per_byte", "bits/byte", |content, scores| {
            -total(content, scores) / LN_2
        })
    };
    /// Mean log-likelihood in nats: of targets, of right choices, or per word of documents.
    pub const LOGLIKELIHOOD: &Self = &Self {
        name: "mean_loglikelihood",
        weight: words,
        ..Self::plain("loglikelihood", "log-lik", right_loglikelihood)
    };

    /// Metrics of cloze tasks.
    pub const OF_CLOZE: &[&Self] = &[Self::ACC, Self::PERPLEXITY, Self::LOGLIKELIHOOD];
    /// Metrics of multiple-choice tasks.
    pub const OF_CHOICES: &[&Self] = &[Self::ACC, Self::ACC_NORM, Self::LOGLIKELIHOOD];

    /// A fraction of examples that are right.
    pub const fn part(id: &'static str, title: &'static str, judge: Judge) -> Self {
        Self {
            id,
            name: id,
            title,
            unit: Unit::Percent,
            aggregation: Some("mean"),
            judge,
            weight: |_| None,
        }
    }

    const fn plain(
        id: &'static str,
        title: &'static str,
        value: fn(&Content, &[Score]) -> f64,
    ) -> Self {
        Self {
            unit: Unit::Plain,
            aggregation: None,
            ..Self::part(id, title, Judge::Scores(value))
        }
    }

    /// The metric with this name in records.
    pub fn with_id(id: &str) -> Option<&'static Self> {
        let mut metrics = protocols().flat_map(|protocol| protocol.metrics);
        metrics.find(|metric| metric.id == id).copied()
    }

    /// The filter of a generated answer; `None` for metrics of scores.
    pub const fn filter(&self) -> Option<&'static Filter> {
        match self.judge {
            Judge::Scores(_) => None,
            Judge::Text(filter, _) => Some(filter),
        }
    }

    /// Whether more is better.
    pub fn is_higher_better(&self) -> bool {
        self.unit == Unit::Percent || self == Self::LOGLIKELIHOOD
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id)
    }
}

impl<'de> Deserialize<'de> for &'static Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        let unknown = || D::Error::invalid_value(Unexpected::Str(&id), &"a metric of some task");
        Metric::with_id(&id).ok_or_else(unknown)
    }
}

/// The sum of the log-likelihoods of an example's prompts.
fn total(_: &Content, scores: &[Score]) -> f64 {
    scores.iter().map(|score| score.loglikelihood).sum()
}

/// The log-likelihood of the right choice, or the sum if there are no choices.
fn right_loglikelihood(content: &Content, scores: &[Score]) -> f64 {
    match content {
        Content::Choices { gold, .. } => scores[*gold].loglikelihood,
        _ => total(content, scores),
    }
}

fn acc(content: &Content, scores: &[Score]) -> f64 {
    let is_right = match content {
        Content::Choices { gold, .. } => {
            likeliest(scores.iter().map(|score| score.loglikelihood)) == *gold
        }
        _ => scores.iter().all(|score| score.is_greedy),
    };
    f64::from(u8::from(is_right))
}

fn acc_norm(content: &Content, scores: &[Score]) -> f64 {
    let Content::Choices { choices, gold, .. } = content else {
        return f64::NAN;
    };
    let each = scores.iter().zip(choices);
    let norm =
        |(score, choice): (&Score, &String)| score.loglikelihood / choice.chars().count() as f64;
    f64::from(u8::from(likeliest(each.map(norm)) == *gold))
}

fn words(content: &Content) -> Option<f64> {
    match content {
        Content::Document { words, .. } => Some(*words as f64),
        _ => None,
    }
}

fn bytes(content: &Content) -> Option<f64> {
    match content {
        Content::Document { bytes, .. } => Some(*bytes as f64),
        _ => None,
    }
}

/// The index of the first maximum.
pub fn likeliest(values: impl Iterator<Item = f64>) -> usize {
    let first = values
        .enumerate()
        .reduce(|best, other| match other.1 > best.1 {
            true => other,
            false => best,
        });
    first.map_or(0, |(index, _)| index)
}
