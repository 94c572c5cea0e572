//! Generation on a device. A step is recorded as a graph and launched again for every token, until
//! the number of running sequences changes.

use anyhow::{Context, Result, bail};
use mxlab_harness::device::Graph;
use mxlab_kernels::family::sample::Sample;
use mxlab_kernels::reference::Sampling;

use super::engine::Loaded;
use crate::description::ModelConfig;
use crate::engine::{Generator, Room, Sampler};
use crate::model::{Batch, Continuing, LlamaError, Reach, context};

/// A model and the sequences that it continues.
pub(super) struct DeviceGenerator<'a> {
    loaded: Loaded,
    shape: &'a ModelConfig,
    room: Room,
    continuing: Option<Continuing>,
    /// The recorded step, and its key: number of sequences, their reach, sampling.
    graph: Option<((usize, Reach, Sampling), Graph)>,
}

impl<'a> DeviceGenerator<'a> {
    pub fn new(mut loaded: Loaded, shape: &'a ModelConfig, room: Room) -> Result<Self, LlamaError> {
        loaded.cache.divide(room.sequences, room.tokens)?;
        Ok(Self {
            loaded,
            shape,
            room,
            continuing: None,
            graph: None,
        })
    }

    /// Runs a batch and chooses the next token of each sequence.
    fn choose(&mut self, batch: &Batch, sampler: &Sampler) -> Result<Vec<u32>> {
        let Loaded {
            backend,
            llama,
            cache,
            ..
        } = &mut self.loaded;
        let rows = batch.ends();
        let count = rows.len();
        let random = batch.sequences.iter();
        let random: Vec<u32> = random
            .map(|sequence| sampler.random(sequence.slot, sequence.end()))
            .collect();
        backend.stage_random(&random)?;
        backend.stage(batch, &rows)?;
        let mut run = || -> Result<(), LlamaError> {
            let logits = llama.logits(backend, batch, cache, &rows)?;
            backend.sample(&logits, sampler.sampling)
        };
        let is_step = batch.sequences.iter().all(|sequence| sequence.length == 1);
        let step = (count, batch.reach, sampler.sampling);
        match (&self.graph, is_step) {
            (Some((recorded, graph)), true) if *recorded == step => {
                backend.replay(graph)?;
            }
            (_, true) => {
                // The first run loads the kernels; the recorded run repeats it.
                run()?;
                let graph = backend.record(&mut run)?;
                self.graph = Some((step, graph));
            }
            (_, false) => run()?,
        }
        let chosen = backend.chosen(count)?;
        for (sequence, &token) in batch.sequences.iter().zip(&chosen) {
            if token == Sample::NO_TOKEN {
                backend.set_watching(true);
                let found = llama.logits(backend, batch, cache, &rows);
                backend.set_watching(false);
                let (number, position) = (sequence.slot + 1, sequence.end());
                found
                    .map(|_| ())
                    .with_context(|| format!("after {position} tokens of sequence {number}"))?;
                bail!(
                    "after {position} tokens of sequence {number}: a logit is NaN or infinite, or \
                     none is finite"
                );
            }
        }
        Ok(chosen)
    }
}

impl Generator for DeviceGenerator<'_> {
    fn start(&mut self, prompts: &[Vec<u32>], sampler: &Sampler) -> Result<Vec<u32>> {
        let most = self.loaded.limits.tokens;
        let mut chosen = vec![0; prompts.len()];
        // As many prompts at once as fit; a longer one is run in pieces.
        let lengths = prompts.iter().map(Vec::len);
        let reach = context::reach_to_the_end(self.shape, lengths, self.room.tokens)?;
        let empty = || Batch {
            reach,
            ..Batch::default()
        };
        let mut batch = empty();
        for (slot, prompt) in prompts.iter().enumerate() {
            let mut past = 0;
            while past < prompt.len() {
                let free = most - batch.tokens.len();
                let piece = &prompt[past..prompt.len().min(past + free)];
                batch.push(slot, past, piece);
                past += piece.len();
                let is_last = slot + 1 == prompts.len() && past == prompt.len();
                if batch.tokens.len() == most || is_last {
                    let tokens = self.choose(&batch, sampler)?;
                    // The token after any piece but the last is overwritten.
                    for (sequence, token) in batch.sequences.iter().zip(tokens) {
                        chosen[sequence.slot] = token;
                    }
                    batch = empty();
                }
            }
        }
        self.continuing = Some(Continuing::new(*sampler, prompts, &chosen, reach));
        Ok(chosen)
    }

    fn step(&mut self, running: &[usize]) -> Result<Vec<u32>> {
        let mut continuing = self.continuing.take().context("no prompt was taken in")?;
        let chosen = self.choose(&continuing.batch(running), &continuing.sampler)?;
        continuing.append(running, &chosen);
        self.continuing = Some(continuing);
        Ok(chosen)
    }
}
