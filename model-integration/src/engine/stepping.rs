//! Serving: tokens of any sequences run together, step by step, with keys and values in pages.

use anyhow::Result;

/// The memory that a [`Stepper`] allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheRoom {
    /// Most sequences at a time.
    pub slots: usize,
    /// Bytes of keys and values, rounded down to whole pages.
    pub bytes: u64,
}

/// The pages of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCount {
    /// Positions of a page.
    pub positions: usize,
    /// Number of pages.
    pub pages: usize,
    /// Bytes of all pages.
    pub bytes: u64,
}

/// Consecutive tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The slot of the sequence.
    pub slot: usize,
    /// Its class, by [`Stepper::class`].
    pub class: usize,
    /// Its pages in order, with room for these tokens.
    pub pages: &'a [u32],
    /// Number of positions before these tokens, whose keys and values its pages hold.
    pub past: usize,
    /// The tokens; at least one.
    pub tokens: &'a [u32],
    /// How many of the last tokens give logits.
    pub logits: usize,
}

/// A model under one configuration that runs tokens of any sequences together. Who calls it gives
/// pages to sequences.
pub trait Stepper {
    /// Its pages.
    fn pages(&self) -> PageCount;

    /// The class of a sequence with this prompt that may grow to `end` tokens. Sequences of
    /// different classes have different keys for equal tokens, so they share no pages.
    ///
    /// # Errors
    /// If the model cannot continue the prompt that far.
    fn class(&self, prompt: usize, end: usize) -> Result<usize>;

    /// Runs the pieces and keeps their keys and values. Returns the logits that they ask for, a row
    /// for each token in the order of the pieces. A piece's logits do not depend on the others.
    ///
    /// # Errors
    /// If the model cannot be run. Logits that are not finite are no error.
    fn step(&mut self, pieces: &[Piece]) -> Result<&[f32]>;
}
