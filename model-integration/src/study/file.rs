//! What a study file may say.
//!
//! ```toml
//! title = "MX weights and activations"
//! question = "What do block size, scale bits and dialect cost?"
//! models = ["embedded"]                       # each of them
//! tasks = ["embedded"]                        # on each of these
//! limit = 600                                 # the first examples of each; or a part of them, below 1
//! seeds = [0]                                 # of stochastic rounding
//! named = ["nvfp4"]                           # configurations by name, besides the baseline
//! weight_error = true                         # errors of the weights by themselves, too
//!
//! [config.linear]                             # a configuration, as in a file of its own
//! weights = "fp4_e2m1"
//! activations = "fp6_e2m3"
//!
//! [vary.linear]                               # every combination instead of it
//! block_size = [16, 32, 64]
//! dialect = ["ocp", "microxcaling-cuda"]
//! each = "layer"                              # one layer, projection, or layer-projection at a time
//!
//! [explain]                                   # what each difference of two of them explains
//! from = "torch"
//! to = "ocp"
//!
//! [search]                                    # the most of `config.W`'s units that accuracy allows
//! config = "W"
//! most_lost = 0.01
//!
//! [workload]                                  # time, memory and energy of greedy generation
//! prompt = [128, 512]
//! output = [64, 256]
//! repeats = 3
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

use super::axes::Axes;
use crate::config::named::Tables;
use crate::eval::plan::Limit;

/// A study as it is written down.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyFile {
    /// A line.
    pub title: String,
    /// What it asks.
    pub question: String,
    /// Models by directory or name.
    #[serde(default = "embedded")]
    pub models: Vec<String>,
    /// Tasks by file or name.
    #[serde(default = "embedded")]
    pub tasks: Vec<String>,
    /// How many examples of each.
    #[serde(default)]
    pub limit: Option<LimitSpec>,
    /// Seeds of stochastic rounding.
    #[serde(default = "first_seed")]
    pub seeds: Vec<u32>,
    /// Named configurations.
    #[serde(default)]
    pub named: Vec<String>,
    /// Whether errors of weights are measured, too.
    #[serde(default)]
    pub weight_error: bool,
    /// Its own configurations.
    #[serde(default)]
    pub config: Tables,
    /// What they are varied over.
    #[serde(default)]
    pub vary: BTreeMap<String, Axes>,
    /// A difference to be explained.
    pub explain: Option<Explain>,
    /// A mixed assignment to be searched for.
    pub search: Option<Search>,
    /// Generations to be timed.
    pub workload: Option<Workload>,
}

/// Two configurations, by name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The one.
    pub from: String,
    /// The other.
    pub to: String,
}

/// A search for the most that can be quantised.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// The configuration, varied over each layer-projection.
    pub config: String,
    /// How much of the first task's first metric may be lost against the baseline.
    pub most_lost: f64,
}

/// Greedy generation from random tokens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Models, if others than those that are scored.
    #[serde(default)]
    pub models: Vec<String>,
    /// Tokens of a prompt.
    pub prompt: Vec<usize>,
    /// Tokens that follow.
    pub output: Vec<usize>,
    /// How often, after one that does not count.
    pub repeats: usize,
}

/// A number of examples or a part of them.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum LimitSpec {
    /// That many.
    Count(u32),
    /// That part.
    Fraction(f64),
}

impl LimitSpec {
    /// The limit.
    ///
    /// # Errors
    /// A message if it is none.
    pub fn limit(self) -> Result<Limit, String> {
        match self {
            Self::Count(count) => count.to_string().parse(),
            Self::Fraction(fraction) => fraction.to_string().parse(),
        }
    }
}

fn embedded() -> Vec<String> {
    vec!["embedded".to_owned()]
}

fn first_seed() -> Vec<u32> {
    vec![0]
}
