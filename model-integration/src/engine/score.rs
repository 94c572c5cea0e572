//! Scoring: how likely a target is after its context.

use anyhow::Result;

/// One sequence to score. The model's input is all tokens but the last. The last `targets` tokens
/// are scored, each given all tokens before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Context and target; at least two tokens.
    pub tokens: Vec<u32>,
    /// Number of target tokens at the end: at least one and fewer than `tokens.len()`. Zero for a
    /// prompt to be continued, which is not scored.
    pub targets: usize,
}

/// The score of a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Log-likelihood of the whole target in nats; NaN if a logit was NaN.
    pub loglikelihood: f64,
    /// Whether every target token has the greatest logit at its position.
    pub is_greedy: bool,
    /// The largest difference, over target tokens, between the greatest logit at a position and the
    /// target's logit.
    pub shortfall: f64,
}

/// A model under one configuration, ready to score.
pub trait CausalModel {
    /// Scores a batch; one score for each request, in order. The requests have similar lengths and
    /// the longest comes first.
    ///
    /// # Errors
    /// If the model cannot be run. Logits that are not finite are no error: they give scores that
    /// are not finite.
    fn score(&mut self, batch: &[Request]) -> Result<Vec<Score>>;

    /// Runs one sequence again, alone, and checks every intermediate value.
    ///
    /// # Errors
    /// At the first value that is not finite, naming the part of the model, the position and the
    /// feature; or if the model cannot be run.
    fn trace(&mut self, request: &Request) -> Result<()>;
}
