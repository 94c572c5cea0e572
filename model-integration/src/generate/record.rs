//! The record of a generation.

use anyhow::Result;
use mxlab_harness::record::Environment;

use super::{Continuation, Prompt, Settings, Timings, text};
use crate::config::QuantConfig;
use crate::engine::{Engine, Tokenize};
use crate::record::generate::{GenerateRecord, GenerateSettings, GenerateTimings, Sequence};

/// The record of a generation: settings, continuations and timings.
///
/// # Errors
/// If the tokenizer's decoder fails, or the engine has no footprint for `config`.
pub fn of(
    engine: &dyn Engine,
    device: &str,
    config: &QuantConfig,
    settings: &Settings,
    prompts: &[Prompt],
    (continuations, timings): (&[Continuation], &Timings),
) -> Result<GenerateRecord> {
    let sequences = prompts.iter().zip(continuations);
    let sequence = |(prompt, continuation)| sequence(engine.tokenizer(), prompt, continuation);
    Ok(GenerateRecord {
        environment: Environment::capture(),
        device: device.to_owned(),
        model: engine.info().clone(),
        config: config.clone(),
        footprint: engine.footprint(config)?,
        kernel_loads: engine.kernel_loads(),
        paths: engine.paths(),
        settings: GenerateSettings {
            max_tokens: settings.max_tokens,
            temperature: settings.sampler.sampling.temperature,
            top_p: settings.sampler.sampling.top_p,
            seed: settings.sampler.seed,
            ignore_eos: settings.ignore_eos,
            warm_up: settings.warm_up,
            threads: rayon::current_num_threads(),
        },
        sequences: sequences.map(sequence).collect::<Result<_>>()?,
        timings: GenerateTimings {
            load_seconds: timings.load,
            first_token_seconds: timings.first_token,
            median_step_seconds: timings.token(),
            tokens_per_second: timings.tokens_per_second(),
            joules_per_token: timings.joules_per_token(),
            energy: timings.energy,
            step_seconds: timings.steps.clone(),
        },
    })
}

fn sequence(
    tokenizer: &dyn Tokenize,
    prompt: &Prompt,
    continuation: &Continuation,
) -> Result<Sequence> {
    let text = || text::of(tokenizer, &prompt.tokens, &continuation.tokens);
    Ok(Sequence {
        source: prompt.source.clone(),
        prompt_tokens: prompt.tokens.clone(),
        tokens: continuation.tokens.clone(),
        text: prompt.is_text.then(text).transpose()?,
        end: continuation.end,
    })
}
