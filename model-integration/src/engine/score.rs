//! Scoring: how likely a target is after its context.

use anyhow::Result;

/// One sequence to score. The model's input is all tokens but the last; scored are the last
/// `targets` tokens, each given all before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Context and target; at least two tokens.
    pub tokens: Vec<u32>,
    /// How many of the last tokens are the target; at least one, fewer than `tokens.len()`. None of
    /// a prompt that is to be continued, which is not scored.
    pub targets: usize,
}

/// How likely a target is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Log-likelihood of the whole target in nats; NaN if the logits were.
    pub loglikelihood: f64,
    /// Whether every target token has the greatest logit of its position.
    pub is_greedy: bool,
    /// By how much the logit of a target token falls short of the greatest of its position, at
    /// most.
    pub shortfall: f64,
}

/// A model under one configuration, ready to score.
pub trait CausalModel {
    /// Scores a batch; one score for each request, in order. The sequences are of similar length
    /// and the longest comes first.
    ///
    /// # Errors
    /// If the model cannot be run. Logits that are not finite are no error: they are scores that
    /// are not finite.
    fn score(&mut self, batch: &[Request]) -> Result<Vec<Score>>;

    /// Runs one sequence again, alone and slowly.
    ///
    /// # Errors
    /// At the first value that is not finite, naming the part of the model, the position and the
    /// feature; if the model cannot be run.
    fn trace(&mut self, request: &Request) -> Result<()>;
}
