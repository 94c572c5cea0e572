//! The training recipe: curriculum, schedule, loop.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::backprop::GradStore;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::ThreadPool;

use super::adamw::AdamW;
use super::model::{VOCABULARY, Weights, shape};
use super::step::{Sample, Tally, add, clip, gradient, in_parallel};
use super::tokenizer;
use crate::corpus::{Difficulty, Story};

/// Settings of the training.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Seed of all randomness.
    pub seed: u64,
    /// Optimiser steps.
    pub steps: usize,
    /// Approximate number of tokens per step.
    pub tokens: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Number of threads; the result does not depend on it.
    pub threads: usize,
    /// Steps between progress lines.
    pub report_every: usize,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            seed: 20_241,
            steps: 700,
            tokens: 4600,
            learning_rate: 1.5e-3,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            report_every: 50,
        }
    }
}

/// Gradient shards per step, for any number of threads.
const SHARDS: usize = 6;
/// Fraction of the steps with a rising learning rate.
const WARMUP: f64 = 0.03;

/// Trains a model and writes it to `directory` as a Hugging Face model directory.
///
/// # Errors
/// If a tensor operation fails or the directory cannot be written.
pub fn train(recipe: &Recipe, directory: &Path) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
    let tokenizer = tokenizer::train(vocabulary_stories(recipe.seed).into_iter(), VOCABULARY)
        .map_err(|error| anyhow::anyhow!("training the tokenizer: {error}"))?;

    let config = shape();
    let weights = Weights::initialise(&config, &mut rng)?;
    let model = weights.assemble(&config)?;
    let mut optimizer = AdamW::new(&weights.variables)?;
    let pools: Vec<ThreadPool> = (0..recipe.threads)
        .map(|_| rayon::ThreadPoolBuilder::new().num_threads(1).build())
        .collect::<Result<_, _>>()?;

    let start = Instant::now();
    let mut window = start;
    let mut tally = Tally::default();
    for step in 0..recipe.steps {
        let progress = step as f64 / recipe.steps as f64;
        let mut samples: Vec<Sample> = Vec::new();
        while samples.iter().map(|s| s.tokens.len()).sum::<usize>() < recipe.tokens {
            let difficulty = difficulty(&mut rng, progress);
            let story = Story::write(&mut rng, difficulty);
            samples.push(Sample::new(&tokenizer, &story)?);
        }
        // Stories of similar length share a shard, so that shards have little padding. The longest
        // come first, so that no thread is left with one at the end.
        samples.sort_by_key(|sample| std::cmp::Reverse(sample.tokens.len()));
        let total: f32 = samples.iter().flat_map(|sample| &sample.weights).sum();
        let shards: Vec<&[Sample]> = samples.chunks(samples.len().div_ceil(SHARDS)).collect();
        let results = in_parallel(&pools, shards.len(), |index| {
            gradient(&model, shards[index], total)
        });
        let mut gradients: Option<GradStore> = None;
        for result in results {
            let result = result?;
            tally.add(&result);
            gradients = Some(match gradients {
                None => result.gradients,
                Some(sum) => add(sum, &result.gradients, &weights.variables)?,
            });
        }
        let gradients = clip(gradients.context("a step has shards")?, &weights.variables)?;
        optimizer.step(&gradients, recipe.learning_rate * schedule(progress))?;
        if (step + 1) % recipe.report_every == 0 {
            eprintln!(
                "step {:5}/{}  loss {:.4}  recall {:5.1} %  last {:5.1} %  {:.0} tokens/s  {:.0} s",
                step + 1,
                recipe.steps,
                tally.loss / f64::from(recipe.report_every as u32),
                100.0 * tally.recalled / tally.recalls,
                100.0 * tally.last_recalled / tally.stories,
                tally.tokens / window.elapsed().as_secs_f64(),
                start.elapsed().as_secs_f64(),
            );
            tally = Tally::default();
            window = Instant::now();
        }
    }
    weights.save(directory, &config, &tokenizer)
}

/// The stories that the tokenizer is trained on.
fn vocabulary_stories(seed: u64) -> Vec<String> {
    let mut corpus = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let story = |_| {
        let difficulty = difficulty(&mut corpus, 1.0);
        Story::write(&mut corpus, difficulty).text
    };
    (0..4000).map(story).collect()
}

/// The difficulty of a story: a mixture that gets harder during training, then stays.
fn difficulty(rng: &mut impl Rng, progress: f64) -> Difficulty {
    let ramp = (progress / 0.2).min(1.0);
    let upto = |most: f64| (most * ramp).round() as usize;
    Difficulty {
        relations: rng.random_range(2..=2 + upto(3.0)),
        changes: rng.random_range(0..=1 + upto(1.0)),
        pauses: rng.random_range(0..=upto(4.0)),
        recalls: rng.random_range(2..=5),
    }
}

/// Linear warm-up, then half a cosine down to a twentieth of the peak.
fn schedule(progress: f64) -> f64 {
    if progress < WARMUP {
        (progress + 1e-3) / WARMUP
    } else {
        let rest = (progress - WARMUP) / (1.0 - WARMUP);
        0.05 + 0.95 * 0.5 * (1.0 + (std::f64::consts::PI * rest).cos())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokenizers::Tokenizer;

    use super::*;
    use crate::corpus::heldout;

    /// Stories to calibrate by are neither those of the task nor of the training.
    #[test]
    fn stories_to_calibrate_by_are_others() {
        let stories: HashSet<String> = heldout::for_calibration().into_iter().collect();
        let recipe = Recipe::default();
        let task = heldout::stories(recipe.seed, 1200);
        let vocabulary = vocabulary_stories(recipe.seed);
        let tokenizer = Tokenizer::from_bytes(include_bytes!("../../embedded/tokenizer.json"));
        let tokenizer = tokenizer.expect("a tokenizer");
        // As the training draws them.
        let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
        Weights::initialise(&shape(), &mut rng).expect("weights");
        let mut trained = Vec::new();
        for step in 0..recipe.steps {
            let mut tokens = 0;
            while tokens < recipe.tokens {
                let difficulty = difficulty(&mut rng, step as f64 / recipe.steps as f64);
                let story = Story::write(&mut rng, difficulty);
                tokens += Sample::new(&tokenizer, &story)
                    .expect("tokens")
                    .tokens
                    .len();
                trained.push(story.text);
            }
        }
        assert!(trained.len() > 20 * recipe.steps && stories.len() == 2000);
        for others in [task, vocabulary, trained] {
            assert!(others.iter().all(|story| !stories.contains(story)));
        }
    }
}
