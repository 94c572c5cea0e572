//! The record of a generation.

use anyhow::{Context, Result};
use mxlab_harness::device::Loads;
use mxlab_harness::measure::Energy;
use mxlab_harness::record::Environment;
use serde::Serialize;

use super::{Continuation, End, Prompt, Settings, Timings, text};
use crate::config::QuantConfig;
use crate::engine::{Engine, Footprint, ModelInfo, Tokenize};

/// Version of the schema; a change that breaks readers raises it.
pub const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
struct GenerationRecord<'a> {
    schema_version: u32,
    kind: &'static str,
    environment: Environment,
    device: &'a str,
    model: &'a ModelInfo,
    config: &'a QuantConfig,
    footprint: Footprint,
    /// Where the machine code of kernels came from; `None` where none are loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_loads: Option<Loads>,
    settings: SettingsRecord,
    sequences: Vec<SequenceRecord<'a>>,
    timings: TimingsRecord<'a>,
}

#[derive(Serialize)]
struct SettingsRecord {
    max_tokens: usize,
    temperature: f32,
    top_p: f32,
    seed: u32,
    ignore_eos: bool,
    warm_up: bool,
    threads: usize,
}

#[derive(Serialize)]
struct SequenceRecord<'a> {
    source: &'a str,
    prompt_tokens: &'a [u32],
    tokens: &'a [u32],
    /// `None` where the prompt was no text.
    text: Option<String>,
    end: End,
}

#[derive(Serialize)]
struct TimingsRecord<'a> {
    load_seconds: f64,
    first_token_seconds: f64,
    median_step_seconds: Option<f64>,
    tokens_per_second: Option<f64>,
    /// `None` is not measured.
    joules_per_token: Option<f64>,
    energy: Option<Energy>,
    step_seconds: &'a [f64],
}

/// A generation as JSON: what was asked, what came, how long it took.
///
/// # Errors
/// If the tokenizer's decoder fails, or the engine has no footprint for `config`.
pub fn to_json(
    engine: &dyn Engine,
    device: &str,
    config: &QuantConfig,
    settings: &Settings,
    prompts: &[Prompt],
    (continuations, timings): (&[Continuation], &Timings),
) -> Result<String> {
    let sequences = prompts.iter().zip(continuations);
    let sequence = |(prompt, continuation)| sequence(engine.tokenizer(), prompt, continuation);
    let record = GenerationRecord {
        schema_version: SCHEMA_VERSION,
        kind: "generate",
        environment: Environment::capture(),
        device,
        model: engine.info(),
        config,
        footprint: engine.footprint(config)?,
        kernel_loads: engine.kernel_loads(),
        settings: SettingsRecord {
            max_tokens: settings.max_tokens,
            temperature: settings.sampler.sampling.temperature,
            top_p: settings.sampler.sampling.top_p,
            seed: settings.sampler.seed,
            ignore_eos: settings.ignore_eos,
            warm_up: settings.warm_up,
            threads: rayon::current_num_threads(),
        },
        sequences: sequences.map(sequence).collect::<Result<_>>()?,
        timings: TimingsRecord {
            load_seconds: timings.load,
            first_token_seconds: timings.first_token,
            median_step_seconds: timings.token(),
            tokens_per_second: timings.tokens_per_second(),
            joules_per_token: timings.joules_per_token(),
            energy: timings.energy,
            step_seconds: &timings.steps,
        },
    };
    let json = serde_json::to_string_pretty(&record).context("a record is plain data")?;
    Ok(json + "\n")
}

fn sequence<'a>(
    tokenizer: &dyn Tokenize,
    prompt: &'a Prompt,
    continuation: &'a Continuation,
) -> Result<SequenceRecord<'a>> {
    let text = || text::of(tokenizer, &prompt.tokens, &continuation.tokens);
    Ok(SequenceRecord {
        source: &prompt.source,
        prompt_tokens: &prompt.tokens,
        tokens: &continuation.tokens,
        text: prompt.is_text.then(text).transpose()?,
        end: continuation.end,
    })
}
