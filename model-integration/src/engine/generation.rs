//! Generation: prompts are continued step by step, all together.

use anyhow::Result;
use mxlab_kernels::format::random_at;
use mxlab_kernels::reference::Sampling;

/// How tokens are chosen, by `mxlab_kernels::reference::sample`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Temperature and top-p.
    pub sampling: Sampling,
    /// Chooses the random numbers.
    pub seed: u32,
}

impl Sampler {
    /// The seed of a sequence's own stream of random numbers.
    pub fn stream(&self, sequence: usize) -> u32 {
        random_at(self.seed, sequence as u64)
    }

    /// The random bits that choose the token at `position` of a sequence.
    pub fn random(&self, sequence: usize, position: usize) -> u32 {
        random_at(self.stream(sequence), position as u64)
    }
}

/// What a generator makes room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Number of sequences.
    pub sequences: usize,
    /// Tokens of each, its prompt included.
    pub tokens: usize,
}

/// A model under one configuration, ready to continue prompts. It chooses the tokens itself, so
/// that logits need not leave the device that made them.
pub trait Generator {
    /// Takes the prompts in, none of them empty, and chooses the token after each.
    ///
    /// # Errors
    /// If the model cannot be run, or logits are not finite.
    fn start(&mut self, prompts: &[Vec<u32>], sampler: &Sampler) -> Result<Vec<u32>>;

    /// Appends the token that was chosen last to each of the `running` sequences, numbered as the
    /// prompts were and ascending, and chooses the next of each. The others have ended.
    ///
    /// # Errors
    /// As [`Generator::start`].
    fn step(&mut self, running: &[usize]) -> Result<Vec<u32>>;
}
