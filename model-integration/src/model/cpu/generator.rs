//! Generation on the CPU.

use anyhow::{Context, Result};
use mxlab_kernels::reference::sample;
use rayon::prelude::*;

use super::{Cache, Cpu, on_threads};
use crate::description::ModelConfig;
use crate::engine::{Generator, Room, Sampler};
use crate::model::{Batch, Continuing, Llama, context};

/// A model and the sequences that it continues.
pub(super) struct CpuGenerator<'a> {
    engine: Cpu,
    llama: Llama<Cpu>,
    shape: &'a ModelConfig,
    room: Room,
    cache: Cache,
    continuing: Option<Continuing>,
}

impl<'a> CpuGenerator<'a> {
    /// A generator for `llama`, whose rotary tables cover the whole room.
    pub(super) fn new(engine: Cpu, llama: Llama<Cpu>, shape: &'a ModelConfig, room: Room) -> Self {
        Self {
            engine,
            llama,
            shape,
            room,
            cache: Cache::none(),
            continuing: None,
        }
    }

    /// Runs a batch and chooses the next token of each sequence.
    fn choose(&mut self, batch: &Batch, sampler: &Sampler) -> Result<Vec<u32>> {
        let rows = batch.ends();
        let Self {
            engine,
            llama,
            cache,
            ..
        } = self;
        let logits = on_threads(|| llama.logits(engine, batch, cache, &rows))?;
        if !logits.values().iter().all(|&x| x < f32::INFINITY) {
            // Names the part of the model.
            let watching = self.engine.watching();
            self.llama
                .logits(&watching, batch, &mut self.cache, &rows)?;
        }
        let rows = logits.values().par_chunks_exact(logits.features());
        let chosen = rows.zip(&batch.sequences).map(|(logits, sequence)| {
            let random = sampler.random(sequence.slot, sequence.end());
            sample(logits, &sampler.sampling, random).with_context(|| {
                let (number, position) = (sequence.slot + 1, sequence.end());
                format!("after {position} tokens of sequence {number}")
            })
        });
        chosen.collect()
    }
}

impl Generator for CpuGenerator<'_> {
    fn start(&mut self, prompts: &[Vec<u32>], sampler: &Sampler) -> Result<Vec<u32>> {
        let Room { sequences, tokens } = self.room;
        self.cache = Cache::divided(&self.engine, &self.llama, sequences, tokens)?;
        let mut batch = Batch::whole(prompts.iter().map(Vec::as_slice));
        let lengths = prompts.iter().map(Vec::len);
        batch.reach = context::reach_to_the_end(self.shape, lengths, tokens)?;
        let chosen = self.choose(&batch, sampler)?;
        self.continuing = Some(Continuing::new(*sampler, prompts, &chosen, batch.reach));
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
