//! How a sequence's tokens are chosen from logits.

use std::borrow::Cow;
use std::collections::HashMap;

use mxlab_kernels::reference::{SampleError, sample};

use crate::engine::Sampler;

/// The rule of a sequence. Logits are changed in this order: repetition, presence and frequency
/// penalties, biases, then the limits `min_p` and `top_k`; temperature and nucleus come last.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Temperature, top-p and seed.
    pub sampler: Sampler,
    /// The number of the sequence among those with this seed.
    pub number: usize,
    /// How many of the likeliest tokens may be chosen; `None` for all.
    pub top_k: Option<usize>,
    /// Least probability of a token, as a share of the likeliest one's.
    pub min_p: f32,
    /// What is added to logits.
    pub bias: Vec<(u32, f32)>,
    /// What is taken from the logits of tokens that were chosen before.
    pub presence: f32,
    /// The same for each time that they were chosen.
    pub frequency: f32,
    /// What logits of earlier tokens, the prompt's included, are divided by if they are positive
    /// and multiplied by if they are negative.
    pub repetition: f32,
}

impl Choice {
    /// The likeliest token.
    pub fn by(sampler: Sampler) -> Self {
        Self {
            sampler,
            number: 0,
            top_k: None,
            min_p: 0.0,
            bias: Vec::new(),
            presence: 0.0,
            frequency: 0.0,
            repetition: 1.0,
        }
    }

    /// The token behind `tokens`, whose first `prompt` are the prompt.
    ///
    /// # Errors
    /// If no logit is finite, or one is NaN.
    pub fn choose(
        &self,
        logits: &[f32],
        tokens: &[u32],
        prompt: usize,
    ) -> Result<u32, SampleError> {
        let logits = self.limited(self.penalised(logits, tokens, prompt));
        let random = self.sampler.random(self.number, tokens.len());
        sample(&logits, &self.sampler.sampling, random)
    }

    fn penalised<'a>(&self, logits: &'a [f32], tokens: &[u32], prompt: usize) -> Cow<'a, [f32]> {
        let mut logits = Cow::Borrowed(logits);
        if self.repetition != 1.0 {
            let mut seen = tokens.to_vec();
            seen.sort_unstable();
            seen.dedup();
            let logits = logits.to_mut();
            for token in seen {
                let x = &mut logits[token as usize];
                *x = match *x > 0.0 {
                    true => *x / self.repetition,
                    false => *x * self.repetition,
                };
            }
        }
        if self.presence != 0.0 || self.frequency != 0.0 {
            let mut counts: HashMap<u32, f32> = HashMap::new();
            for &token in &tokens[prompt..] {
                *counts.entry(token).or_default() += 1.0;
            }
            let logits = logits.to_mut();
            for (token, count) in counts {
                logits[token as usize] -= self.presence + self.frequency * count;
            }
        }
        for &(token, bias) in &self.bias {
            logits.to_mut()[token as usize] += bias;
        }
        logits
    }

    /// Tokens beyond the limits get logits of -infinity. With temperature 0 the greatest is chosen,
    /// which no limit excludes.
    fn limited<'a>(&self, mut logits: Cow<'a, [f32]>) -> Cow<'a, [f32]> {
        let temperature = self.sampler.sampling.temperature;
        if temperature == 0.0 {
            return logits;
        }
        let mut least = f32::NEG_INFINITY;
        if self.min_p > 0.0 {
            let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            least = greatest + temperature * self.min_p.ln();
        }
        if let Some(top_k) = self.top_k.filter(|&top_k| top_k < logits.len()) {
            let mut sorted = logits.to_vec();
            let (_, kth, _) = sorted.select_nth_unstable_by(top_k - 1, |a, b| b.total_cmp(a));
            least = least.max(*kth);
        }
        if least > f32::NEG_INFINITY {
            for x in logits.to_mut() {
                if *x < least {
                    *x = f32::NEG_INFINITY;
                }
            }
        }
        logits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxlab_kernels::reference::Sampling;

    fn chosen(choice: &Choice, logits: &[f32], tokens: &[u32]) -> Vec<u32> {
        let mut found: Vec<u32> = (0..200)
            .map(|number| {
                let choice = Choice {
                    number,
                    ..choice.clone()
                };
                choice.choose(logits, tokens, 1).expect("a token")
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn limits_and_penalties_change_what_can_be_chosen() {
        let sampler = |temperature| Sampler {
            sampling: Sampling {
                temperature,
                top_p: 1.0,
            },
            seed: 1,
        };
        let (greedy, warm) = (Choice::by(sampler(0.0)), Choice::by(sampler(1.0)));
        let logits = [1.0, 1.5, 0.5, 1.2];
        assert_eq!(chosen(&greedy, &logits, &[0]), [1]);
        assert_eq!(chosen(&warm, &logits, &[0]), [0, 1, 2, 3]);
        let limit = |top_k, min_p| Choice {
            top_k,
            min_p,
            ..warm.clone()
        };
        assert_eq!(chosen(&limit(Some(2), 0.0), &logits, &[0]), [1, 3]);
        assert_eq!(chosen(&limit(Some(9), 0.0), &logits, &[0]), [0, 1, 2, 3]);
        // e^-0.3 is 0.74, e^-0.5 is 0.61.
        assert_eq!(chosen(&limit(None, 0.7), &logits, &[0]), [1, 3]);

        // The prompt is token 1; token 3 was chosen twice.
        let tokens = [1, 3, 3];
        let penalty = |presence, frequency, repetition| Choice {
            presence,
            frequency,
            repetition,
            ..greedy.clone()
        };
        assert_eq!(chosen(&penalty(0.0, 0.0, 2.0), &logits, &tokens), [0]);
        let bias = |token, bias| Choice {
            bias: vec![(token, bias)],
            ..greedy.clone()
        };
        assert_eq!(chosen(&bias(1, -100.0), &logits, &tokens), [3]);
        let only_3 = |choice: Choice| Choice {
            bias: vec![(1, -100.0)],
            ..choice
        };
        assert_eq!(
            chosen(&only_3(penalty(0.1, 0.0, 1.0)), &logits, &tokens),
            [3]
        );
        assert_eq!(
            chosen(&only_3(penalty(0.3, 0.0, 1.0)), &logits, &tokens),
            [0]
        );
        assert_eq!(
            chosen(&only_3(penalty(0.0, 0.15, 1.0)), &logits, &tokens),
            [0]
        );
        let negative = [-1.0, -0.9, -9.0, -9.0];
        assert_eq!(chosen(&penalty(0.0, 0.0, 2.0), &negative, &[1]), [0]);
    }
}
