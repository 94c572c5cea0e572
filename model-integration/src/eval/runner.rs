//! Runs the batches of a plan and keeps what they gave.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use mxlab_harness::measure::{Energy, EnergyMeter, Metering};
use serde::Serialize;

use super::log::{Entry, SampleLog};
use super::model::{CausalModel, Request, Score};
use super::plan::Plan;
use super::progress::Progress;

/// The scores of a task under a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// The score of each prompt, in the order of the plan.
    pub scores: Vec<Score>,
    /// Seconds the model took, over all the runs it took.
    pub seconds: f64,
    /// Of the examples of this run; `None` is not measured.
    pub energy: Option<ExampleEnergy>,
}

/// Energy of some examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ExampleEnergy {
    /// How many.
    pub examples: usize,
    /// Of all of them.
    pub energy: Energy,
}

/// A model that is loaded when the first batch needs it: a run that only reads its logs
/// loads none.
pub struct LazyModel<'a> {
    load: Box<dyn FnMut() -> Result<Box<dyn CausalModel + 'a>> + 'a>,
    model: Option<Box<dyn CausalModel + 'a>>,
}

impl<'a> LazyModel<'a> {
    /// A model that `load` loads.
    pub fn new(load: impl FnMut() -> Result<Box<dyn CausalModel + 'a>> + 'a) -> Self {
        Self {
            load: Box::new(load),
            model: None,
        }
    }

    fn get(&mut self) -> Result<&mut (dyn CausalModel + 'a)> {
        if self.model.is_none() {
            self.model = Some((self.load)()?);
        }
        Ok(self.model.as_deref_mut().expect("loaded above"))
    }
}

/// Evaluates what `done` does not hold yet, logging batch by batch. `None` if `stop` was set
/// before the end; the log then holds every batch that was finished.
///
/// # Errors
/// If the model cannot be loaded or run, or the log not written; if a score is not finite, naming
/// the example and the part of the model that it comes from.
pub fn run(
    plan: &Plan,
    model: &mut LazyModel,
    log: &mut SampleLog,
    done: Vec<Entry>,
    meter: Option<&EnergyMeter>,
    stop: &AtomicBool,
    progress: &dyn Progress,
) -> Result<Option<Scores>> {
    let mut entries = done;
    progress.advance(plan.tokens(&plan.order()[..entries.len()]), entries.len());
    let (mut position, known) = (0, entries.len());
    let mut metering = None;
    for batch in plan.batches() {
        position += batch.len();
        if position <= entries.len() {
            continue;
        }
        if stop.load(Ordering::Relaxed) {
            log.sync()?;
            return Ok(None);
        }
        let model = model.get()?;
        if metering.is_none() {
            metering = meter.map(EnergyMeter::start);
        }
        let finished = run_batch(plan, model, batch)?;
        log.append(&finished)?;
        entries.extend(finished);
        progress.advance(plan.tokens(batch), batch.len());
    }
    let energy = metering.and_then(Metering::stop);
    log.sync()?;
    let finished = entries[known..].iter().filter(|entry| entry.part == 0);
    let examples = finished.count();
    Ok(Some(Scores {
        energy: energy.map(|energy| ExampleEnergy { examples, energy }),
        ..in_task_order(&entries)
    }))
}

fn run_batch(plan: &Plan, model: &mut dyn CausalModel, batch: &[usize]) -> Result<Vec<Entry>> {
    let requests: Vec<Request> = batch
        .iter()
        .map(|&prompt| plan.prompts[prompt].request.clone())
        .collect();
    let start = Instant::now();
    let scores = model.score(&requests)?;
    let seconds = start.elapsed().as_secs_f64() / batch.len() as f64;
    ensure!(
        scores.len() == batch.len(),
        "the model gave {} scores for {} requests",
        scores.len(),
        batch.len()
    );
    let is_finite = |score: &Score| score.loglikelihood.is_finite();
    if let Some(index) = scores.iter().position(|score| !is_finite(score)) {
        let example = plan.prompts[batch[index]].example;
        let value = scores[index].loglikelihood;
        let traced = model.trace(&requests[index]);
        traced.with_context(|| format!("example {example}"))?;
        bail!("example {example}: the log-likelihood of its target is {value}");
    }
    let entry = |(&prompt, score): (&usize, Score)| Entry {
        example: plan.prompts[prompt].example,
        part: plan.prompts[prompt].part,
        loglikelihood: score.loglikelihood,
        is_greedy: score.is_greedy,
        shortfall: score.shortfall,
        seconds,
    };
    Ok(batch.iter().zip(scores).map(entry).collect())
}

fn in_task_order(entries: &[Entry]) -> Scores {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by_key(|entry| (entry.example, entry.part));
    Scores {
        scores: sorted.iter().map(|entry| entry.score()).collect(),
        seconds: entries.iter().map(|entry| entry.seconds).sum(),
        energy: None,
    }
}
