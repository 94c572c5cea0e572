//! The record of a generation.

use mxlab_harness::device::Loads;
use mxlab_harness::measure::Energy;
use mxlab_harness::record::Environment;
use serde::{Deserialize, Serialize};

use crate::config::QuantConfig;
use crate::engine::{Footprint, ModelInfo};

/// What was asked, what came, how long it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateRecord {
    /// Machine, build, command.
    pub environment: Environment,
    /// What ran the model.
    pub device: String,
    /// The model.
    pub model: ModelInfo,
    /// The configuration.
    pub config: QuantConfig,
    /// Memory that the model takes.
    pub footprint: Footprint,
    /// Where the machine code of kernels came from; `None` where none are loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_loads: Option<Loads>,
    /// How tokens were chosen.
    pub settings: GenerateSettings,
    /// Each prompt and its continuation.
    pub sequences: Vec<Sequence>,
    /// Times.
    pub timings: GenerateTimings,
}

/// How tokens were chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateSettings {
    /// Tokens of a continuation at most.
    pub max_tokens: usize,
    /// Of sampling; 0 takes the likeliest token.
    pub temperature: f32,
    /// The share of probability that is sampled from.
    pub top_p: f32,
    /// Seed of sampling.
    pub seed: u32,
    /// Whether a sequence goes on after a token that ends texts.
    pub ignore_eos: bool,
    /// Whether the prompts and a step were run once before time was taken.
    pub warm_up: bool,
    /// Threads that computed.
    pub threads: usize,
}

/// A prompt and its continuation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Where the prompt is from.
    pub source: String,
    /// Its tokens.
    pub prompt_tokens: Vec<u32>,
    /// The tokens that followed.
    pub tokens: Vec<u32>,
    /// `None` where the prompt was no text.
    pub text: Option<String>,
    /// Why it ended.
    pub end: End,
}

/// Times of a generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateTimings {
    /// Until the model was loaded.
    pub load_seconds: f64,
    /// From then to the first token.
    pub first_token_seconds: f64,
    /// The median time of a token after it.
    pub median_step_seconds: Option<f64>,
    /// Tokens after the first, a second.
    pub tokens_per_second: Option<f64>,
    /// `None` is not measured.
    pub joules_per_token: Option<f64>,
    /// Energy of the tokens after the first; `None` is not measured.
    pub energy: Option<Energy>,
    /// Each time of a token after the first.
    pub step_seconds: Vec<f64>,
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The model ended it.
    Eos,
    /// It has as many tokens as were asked for.
    Length,
}
