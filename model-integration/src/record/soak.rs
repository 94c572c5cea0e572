//! The record of a soak.

use std::collections::BTreeMap;

use mxlab_harness::record::Environment;
use serde::{Deserialize, Serialize};

use super::load::Failures;

/// What many clients did with a server, and what it cost the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SoakRecord {
    /// Machine, build and command of the clients.
    pub environment: Environment,
    /// URL of the endpoint.
    pub url: String,
    /// Name of the model at the endpoint.
    pub model: String,
    /// Where prompts come from, and their lengths.
    pub prompts: String,
    /// Tokens of an answer.
    pub output_tokens: String,
    /// Clients at a time.
    pub clients: usize,
    /// Seed of what they did.
    pub seed: u64,
    /// What became of it.
    #[serde(flatten)]
    pub soaked: Soaked,
}

/// What became of a soak.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Soaked {
    /// Its time.
    pub seconds: f64,
    /// Requests with a whole answer.
    pub answered: usize,
    /// Requests that ended as they should not.
    pub failed: usize,
    /// What clients did, by name.
    pub acts: BTreeMap<String, ActRecord>,
    /// What should not have happened, by kind.
    pub failures: BTreeMap<String, Failures>,
    /// Memory of the server; empty if it was not watched.
    pub memory: Vec<MemorySample>,
    /// How much more the server keeps in any later tenth of the answers than in the second one, as
    /// a part; `None` if it was not watched.
    pub growth: Option<f64>,
    /// Sequences that the server still had when no client was left; `None` if it does not tell.
    pub unfinished: Option<u64>,
}

/// What became of the clients that did the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActRecord {
    /// Clients.
    pub begun: usize,
    /// Whole answers.
    pub answered: usize,
    /// Errors that were due.
    pub refused: usize,
    /// Clients that left.
    pub gone: usize,
    /// Status 429 or 503.
    pub overloaded: usize,
    /// Other ends.
    pub failed: usize,
}

impl ActRecord {
    /// What its clients are counted by, behind their name.
    pub const COLUMNS: [&'static str; 7] = [
        "clients",
        "begun",
        "answered",
        "refused",
        "left",
        "overloaded",
        "failed",
    ];

    /// The counts, in the order of [`ActRecord::COLUMNS`].
    pub fn counts(&self) -> [usize; 6] {
        [
            self.begun,
            self.answered,
            self.refused,
            self.gone,
            self.overloaded,
            self.failed,
        ]
    }
}

/// Memory of the server over some answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemorySample {
    /// Answers at their end.
    pub answered: usize,
    /// Seconds from the beginning of the soak to theirs.
    pub seconds: f64,
    /// Least memory meanwhile, in bytes.
    pub least_bytes: u64,
    /// Most memory meanwhile, in bytes.
    pub most_bytes: u64,
}
