//! The record of load on an endpoint.

use std::collections::BTreeMap;
use std::fmt;

use clap::ValueEnum;
use mxlab_harness::record::Environment;
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// `/completions`
    Completions,
    /// `/chat/completions`
    Chat,
}

impl Api {
    /// Its path below the base.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Completions => "completions",
            Self::Chat => "chat/completions",
        }
    }
}

/// Levels of load on an endpoint, and what became of the requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadRecord {
    /// Machine, build and command of the generator.
    pub environment: Environment,
    /// URL of the endpoint.
    pub url: String,
    /// What was sent.
    pub settings: LoadSettings,
    /// The levels, in order. Those that were interrupted are missing.
    pub levels: Vec<LevelRecord>,
    /// Whether every level was measured.
    pub is_complete: bool,
}

/// What is sent. Results of one record have the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadSettings {
    /// Name of the model at the endpoint.
    pub model: String,
    /// What is asked for.
    pub api: Api,
    /// Where prompts come from, and their lengths.
    pub prompts: String,
    /// Most tokens of an answer.
    pub output_tokens: String,
    /// Further fields of requests.
    pub fields: serde_json::Map<String, serde_json::Value>,
    /// Levels of load.
    pub levels: Vec<Level>,
    /// Most measured requests at a level.
    pub requests: usize,
    /// Seconds in which measured requests begin, if not all did before.
    pub duration_seconds: Option<f64>,
    /// Requests at a level before the measured ones; `None` for the default.
    pub warm_up: Option<usize>,
    /// How often a request is sent again after status 429 or 503.
    pub retries: u32,
    /// Most requests in flight of an open loop.
    pub most_in_flight: usize,
    /// Seconds after which a request has failed.
    pub timeout_seconds: f64,
    /// Seed of lengths, tokens and arrivals.
    pub seed: u64,
    /// The targets that goodput counts.
    pub targets: Targets,
}

/// A level of load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Requests in flight, each followed by another.
    Concurrency(usize),
    /// Requests per second, at random times.
    Rate(f64),
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Concurrency(count) => write!(f, "{count} in flight"),
            Self::Rate(rate) => write!(f, "{rate} a second"),
        }
    }
}

/// Targets of latency in seconds; a request meets all that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Targets {
    /// Time to the first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft: Option<f64>,
    /// Time of each token after the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot: Option<f64>,
    /// Time to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2e: Option<f64>,
}

/// A level of load and its results. Times are in seconds and count from when a request was due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelRecord {
    /// The level.
    pub level: Level,
    /// From when the first measured request was due to the end of the last one. Rates are of
    /// everything that happened in this time.
    pub seconds: f64,
    /// Measured requests.
    pub requests: usize,
    /// Measured requests that failed.
    pub failed: usize,
    /// Measured requests whose answers ended before their number of tokens; `None` if the server
    /// counts no tokens.
    pub ended_early: Option<usize>,
    /// How often requests were sent again.
    pub retries: u32,
    /// Failures by kind, those of unmeasured requests among them.
    pub failures: BTreeMap<String, Failures>,
    /// Tokens of answers per second.
    pub output_tokens_per_second: f64,
    /// Answers per second.
    pub requests_per_second: f64,
    /// Part of the measured requests that met the targets; `None` without targets.
    pub met: Option<f64>,
    /// Who counted the tokens.
    pub counted_by: CountedBy,
    /// Tokens of prompts, where the server counts them.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// Time to the first token.
    pub ttft: Option<Percentiles>,
    /// Time of a token after the first: mean of each request.
    pub tpot: Option<Percentiles>,
    /// Time between two events with tokens.
    pub gap: Option<Percentiles>,
    /// Time to the end of the answer.
    pub e2e: Option<Percentiles>,
    /// How long requests waited in the generator, beyond which latencies are the server's.
    pub held_back: Option<Percentiles>,
    /// Most requests at once that were due and had no answer.
    pub most_waiting: usize,
    /// The measured requests, in the order in which they were due.
    pub samples: Vec<Sample>,
}

impl LevelRecord {
    /// Answers within the targets per second; `None` without targets.
    pub fn goodput(&self) -> Option<f64> {
        self.met.map(|met| met * self.requests_per_second)
    }
}

/// Failures of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// How many were of measured requests.
    pub measured: usize,
    /// How many were of others.
    pub others: usize,
    /// The first of them.
    pub example: String,
}

impl Failures {
    /// How many there are of a kind, and the first of them.
    pub fn line(&self, kind: &str) -> String {
        let Self {
            measured,
            others,
            example,
        } = self;
        let count = match others {
            0 => format!("{measured} failed"),
            _ => format!("{measured} measured and {others} other requests failed"),
        };
        match example.starts_with(kind) {
            true => format!("{count}, {example}"),
            false => format!("{count}, {kind}: {example}"),
        }
    }
}

/// Who counted tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CountedBy {
    /// The server, in `usage`.
    Usage,
    /// The generator: one in each event.
    Events,
}

/// Percentiles by linear interpolation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// A measured request. Times are in seconds since the first one was due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was due.
    pub due: f64,
    /// When it was sent.
    pub sent: f64,
    /// When its first token came.
    pub first: Option<f64>,
    /// When its last token came.
    pub last: Option<f64>,
    /// When it ended.
    pub end: f64,
    /// Tokens of the prompt; `None` if the server does not count them.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// The kind of its failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}
