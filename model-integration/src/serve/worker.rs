//! Runs sequences, step by step, and sends what they become to those who asked.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use super::job::{Event, Failure, Job};
use super::metrics::Metrics;
use super::pages::Pages;
use super::running::{Next, Running};
use super::scheduler::{Id, Limits, Part, Scheduler, Sequence};
use crate::engine::{Piece, Stepper, Tokenize};
use anyhow::{Context, Result, anyhow};

/// Runs sequences until nobody can ask for more.
pub struct Worker<'a> {
    stepper: Box<dyn Stepper + 'a>,
    tokenizer: &'static dyn Tokenize,
    eos: Vec<u32>,
    scheduler: Scheduler,
    jobs: HashMap<Id, Running>,
    next: Id,
    inbox: Receiver<Job>,
    metrics: Arc<Metrics>,
}

impl<'a> Worker<'a> {
    /// A worker that takes jobs from `inbox`. Their prompts and classes fit the stepper.
    pub fn new(
        stepper: Box<dyn Stepper + 'a>,
        tokenizer: &'static dyn Tokenize,
        eos: &[u32],
        limits: Limits,
        inbox: Receiver<Job>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let count = stepper.pages();
        metrics.cache_bytes.store(count.bytes, Relaxed);
        Self {
            scheduler: Scheduler::new(limits, Pages::new(count.positions, count.pages)),
            stepper,
            tokenizer,
            eos: eos.to_vec(),
            jobs: HashMap::new(),
            next: 0,
            inbox,
            metrics,
        }
    }

    /// Runs until all senders of jobs are gone and every sequence has ended.
    pub fn run(mut self) {
        while self.take_jobs() {
            self.end_unwanted();
            if !self.scheduler.is_idle() {
                self.step();
            }
            self.measure();
        }
    }

    /// Takes what has come, and waits if there is nothing else to do. Returns whether there may be
    /// more to do.
    fn take_jobs(&mut self) -> bool {
        if self.scheduler.is_idle() {
            match self.inbox.recv() {
                Ok(job) => self.add(job),
                Err(_) => return false,
            }
        }
        loop {
            match self.inbox.try_recv() {
                Ok(job) => self.add(job),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return !self.scheduler.is_idle(),
            }
        }
    }

    fn add(&mut self, job: Job) {
        let wanted = match job.scores_prompt {
            true => 0,
            false => job.prompt.len() - 1,
        };
        let end = job.prompt.len() + job.max_tokens;
        let class = match self.stepper.class(job.prompt.len(), end) {
            Ok(class) => class,
            Err(error) => {
                let failure = Event::Failed(Failure::Refused(format!("{error:#}")));
                let _ = job.events.send((job.index, failure));
                return;
            }
        };
        let sequence = Sequence {
            tokens: job.prompt.clone(),
            class,
            wanted,
        };
        self.jobs
            .insert(self.next, Running::new(job, self.tokenizer));
        self.scheduler.add(self.next, sequence);
        self.next += 1;
    }

    /// Ends sequences that nobody waits for, and those without time.
    fn end_unwanted(&mut self) {
        let now = Instant::now();
        let metrics = &self.metrics;
        let unwanted = self.jobs.iter().filter_map(|(&id, running)| {
            if running.job.events.is_closed() {
                Metrics::count(&metrics.sequences_cancelled_total);
                return Some(id);
            }
            if running.job.deadline <= now {
                Metrics::count(&metrics.sequences_expired_total);
                running.send(Event::Failed(Failure::Deadline));
                return Some(id);
            }
            None
        });
        let unwanted: Vec<Id> = unwanted.collect();
        for id in unwanted {
            self.end(id);
        }
    }

    fn end(&mut self, id: Id) {
        self.jobs.remove(&id);
        self.scheduler.remove(id);
    }

    fn fail(&mut self, id: Id, error: &anyhow::Error) {
        Metrics::count(&self.metrics.sequences_failed_total);
        if let Some(running) = self.jobs.get(&id) {
            running.send(Event::Failed(Failure::Model(format!("{error:#}"))));
        }
        self.end(id);
    }

    fn step(&mut self) {
        let begin = Instant::now();
        let parts = self.scheduler.plan();
        let chosen = match self.run_parts(&parts) {
            Ok(chosen) => chosen,
            // One of them is to blame. Alone, the others run.
            Err(_) if parts.len() > 1 => {
                let mut chosen = 0;
                for part in &parts {
                    match self.run_parts(std::slice::from_ref(part)) {
                        Ok(one) => chosen += one,
                        Err(error) => self.fail(part.id, &error),
                    }
                }
                chosen
            }
            Err(error) => {
                for part in &parts {
                    self.fail(part.id, &error);
                }
                0
            }
        };
        let time = begin.elapsed();
        let metrics = &self.metrics;
        metrics.step.add(time);
        Metrics::count(&metrics.steps_total);
        metrics.output_tokens_total.fetch_add(chosen, Relaxed);
        let speed = chosen as f64 / time.as_secs_f64().max(1e-9);
        metrics
            .output_tokens_per_second
            .store(speed as u64, Relaxed);
    }

    /// Runs parts together, and hands their logits out. Returns the number of chosen tokens.
    fn run_parts(&mut self, parts: &[Part]) -> Result<u64> {
        let Self {
            stepper,
            scheduler,
            jobs,
            metrics,
            ..
        } = self;
        let pieces = parts.iter().map(|part| {
            let running = scheduler.running_sequence(part.id);
            let (slot, class, pages, tokens) = running.context("a part of no sequence")?;
            Ok(Piece {
                slot,
                class,
                pages,
                past: part.positions.start,
                tokens: &tokens[part.positions.clone()],
                logits: part.logits,
            })
        });
        let pieces: Vec<Piece> = pieces.collect::<Result<_>>()?;
        let logits = contained(|| stepper.step(&pieces))?;
        let rows: usize = parts.iter().map(|part| part.logits).sum();
        let vocabulary = logits.len().checked_div(rows).unwrap_or(0);
        let (mut rest, mut chosen, mut failed) = (logits, 0, Vec::new());
        for part in parts {
            let of_part;
            (of_part, rest) = rest.split_at(part.logits * vocabulary);
            scheduler.computed(part);
            let Some(running) = jobs.get_mut(&part.id) else {
                continue;
            };
            let prompt = running.job.prompt.len();
            let of_prompt = part.positions.end.min(prompt) - part.positions.start.min(prompt);
            metrics
                .prompt_tokens_total
                .fetch_add(of_prompt as u64, Relaxed);
            let eos = &self.eos;
            match contained(|| running.receive(part, of_part, vocabulary, eos, metrics)) {
                Ok(Next::Wait) => {}
                Ok(Next::Token(token)) => {
                    chosen += 1;
                    scheduler.append(part.id, token);
                }
                Ok(Next::End { token }) => {
                    chosen += u64::from(token);
                    Metrics::count(&metrics.sequences_answered_total);
                    jobs.remove(&part.id);
                    scheduler.remove(part.id);
                }
                Err(error) => failed.push((part.id, error)),
            }
        }
        for (id, error) in failed {
            self.fail(id, &error);
        }
        Ok(chosen)
    }

    fn measure(&self) {
        let (metrics, scheduler) = (&self.metrics, &self.scheduler);
        let [used, all] = scheduler.pages();
        for (gauge, value) in [
            (&metrics.sequences_waiting, scheduler.waiting()),
            (&metrics.sequences_running, scheduler.running()),
            (&metrics.cache_pages_used, used),
            (&metrics.cache_pages, all),
        ] {
            gauge.store(value as u64, Relaxed);
        }
        let counts = scheduler.counts();
        metrics.preemptions_total.store(counts.preemptions, Relaxed);
        metrics
            .prompt_tokens_shared_total
            .store(counts.shared, Relaxed);
    }
}

/// The result of `run`; a panic is an error.
fn contained<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(said(&*panic)))
}

fn said(panic: &(dyn Any + Send)) -> anyhow::Error {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    anyhow!(
        "a panic: {}",
        text.unwrap_or_else(|| "of no text".to_owned())
    )
}
