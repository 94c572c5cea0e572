//! Times the generation of a cell.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use mxlab_harness::record::Environment;
use mxlab_kernels::reference::Sampling;

use super::Study;
use super::cell::Cell;
use super::folder::record_path;
use super::score::head;
use crate::engine::{Engine, Sampler};
use crate::generate::{Listener, Prompt, Session, Settings, Timings};
use crate::memory::{peak_memory, reset_peak_memory};
use crate::record::study::{CellRecord, Repeat, SpeedRecord};

/// Settings of a study's generation: greedy, without end-of-text.
const fn settings(output: usize) -> Settings {
    Settings {
        max_tokens: output,
        sampler: Sampler {
            sampling: Sampling::GREEDY,
            seed: 0,
        },
        ignore_eos: true,
        warm_up: false,
    }
}

fn prompt(engine: &dyn Engine, length: usize) -> Prompt {
    let source = format!("{length} random tokens");
    let sampler = settings(1).sampler;
    Prompt::random(source, length, engine.vocabulary(), &sampler, 0)
}

/// Checks that a workload fits the model.
///
/// # Errors
/// With the sizes.
pub fn check(engine: &dyn Engine, length: usize, output: usize) -> Result<()> {
    crate::generate::check(engine, &[prompt(engine, length)], output).map(drop)
}

/// Times a cell and writes its record; `None` if it was stopped.
///
/// # Errors
/// If the model cannot be run or a file cannot be written.
pub fn time(
    study: &Study,
    engine: &dyn Engine,
    output: &Path,
    cell: &Cell,
    [prompt_tokens, output_tokens]: [usize; 2],
    stop: &AtomicBool,
) -> Result<Option<CellRecord>> {
    let repeats = study.file.workload.as_ref().map_or(1, |own| own.repeats);
    let settings = settings(output_tokens);
    let prompts = [prompt(engine, prompt_tokens)];
    reset_peak_memory();
    let mut session = Session::load(engine, &cell.config.config, &prompts, &settings)?;
    let mut taken = Vec::new();
    for _ in 0..=repeats {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (_, timings) = session.run(&mut Ignore)?;
        taken.push(repeat(&timings));
    }
    taken.remove(0);
    let is_cpu = engine.info().device.starts_with("cpu");
    let record = CellRecord::Speed(Box::new(SpeedRecord {
        head: head(study, engine, &cell.config)?,
        prompt_tokens,
        output_tokens,
        repeats: taken,
        peak_memory_bytes: is_cpu.then(|| peak_memory(std::process::id())).flatten(),
        threads: rayon::current_num_threads(),
        environment: Environment::capture(),
    }));
    record.write(&record_path(output, &cell.id()))?;
    Ok(Some(record))
}

fn repeat(timings: &Timings) -> Repeat {
    let steps: f64 = timings.steps.iter().sum();
    let all = timings.first_token + steps;
    Repeat {
        first_token_seconds: timings.first_token,
        token_seconds: steps / timings.steps.len() as f64,
        tokens_per_second: (1 + timings.step_tokens) as f64 / all,
        energy: timings.energy,
    }
}

struct Ignore;

impl Listener for Ignore {
    fn token(&mut self, _sequence: usize, _token: u32) -> Result<()> {
        Ok(())
    }

    fn end(&mut self, _sequence: usize) -> Result<()> {
        Ok(())
    }
}
