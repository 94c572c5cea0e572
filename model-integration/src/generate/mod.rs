//! Generation: prompts in, text out.
//!
//! | module | contents |
//! |---|---|
//! | [`text`] | streams the text of tokens |
//! | [`record`] | the record of a generation |

pub mod record;
pub mod text;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mxlab_harness::measure::{Energy, EnergyMeter, Metering};
use mxlab_kernels::format::random_at;

use crate::config::QuantConfig;
use crate::engine::{Engine, Generator, Room, Sampler};
use crate::record::generate::End;

/// Settings of a generation.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Most tokens to generate for each prompt; at least 1.
    pub max_tokens: usize,
    /// How they are chosen.
    pub sampler: Sampler,
    /// Whether a sequence continues after an end-of-text token.
    pub ignore_eos: bool,
    /// Whether to run the prompts and a step once before the timed run.
    pub warm_up: bool,
}

/// A prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its origin, for messages.
    pub source: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Whether it is a text; its continuation then is one too.
    pub is_text: bool,
}

impl Prompt {
    /// A prompt of `length` random tokens for sequence number `sequence`.
    pub fn random(
        source: String,
        length: usize,
        vocabulary: usize,
        sampler: &Sampler,
        sequence: usize,
    ) -> Self {
        let stream = sampler.stream(sequence);
        // Drawn from the opposite end of the stream that draws the tokens to follow.
        let random = (0..length as u64).map(|index| random_at(stream, u64::MAX - index));
        let below = |random: u32| ((u64::from(random) * vocabulary as u64) >> 32) as u32;
        Self {
            source,
            tokens: random.map(below).collect(),
            is_text: false,
        }
    }
}

/// The continuation of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// The tokens, without the end-of-text token.
    pub tokens: Vec<u32>,
    /// Why the sequence ended.
    pub end: End,
}

/// Timings, in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timings {
    /// Loading and quantising the model, and warming up.
    pub load: f64,
    /// All prompts, up to the first token of each sequence.
    pub first_token: f64,
    /// Each later step, in which every running sequence gets one token.
    pub steps: Vec<f64>,
    /// Number of tokens that the steps produced.
    pub step_tokens: usize,
    /// Energy of the steps; `None` if it was not measured.
    pub energy: Option<Energy>,
}

impl Timings {
    /// The median time of a step; `None` without steps.
    pub fn token(&self) -> Option<f64> {
        let mut steps = self.steps.clone();
        steps.sort_by(f64::total_cmp);
        let middle = steps.len() / 2;
        match steps.len() {
            0 => None,
            count if count.is_multiple_of(2) => Some((steps[middle - 1] + steps[middle]) / 2.0),
            _ => Some(steps[middle]),
        }
    }

    /// Joules per token after the first of each sequence; `None` if energy was not measured.
    pub fn joules_per_token(&self) -> Option<f64> {
        let energy = self.energy.filter(|_| self.step_tokens > 0)?;
        Some(energy.joules / self.step_tokens as f64)
    }

    /// Tokens per second over all sequences, after the first token of each; `None` without steps.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let seconds: f64 = self.steps.iter().sum();
        (seconds > 0.0).then(|| self.step_tokens as f64 / seconds)
    }
}

/// Receives tokens as they are generated.
pub trait Listener {
    /// A sequence has a new token.
    ///
    /// # Errors
    /// Any error; it ends the generation.
    fn token(&mut self, sequence: usize, token: u32) -> Result<()>;

    /// A sequence has ended.
    ///
    /// # Errors
    /// Any error; it ends the generation.
    fn end(&mut self, sequence: usize) -> Result<()>;
}

/// Checks that each prompt has tokens and that the lengths fit the model, without loading it.
///
/// # Errors
/// With the prompt and the sizes.
pub fn check(engine: &dyn Engine, prompts: &[Prompt], max_tokens: usize) -> Result<Room> {
    let max_length = engine.info().max_length;
    for Prompt { source, tokens, .. } in prompts {
        let length = tokens.len();
        ensure!(length > 0, "{source}: the prompt is empty");
        ensure!(
            length < max_length,
            "{source}: the prompt has {length} tokens; the model takes {max_length}, including at \
             least one to generate"
        );
        ensure!(
            max_tokens <= max_length - length,
            "{source}: the prompt has {length} tokens, which leaves {} of the {max_length} that \
             the model takes; --max-tokens {max_tokens} are more",
            max_length - length
        );
    }
    let longest = prompts.iter().map(|prompt| prompt.tokens.len()).max();
    Ok(Room {
        sequences: prompts.len(),
        tokens: longest.unwrap_or(0) + max_tokens,
    })
}

/// Continues all prompts at once.
///
/// # Errors
/// As [`check`]; if the model cannot be loaded or run; any error of the listener.
pub fn run(
    engine: &dyn Engine,
    config: &QuantConfig,
    prompts: &[Prompt],
    settings: &Settings,
    listener: &mut dyn Listener,
) -> Result<(Vec<Continuation>, Timings)> {
    Session::load(engine, config, prompts, settings)?.run(listener)
}

/// Prompts and a loaded model that can continue them any number of times.
pub struct Session<'a> {
    engine: &'a dyn Engine,
    generator: Box<dyn Generator + 'a>,
    inputs: Vec<Vec<u32>>,
    settings: &'a Settings,
    load: f64,
}

impl<'a> Session<'a> {
    /// Loads the model, and warms it up if the settings ask for it.
    ///
    /// # Errors
    /// As [`check`]; if the model cannot be loaded or run.
    pub fn load(
        engine: &'a dyn Engine,
        config: &QuantConfig,
        prompts: &[Prompt],
        settings: &'a Settings,
    ) -> Result<Self> {
        let room = check(engine, prompts, settings.max_tokens)?;
        let begin = Instant::now();
        let mut generator = engine
            .generator(config, room)
            .with_context(|| format!("configuration `{}`", config.name))?;
        let inputs: Vec<Vec<u32>> = prompts.iter().map(|prompt| prompt.tokens.clone()).collect();
        if settings.warm_up {
            generator.start(&inputs, &settings.sampler)?;
            if settings.max_tokens > 1 {
                let running: Vec<usize> = (0..inputs.len()).collect();
                generator.step(&running)?;
            }
        }
        Ok(Self {
            engine,
            generator,
            inputs,
            settings,
            load: begin.elapsed().as_secs_f64(),
        })
    }

    /// Continues the prompts, from the beginning.
    ///
    /// # Errors
    /// If the model cannot be run; any error of the listener.
    pub fn run(&mut self, listener: &mut dyn Listener) -> Result<(Vec<Continuation>, Timings)> {
        let Self {
            engine,
            generator,
            inputs,
            settings,
            load,
        } = self;
        let mut timings = Timings {
            load: *load,
            ..Timings::default()
        };
        let mut running: Vec<usize> = (0..inputs.len()).collect();
        let mut sequences = vec![
            Continuation {
                tokens: Vec::new(),
                end: End::Length,
            };
            inputs.len()
        ];
        let begin = Instant::now();
        let mut chosen = generator.start(inputs, &settings.sampler)?;
        timings.first_token = begin.elapsed().as_secs_f64();
        let meter = engine.energy_meter();
        let mut metering = meter.as_ref().map(EnergyMeter::start);
        loop {
            ensure!(
                chosen.len() == running.len(),
                "the model chose {} tokens for {} sequences",
                chosen.len(),
                running.len()
            );
            let mut going = Vec::with_capacity(running.len());
            for (&index, &token) in running.iter().zip(&chosen) {
                let sequence = &mut sequences[index];
                if !settings.ignore_eos && engine.eos_tokens().contains(&token) {
                    sequence.end = End::Eos;
                    listener.end(index)?;
                    continue;
                }
                sequence.tokens.push(token);
                listener.token(index, token)?;
                match sequence.tokens.len() < settings.max_tokens {
                    true => going.push(index),
                    false => listener.end(index)?,
                }
            }
            running = going;
            if running.is_empty() {
                timings.energy = metering.take().and_then(Metering::stop);
                return Ok((sequences, timings));
            }
            let begin = Instant::now();
            chosen = generator.step(&running)?;
            timings.steps.push(begin.elapsed().as_secs_f64());
            timings.step_tokens += chosen.len();
        }
    }
}
