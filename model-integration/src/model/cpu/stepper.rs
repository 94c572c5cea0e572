//! Serving on the CPU.

use anyhow::{Context, Result};
use mxlab_kernels::cpu::PAGE;

use super::{Activation, Cache, Cpu, on_threads};
use crate::description::ModelConfig;
use crate::engine::{CacheRoom, PageCount, Piece, Stepper};
use crate::model::{Batch, Llama, context};

/// A model, and keys and values of the sequences that it runs.
pub(super) struct CpuStepper<'a> {
    engine: Cpu,
    llama: Llama<Cpu>,
    shape: &'a ModelConfig,
    cache: Cache,
    pages: usize,
    logits: Vec<f32>,
}

impl<'a> CpuStepper<'a> {
    /// A stepper for `llama`, whose rotary tables cover the longest sequence. A position takes
    /// `position` bytes of the cache.
    pub(super) fn new(
        engine: Cpu,
        llama: Llama<Cpu>,
        shape: &'a ModelConfig,
        room: CacheRoom,
        position: u64,
    ) -> Result<Self> {
        let pages = room.bytes / (position * PAGE as u64).max(1);
        let pages = u32::try_from(pages).context("more than 2^32 pages")? as usize;
        let mut cache = Cache::paged(&engine, &llama, room.slots, pages)?;
        cache.occupy()?;
        Ok(Self {
            engine,
            llama,
            shape,
            cache,
            pages,
            logits: Vec::new(),
        })
    }

    fn run(&mut self, batch: &Batch, rows: &[u32]) -> Result<Activation> {
        let Self {
            engine,
            llama,
            cache,
            ..
        } = self;
        Ok(on_threads(|| llama.logits(engine, batch, cache, rows))?)
    }
}

impl Stepper for CpuStepper<'_> {
    fn pages(&self) -> PageCount {
        PageCount {
            positions: PAGE,
            pages: self.pages,
            bytes: self.cache.bytes() as u64,
        }
    }

    fn class(&self, prompt: usize, end: usize) -> Result<usize> {
        Ok(context::class(self.shape, prompt, end)?)
    }

    fn step(&mut self, pieces: &[Piece]) -> Result<&[f32]> {
        for piece in pieces {
            let pages = piece.pages.iter().copied();
            self.cache.assign(piece.slot, pages, piece.past);
        }
        let vocabulary = self.llama.head.as_ref().unwrap_or(&self.llama.embedding);
        let vocabulary = vocabulary.rows();
        let asked: usize = pieces.iter().map(|piece| piece.logits).sum();
        self.logits.clear();
        self.logits.resize(asked * vocabulary, 0.0);
        for (class, &reach) in context::CLASSES.iter().enumerate() {
            let mut batch = Batch {
                reach,
                ..Batch::default()
            };
            // Rows of the batch, and their places among all rows of logits.
            let (mut rows, mut places, mut place) = (Vec::new(), Vec::new(), 0);
            for piece in pieces {
                let of_piece = place..place + piece.logits;
                place = of_piece.end;
                if piece.class == class {
                    batch.push(piece.slot, piece.past, piece.tokens);
                    let end = batch.tokens.len();
                    rows.extend((end - piece.logits..end).map(|row| row as u32));
                    places.extend(of_piece);
                }
            }
            if batch.tokens.is_empty() {
                continue;
            }
            if rows.is_empty() {
                // The pass ends with a row at least; its logits have no place.
                rows.push(batch.tokens.len() as u32 - 1);
            }
            let logits = self.run(&batch, &rows)?;
            for (row, place) in logits.values().chunks_exact(vocabulary).zip(places) {
                self.logits[place * vocabulary..][..vocabulary].copy_from_slice(row);
            }
        }
        Ok(&self.logits)
    }
}
