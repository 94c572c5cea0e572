//! Serving on a device. Its kernels read the keys of a sequence in one piece, so a page is as long
//! as the longest sequence, and sequences share none.

use anyhow::{Result, ensure};

use super::engine::Loaded;
use crate::description::ModelConfig;
use crate::engine::{PageCount, Piece, Stepper};
use crate::model::{Batch, context};

/// A model, and keys and values of the sequences that it runs.
pub(super) struct DeviceStepper<'a> {
    loaded: Loaded,
    shape: &'a ModelConfig,
    vocabulary: usize,
    logits: Vec<f32>,
}

impl<'a> DeviceStepper<'a> {
    /// A stepper whose cache is divided into `slots` sequences of `tokens` tokens.
    pub fn new(
        mut loaded: Loaded,
        shape: &'a ModelConfig,
        [slots, tokens]: [usize; 2],
    ) -> Result<Self> {
        loaded.cache.divide(slots, tokens)?;
        Ok(Self {
            loaded,
            shape,
            vocabulary: shape.vocab_size,
            logits: Vec::new(),
        })
    }

    /// Runs a batch and appends the logits of `rows`.
    fn run(&mut self, batch: &Batch, mut rows: Vec<u32>) -> Result<()> {
        let wanted = rows.len();
        if rows.is_empty() {
            // The pass ends with a row at least.
            rows.push(batch.tokens.len() as u32 - 1);
        }
        let Loaded {
            backend,
            llama,
            cache,
            ..
        } = &mut self.loaded;
        let logits = llama.logits(backend, batch, cache, &rows)?;
        let values = backend.values(&logits)?;
        let stride = values.len() / rows.len();
        for row in values.chunks_exact(stride).take(wanted) {
            self.logits.extend_from_slice(&row[..self.vocabulary]);
        }
        Ok(())
    }
}

impl Stepper for DeviceStepper<'_> {
    fn pages(&self) -> PageCount {
        let cache = &self.loaded.cache;
        PageCount {
            positions: cache.capacity(),
            pages: cache.slots(),
            bytes: cache.bytes() as u64,
        }
    }

    fn class(&self, prompt: usize, end: usize) -> Result<usize> {
        Ok(context::class(self.shape, prompt, end)?)
    }

    /// Pieces run together up to the most tokens of a pass, and those of another class apart.
    fn step(&mut self, pieces: &[Piece]) -> Result<&[f32]> {
        let most = self.loaded.limits.tokens;
        self.logits.clear();
        let (mut batch, mut rows, mut class) = (Batch::default(), Vec::new(), 0);
        for piece in pieces {
            ensure!(piece.pages.len() == 1, "a sequence has one page here");
            let slot = piece.pages[0] as usize;
            let first_wanted = piece.tokens.len() - piece.logits;
            let mut done = 0;
            while done < piece.tokens.len() {
                let is_full = batch.tokens.len() == most || piece.class != class;
                if is_full && !batch.tokens.is_empty() {
                    self.run(&std::mem::take(&mut batch), std::mem::take(&mut rows))?;
                }
                class = piece.class;
                batch.reach = context::CLASSES[class];
                let length = (most - batch.tokens.len()).min(piece.tokens.len() - done);
                let start = batch.tokens.len();
                batch.push(slot, piece.past + done, &piece.tokens[done..done + length]);
                let wanted = first_wanted.max(done)..done + length;
                rows.extend(wanted.map(|index| (start + index - done) as u32));
                done += length;
            }
        }
        if !batch.tokens.is_empty() {
            self.run(&batch, rows)?;
        }
        Ok(&self.logits)
    }
}
