//! The state of a generation between two steps, for both engines.

use super::{Batch, Reach};
use crate::engine::Sampler;

/// The state of a generation between two steps.
pub struct Continuing {
    /// How tokens are chosen.
    pub sampler: Sampler,
    /// For each sequence: the number of cached positions, and the token that follows them.
    sequences: Vec<(usize, u32)>,
    reach: Reach,
}

impl Continuing {
    /// The state after the prompts, with the token chosen for each. `reach` is that of the
    /// batches.
    pub fn new(sampler: Sampler, prompts: &[Vec<u32>], chosen: &[u32], reach: Reach) -> Self {
        let lengths = prompts.iter().map(Vec::len);
        Self {
            sampler,
            sequences: lengths.zip(chosen.iter().copied()).collect(),
            reach,
        }
    }

    /// The batch with the next token of each of the `running` sequences.
    pub fn batch(&self, running: &[usize]) -> Batch {
        let mut batch = Batch {
            reach: self.reach,
            ..Batch::default()
        };
        for &index in running {
            let (past, token) = self.sequences[index];
            batch.push(index, past, &[token]);
        }
        batch
    }

    /// Stores the tokens that were chosen after [`Continuing::batch`].
    pub fn append(&mut self, running: &[usize], chosen: &[u32]) {
        for (&index, &token) in running.iter().zip(chosen) {
            let (past, next) = &mut self.sequences[index];
            (*past, *next) = (*past + 1, token);
        }
    }
}
