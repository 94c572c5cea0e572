//! The protocol of a task: how its lines become questions, and how answers are judged.

use super::Content;
use super::fields::{Fault, Fields};
use super::metric::{Filter, Metric};

/// Everything of a task but where its lines come from.
#[derive(Debug)]
pub struct Protocol {
    /// Its name in records, unlike that of any other.
    pub name: &'static str,
    /// Parses a line: what is asked, its prompt included.
    pub parse: fn(Fields) -> Result<Content, Fault>,
    /// Prompt and target as lm-evaluation-harness' own configuration would say them.
    pub harness: [&'static str; 2],
    /// First the metric that counts, whose difference from the baseline is shown, then another; the
    /// log-likelihood last.
    pub metrics: &'static [&'static Metric],
    /// How answers are generated; `None` where they are scored.
    pub generation: Option<Generation>,
}

/// How answers are generated.
#[derive(Debug)]
pub struct Generation {
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// An answer ends before the first of these stop words.
    pub until: &'static [&'static str],
    /// What is extracted from an answer: one sample in lm-evaluation-harness' schema for each.
    pub filters: &'static [&'static Filter],
}

impl Generation {
    /// The text up to the first stop word; `None` if none of them has come.
    pub fn cut<'t>(&self, text: &'t str) -> Option<&'t str> {
        let ends = self.until.iter().filter_map(|until| text.find(until));
        ends.min().map(|end| &text[..end])
    }
}
