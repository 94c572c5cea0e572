//! The protocol of a task: how its lines are parsed and its answers judged.

use super::Content;
use super::fields::{Fault, Fields};
use super::metric::{Filter, Metric};

/// Everything that defines a task except the origin of its lines.
#[derive(Debug)]
pub struct Protocol {
    /// Its name in records, unique among all protocols.
    pub name: &'static str,
    /// Parses a line into a question, prompt included.
    pub parse: fn(Fields) -> Result<Content, Fault>,
    /// Prompt and target templates of lm-evaluation-harness' own configuration.
    pub harness: [&'static str; 2],
    /// The main metric first, whose difference from the baseline the table shows; the
    /// log-likelihood last.
    pub metrics: &'static [&'static Metric],
    /// How answers are generated; `None` if they are scored.
    pub generation: Option<Generation>,
}

/// How answers are generated.
#[derive(Debug)]
pub struct Generation {
    /// Longest answer, in tokens.
    pub max_tokens: usize,
    /// An answer ends before the first of these strings.
    pub until: &'static [&'static str],
    /// Filters of an answer; each gives a sample in lm-evaluation-harness' schema.
    pub filters: &'static [&'static Filter],
}

impl Generation {
    /// The text before the first stop word; `None` if there is no stop word in it yet.
    pub fn cut<'t>(&self, text: &'t str) -> Option<&'t str> {
        let ends = self.until.iter().filter_map(|until| text.find(until));
        ends.min().map(|end| &text[..end])
    }
}
