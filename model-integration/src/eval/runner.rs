//! Runs the batches of a plan and collects the answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use mxlab_harness::measure::{EnergyMeter, Metering};
use mxlab_kernels::reference::Sampling;

use super::log::{Answered, Entry, SampleLog, TextEntry};
use super::plan::Plan;
use super::progress::Progress;
use crate::config::QuantConfig;
use crate::engine::{CausalModel, Engine, Generator, Request, Room, Sampler, Score};
use crate::record::column::Column;
use crate::record::eval::ExampleEnergy;
use crate::task::metric::{Judge, Metric};
use crate::task::{Generation, Task};

/// The model's answers to a task under a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// The answer to each prompt, in the order of the plan.
    pub given: Given,
    /// Seconds that the model took, over all runs.
    pub seconds: f64,
    /// Energy of the examples of this run; `None` if it was not measured.
    pub energy: Option<ExampleEnergy>,
}

/// Answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// Scores of targets.
    Scores(Vec<Score>),
    /// Continuations of prompts.
    Texts(Vec<String>),
}

impl Given {
    /// Every metric of the task, in the order of its protocol.
    pub fn columns(&self, task: &Task, plan: &Plan) -> Vec<Column> {
        let of = |metric: &'static Metric| {
            let examples = || task.examples.iter().map(|example| &example.content);
            let prompts = plan.examples().zip(examples());
            let values = prompts.map(|(range, content)| match (metric.judge, self) {
                (Judge::Scores(value), Self::Scores(scores)) => value(content, &scores[range]),
                (Judge::Text(filter, is_right), Self::Texts(texts)) => {
                    let extracted = (filter.extract)(&texts[range.start]);
                    f64::from(u8::from(is_right(content, &extracted)))
                }
                // Not measured.
                _ => f64::NAN,
            });
            let values: Vec<f64> = values.collect();
            let weights = examples().take(values.len()).map(metric.weight);
            Column {
                metric,
                weights: weights.collect(),
                values,
            }
        };
        task.protocol.metrics.iter().copied().map(of).collect()
    }
}

/// A model that is loaded for the first batch that needs it. A run that only reads its logs loads
/// none.
pub struct LazyModel<'a> {
    load: Box<dyn FnMut() -> Result<Box<dyn CausalModel + 'a>> + 'a>,
    model: Option<Box<dyn CausalModel + 'a>>,
}

impl<'a> LazyModel<'a> {
    /// Loads the model with `load`.
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

/// The environment of a run.
pub struct Surroundings<'a> {
    /// The energy meter, if there is one.
    pub meter: Option<&'a EnergyMeter>,
    /// Ends the run after the current batch.
    pub stop: &'a AtomicBool,
    /// Receives the progress.
    pub progress: &'a dyn Progress,
}

/// Scores the prompts that `done` does not hold, and logs each batch. `None` if the run was stopped
/// before its end; the log then holds every finished batch.
///
/// # Errors
/// If the model cannot be loaded or run, or the log cannot be written. If a score is not finite,
/// with the example and the part of the model that produced it.
pub fn score(
    plan: &Plan,
    model: &mut LazyModel,
    log: &mut SampleLog,
    done: Vec<Entry>,
    around: &Surroundings,
) -> Result<Option<Answers>> {
    let run = run(plan, log, done, around, |batch| {
        score_batch(plan, model.get()?, batch)
    })?;
    Ok(run.map(|run| {
        let scores = run.entries.iter().map(Entry::score).collect();
        run.answers(Given::Scores(scores))
    }))
}

/// Continues the prompts that `done` does not hold, greedily; otherwise as [`score`].
///
/// # Errors
/// If the model cannot be loaded or run, or the log cannot be written.
pub fn generate(
    (plan, how): (&Plan, &Generation),
    engine: &dyn Engine,
    config: &QuantConfig,
    log: &mut SampleLog,
    done: Vec<TextEntry>,
    around: &Surroundings,
) -> Result<Option<Answers>> {
    let longest = plan
        .prompts
        .iter()
        .map(|prompt| prompt.request.tokens.len());
    let room = Room {
        sequences: plan.batches().map(<[usize]>::len).max().unwrap_or(1),
        tokens: longest.max().unwrap_or(0) + how.max_tokens,
    };
    let mut generator = None;
    let run = run(plan, log, done, around, |batch| {
        if generator.is_none() {
            let loaded = engine.generator(config, room);
            let name = || format!("configuration `{}`", config.name);
            generator = Some(loaded.with_context(name)?);
        }
        let generator = generator.as_deref_mut().context("loaded above")?;
        generate_batch((plan, how), engine, generator, batch)
    })?;
    Ok(run.map(|run| {
        let texts = run.entries.iter().map(|entry| entry.text.clone()).collect();
        run.answers(Given::Texts(texts))
    }))
}

/// A completed run, with its entries in the order of the task.
struct Run<E> {
    entries: Vec<E>,
    energy: Option<ExampleEnergy>,
}

impl<E: Answered> Run<E> {
    fn answers(&self, given: Given) -> Answers {
        Answers {
            given,
            seconds: self.entries.iter().map(Answered::seconds).sum(),
            energy: self.energy,
        }
    }
}

fn run<E: Answered>(
    plan: &Plan,
    log: &mut SampleLog,
    done: Vec<E>,
    around: &Surroundings,
    mut answer: impl FnMut(&[usize]) -> Result<Vec<E>>,
) -> Result<Option<Run<E>>> {
    let Surroundings {
        meter,
        stop,
        progress,
    } = around;
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
        if metering.is_none() {
            metering = meter.map(EnergyMeter::start);
        }
        let finished = answer(batch)?;
        log.append(&finished)?;
        entries.extend(finished);
        progress.advance(plan.tokens(batch), batch.len());
    }
    let energy = metering.and_then(Metering::stop);
    log.sync()?;
    let finished = entries[known..].iter().filter(|entry| entry.place().1 == 0);
    let examples = finished.count();
    entries.sort_by_key(Answered::place);
    Ok(Some(Run {
        entries,
        energy: energy.map(|energy| ExampleEnergy { examples, energy }),
    }))
}

fn score_batch(plan: &Plan, model: &mut dyn CausalModel, batch: &[usize]) -> Result<Vec<Entry>> {
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

/// Continues prompts as one batch, each until its text ends or has the maximal number of tokens.
fn generate_batch(
    (plan, how): (&Plan, &Generation),
    engine: &dyn Engine,
    generator: &mut dyn Generator,
    batch: &[usize],
) -> Result<Vec<TextEntry>> {
    let prompts = batch
        .iter()
        .map(|&prompt| plan.prompts[prompt].request.tokens.clone());
    let prompts: Vec<Vec<u32>> = prompts.collect();
    let greedy = Sampler {
        sampling: Sampling::GREEDY,
        seed: 0,
    };
    let start = Instant::now();
    let mut tokens: Vec<Vec<u32>> = vec![Vec::new(); batch.len()];
    let mut texts = vec![String::new(); batch.len()];
    let mut running: Vec<usize> = (0..batch.len()).collect();
    let mut chosen = generator.start(&prompts, &greedy)?;
    loop {
        let mut going = Vec::with_capacity(running.len());
        for (&index, &token) in running.iter().zip(&chosen) {
            // lm-evaluation-harness also stops at the text of the tokenizer's own EOS.
            let is_eos = engine.tokenizer().eos_token() == Some(token);
            if is_eos || engine.eos_tokens().contains(&token) {
                continue;
            }
            tokens[index].push(token);
            let text = engine.tokenizer().decode(&tokens[index])?;
            let end = how.cut(&text).map(str::to_owned);
            if end.is_none() && tokens[index].len() < how.max_tokens {
                going.push(index);
            }
            texts[index] = end.unwrap_or(text);
        }
        running = going;
        if running.is_empty() {
            break;
        }
        chosen = generator.step(&running)?;
    }
    let seconds = start.elapsed().as_secs_f64() / batch.len() as f64;
    let entry = |(&prompt, text): (&usize, String)| TextEntry {
        example: plan.prompts[prompt].example,
        text,
        seconds,
    };
    Ok(batch.iter().zip(texts).map(entry).collect())
}
