//! The contents of a study file.
//!
//! ```toml
//! title = "MX weights and activations"
//! question = "What do block size, scale bits and dialect cost?"
//! models = ["embedded"]                   # each of them
//! tasks = ["embedded"]                    # on each of these
//! dtypes = ["bfloat16", "float32"]        # each model in each type of arithmetic
//! add_bos_token = [true, false]           # with and without BOS before contexts
//! limit = 600                             # the first 600 examples of each, or a fraction below 1
//! seeds = [0]                             # of stochastic rounding
//! named = ["nvfp4"]                       # configurations by name, besides the baseline
//! weight_error = true                     # measure errors of the weights, too
//!
//! [config.linear]                         # a configuration, as in a file of its own
//! weights = "fp4_e2m1"
//! activations = "fp6_e2m3"
//!
//! [vary.linear]                           # every combination, instead of it
//! block_size = [16, 32, 64]
//! dialect = ["ocp", "microxcaling-cuda"]
//! each = "layer"                          # one layer, projection or layer-projection at a time
//!
//! [explain]                               # how much of a gap each difference explains
//! from = "torch"
//! to = "ocp"
//!
//! [search]                                # the largest part of `config.W` that accuracy allows
//! config = "W"
//! most_lost = 0.01
//!
//! [calibration]                           # text by which codes are chosen
//! text = ["embedded"]
//! sequences = 72
//!
//! [calibrate.linear]                      # config.linear with codes chosen by it
//! order = "stored"
//!
//! [ladders]                               # what each step wins back of the first one's loss
//! linear = ["rounded", "linear"]
//!
//! [workload]                              # time, memory and energy of greedy generation
//! prompt = [128, 512]
//! output = [64, 256]
//! repeats = 3
//!
//! [serving]                               # latency and throughput of `mxlab serve` under load
//! concurrency = [1, 8, 32]
//! prompt = 128
//! output = 32
//! requests = 64
//! ```

use std::collections::BTreeMap;

use mxlab_kernels::format::FloatType;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::axes::Axes;
use super::calibrated::{Calibrate, Calibration};
use crate::config::named::Tables;
use crate::eval::plan::Limit;

/// A study file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyFile {
    /// One line.
    pub title: String,
    /// The question that the study answers.
    pub question: String,
    /// Models, by directory or name.
    #[serde(default = "embedded")]
    pub models: Vec<String>,
    /// Tasks, by file or name.
    #[serde(default = "embedded")]
    pub tasks: Vec<String>,
    /// Types of the arithmetic; that of the model if there are none.
    #[serde(default, deserialize_with = "dtypes")]
    pub dtypes: Vec<FloatType>,
    /// Whether contexts begin with BOS; the tokenizer's default if there is none.
    #[serde(default)]
    pub add_bos_token: Vec<bool>,
    /// How many examples of each task.
    #[serde(default)]
    pub limit: Option<LimitSpec>,
    /// Seeds of stochastic rounding.
    #[serde(default = "first_seed")]
    pub seeds: Vec<u32>,
    /// Named configurations.
    #[serde(default)]
    pub named: Vec<String>,
    /// Whether errors of the weights are measured, too.
    #[serde(default)]
    pub weight_error: bool,
    /// Its own configurations.
    #[serde(default)]
    pub config: Tables,
    /// The axes over which they vary.
    #[serde(default)]
    pub vary: BTreeMap<String, Axes>,
    /// A difference to explain.
    pub explain: Option<Explain>,
    /// A mixed assignment to search for.
    pub search: Option<Search>,
    /// The text by which codes are chosen.
    pub calibration: Option<Calibration>,
    /// Configurations whose codes are chosen by it.
    #[serde(default)]
    pub calibrate: BTreeMap<String, Calibrate>,
    /// Names of configurations, step by step: what each wins back of the first one's loss.
    #[serde(default)]
    pub ladders: BTreeMap<String, Vec<String>>,
    /// Generations to time.
    pub workload: Option<Workload>,
    /// Load on a server.
    pub serving: Option<Serving>,
}

/// Two configurations, by name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The first one.
    pub from: String,
    /// The second one.
    pub to: String,
}

/// A search for the largest part of the model that can be quantised.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// The configuration, which must vary over each layer-projection.
    pub config: String,
    /// Most accepted loss of the first task's first metric against the baseline.
    pub most_lost: f64,
}

/// Greedy generation from random tokens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Models to time, if not those that are scored.
    #[serde(default)]
    pub models: Vec<String>,
    /// Tokens of a prompt.
    pub prompt: Vec<usize>,
    /// Tokens of the continuation.
    pub output: Vec<usize>,
    /// Number of timed runs, after one untimed run.
    pub repeats: usize,
}

/// Load on `mxlab serve`, which is started for each configuration: a closed loop of streams.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    /// Requests in flight, one level after another.
    pub concurrency: Vec<usize>,
    /// Random tokens of a prompt.
    pub prompt: usize,
    /// Tokens of an answer.
    pub output: usize,
    /// Measured requests at each level, after one that does not count for each in flight.
    pub requests: usize,
}

/// A number of examples, or a fraction of them.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum LimitSpec {
    /// This many.
    Count(u32),
    /// This fraction.
    Fraction(f64),
}

impl LimitSpec {
    /// The limit.
    ///
    /// # Errors
    /// A message if the value is invalid.
    pub fn limit(self) -> Result<Limit, String> {
        match self {
            Self::Count(count) => count.to_string().parse(),
            Self::Fraction(fraction) => fraction.to_string().parse(),
        }
    }
}

fn dtypes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FloatType>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let types = names
        .iter()
        .map(|name| name.parse().map_err(D::Error::custom));
    types.collect()
}

fn embedded() -> Vec<String> {
    vec!["embedded".to_owned()]
}

fn first_seed() -> Vec<u32> {
    vec![0]
}
