//! The record of a generation.

use mxlab_harness::device::Loads;
use mxlab_harness::measure::Energy;
use mxlab_harness::record::Environment;
use serde::{Deserialize, Serialize};

use crate::config::QuantConfig;
use crate::engine::{Footprint, ModelInfo};

/// Settings, continuations and timings of a generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateRecord {
    /// Machine, build, command.
    pub environment: Environment,
    /// The device that ran the model.
    pub device: String,
    /// The model.
    pub model: ModelInfo,
    /// The configuration.
    pub config: QuantConfig,
    /// Memory that the model takes.
    pub footprint: Footprint,
    /// Origins of the kernels' machine code; `None` if no kernels were loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_loads: Option<Loads>,
    /// How the CPU multiplied; see [`super::eval::Timing::paths`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<String>,
    /// How tokens were chosen.
    pub settings: GenerateSettings,
    /// Each prompt and its continuation.
    pub sequences: Vec<Sequence>,
    /// Timings.
    pub timings: GenerateTimings,
}

/// How tokens were chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateSettings {
    /// Most tokens of a continuation.
    pub max_tokens: usize,
    /// Sampling temperature; 0 chooses the likeliest token.
    pub temperature: f32,
    /// Probability mass that is sampled from.
    pub top_p: f32,
    /// Seed of sampling.
    pub seed: u32,
    /// Whether sequences continue after an end-of-text token.
    pub ignore_eos: bool,
    /// Whether the prompts and a step were run once before the timed run.
    pub warm_up: bool,
    /// Number of threads.
    pub threads: usize,
}

/// A prompt and its continuation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Origin of the prompt.
    pub source: String,
    /// Tokens of the prompt.
    pub prompt_tokens: Vec<u32>,
    /// Tokens of the continuation.
    pub tokens: Vec<u32>,
    /// Text of the continuation; `None` if the prompt was given as tokens.
    pub text: Option<String>,
    /// Why it ended.
    pub end: End,
}

/// Timings of a generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateTimings {
    /// Seconds to load the model.
    pub load_seconds: f64,
    /// Seconds from then to the first token.
    pub first_token_seconds: f64,
    /// Median seconds of a later token.
    pub median_step_seconds: Option<f64>,
    /// Tokens per second after the first.
    pub tokens_per_second: Option<f64>,
    /// Joules per token; `None` if they were not measured.
    pub joules_per_token: Option<f64>,
    /// Energy of the tokens after the first; `None` if it was not measured.
    pub energy: Option<Energy>,
    /// Seconds of each token after the first.
    pub step_seconds: Vec<f64>,
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The model ended it.
    Eos,
    /// It has the requested number of tokens.
    Length,
}
