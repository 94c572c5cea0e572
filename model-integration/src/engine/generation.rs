//! Generation: all prompts are continued at once, step by step.

use anyhow::Result;
use mxlab_kernels::format::random_at;
use mxlab_kernels::reference::Sampling;

/// How tokens are chosen; `mxlab_kernels::reference::sample` defines the rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Temperature and top-p.
    pub sampling: Sampling,
    /// Seed of the random numbers.
    pub seed: u32,
}

impl Sampler {
    /// The seed of the random stream of `sequence`.
    pub fn stream(&self, sequence: usize) -> u32 {
        random_at(self.seed, sequence as u64)
    }

    /// The random bits that choose the token at `position` of `sequence`.
    pub fn random(&self, sequence: usize, position: usize) -> u32 {
        random_at(self.stream(sequence), position as u64)
    }
}

/// The room that a generator allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Number of sequences.
    pub sequences: usize,
    /// Tokens of each sequence, its prompt included.
    pub tokens: usize,
}

/// A model under one configuration, ready to continue prompts. The model chooses the tokens itself,
/// so logits stay on the device.
pub trait Generator {
    /// Runs the prompts and chooses the token after each. No prompt is empty.
    ///
    /// # Errors
    /// If the model cannot be run, or logits are not finite.
    fn start(&mut self, prompts: &[Vec<u32>], sampler: &Sampler) -> Result<Vec<u32>>;

    /// Appends the last chosen token to each of the `running` sequences and chooses the next ones.
    /// Sequences have the numbers of their prompts, in ascending order. Sequences that are not
    /// named have ended.
    ///
    /// # Errors
    /// As [`Generator::start`].
    fn step(&mut self, running: &[usize]) -> Result<Vec<u32>>;
}
