//! What is evaluated, in which order and in which batches. It depends on nothing but the
//! arguments, so that an interrupted run goes on with the very batches of an undisturbed one.

use std::cmp::Reverse;
use std::str::FromStr;

use anyhow::{Context, Result};

use super::model::Request;
use crate::task::{FewShot, PromptEncoder, Task};

/// How many examples of a task are evaluated: its first ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// That many.
    Count(usize),
    /// That part of them, rounded up.
    Fraction(f64),
}

impl Limit {
    /// How many of `total` examples that is.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count.min(total),
            Self::Fraction(fraction) => (total as f64 * fraction).ceil() as usize,
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(count) if count >= 1.0 && count.fract() == 0.0 && count < 1e15 => {
                Ok(Self::Count(count as usize))
            }
            Ok(fraction) if fraction > 0.0 && fraction < 1.0 => Ok(Self::Fraction(fraction)),
            _ => Err("neither a count of at least 1 nor a fraction between 0 and 1".into()),
        }
    }
}

/// The requests of a task.
pub struct Plan {
    /// Prompt text and request of each example, in the order of the task.
    pub prompts: Vec<Prompt>,
    /// Indices into `prompts`, in the order of evaluation.
    order: Vec<usize>,
    batch_size: usize,
}

/// One example, ready to be scored.
pub struct Prompt {
    /// What comes before the target, few-shot examples included.
    pub context: String,
    /// Tokens to score.
    pub request: Request,
    /// Tokens that were dropped from the left because they did not fit.
    pub dropped_tokens: usize,
}

impl Plan {
    /// Encodes the examples that `limit` leaves and orders them as lm-evaluation-harness does:
    /// the longest first, equally long ones by their tokens. So memory runs out at once or not
    /// at all, examples of a batch are alike, and the remaining time is not underestimated.
    ///
    /// # Errors
    /// Naming the file and line of an example that cannot be encoded.
    pub fn new(
        task: &Task,
        encoder: &PromptEncoder,
        fewshot: &FewShot,
        limit: Option<Limit>,
        batch_size: usize,
    ) -> Result<Self> {
        fewshot.check(task)?;
        let count = limit.map_or(task.examples.len(), |limit| limit.of(task.examples.len()));
        let encode = |example: &crate::task::Example| {
            let context = fewshot.context(task, example)?;
            let encoded = encoder
                .encode(&context, &example.target)
                .with_context(|| format!("`{}` line {}", task.source, example.line))?;
            Ok(Prompt {
                context,
                request: encoded.request,
                dropped_tokens: encoded.dropped_tokens,
            })
        };
        let prompts: Vec<Prompt> = task.examples[..count]
            .iter()
            .map(encode)
            .collect::<Result<_>>()?;
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        // What was dropped counts: the harness sorts before it truncates.
        order.sort_by_key(|&index| {
            let prompt = &prompts[index];
            let length = prompt.request.tokens.len() + prompt.dropped_tokens;
            (Reverse(length), &prompt.request.tokens)
        });
        Ok(Self {
            order,
            batch_size,
            prompts,
        })
    }

    /// Batches of indices into [`Self::prompts`], in the order of evaluation.
    pub fn batches(&self) -> impl Iterator<Item = &[usize]> {
        self.order.chunks(self.batch_size)
    }

    /// Indices into [`Self::prompts`], in the order of evaluation.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// How many of the first `count` examples in the order of evaluation form whole batches.
    pub fn whole_batches(&self, count: usize) -> usize {
        if count >= self.order.len() {
            self.order.len()
        } else {
            count / self.batch_size * self.batch_size
        }
    }

    /// How many prompts did not fit the model.
    pub fn truncated(&self) -> usize {
        let did_not_fit = |prompt: &&Prompt| prompt.dropped_tokens > 0;
        self.prompts.iter().filter(did_not_fit).count()
    }

    /// Tokens that go through the model for these prompts.
    pub fn tokens(&self, indices: &[usize]) -> u64 {
        let inputs = |&index: &usize| self.prompts[index].request.tokens.len() as u64 - 1;
        indices.iter().map(inputs).sum()
    }
}
