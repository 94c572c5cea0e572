//! An optimiser step: the gradient of a batch of stories, shard by shard.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{D, Var};
use rayon::ThreadPool;
use tokenizers::Tokenizer;

use super::autograd::Autograd;
use super::fused::CrossEntropy;
use super::tokenizer::EOS_ID;
use crate::corpus::Story;
use crate::model::{Batch, Llama};

/// Weight of a recalled word in the loss. Such words are rare, and the point of a story.
const RECALL_WEIGHT: f32 = 5.0;
/// Gradients with a larger norm are scaled down to this one.
const CLIP: f64 = 1.0;

/// A story as tokens, with the weight of each next-token prediction in the loss.
pub struct Sample {
    /// Token ids, BOS first.
    pub tokens: Vec<u32>,
    /// One weight for each token but the first.
    pub weights: Vec<f32>,
}

impl Sample {
    /// Tokenises a story.
    ///
    /// # Errors
    /// Errors of the tokenizer.
    pub fn new(tokenizer: &Tokenizer, story: &Story) -> Result<Self> {
        let encoding = tokenizer
            .encode_char_offsets(story.text.as_str(), true)
            .map_err(|error| anyhow::anyhow!("encoding a story: {error}"))?;
        let tokens = encoding.get_ids().to_vec();
        let weights = encoding.get_offsets()[1..]
            .iter()
            .map(|&(_, end)| {
                // A token counts as recalled if it ends inside a recalled word.
                let recalled = story
                    .recalled
                    .iter()
                    .any(|word| word.start < end && end <= word.end);
                if recalled { RECALL_WEIGHT } else { 1.0 }
            })
            .collect();
        Ok(Self { tokens, weights })
    }
}

/// A shard's contribution to a step.
pub struct ShardResult {
    pub gradients: GradStore,
    pub loss: f64,
    pub recalls: usize,
    pub recalled: usize,
    pub stories: usize,
    pub last_recalled: usize,
    pub tokens: usize,
}

/// Sums of [`ShardResult`]s for the progress line.
#[derive(Default)]
pub struct Tally {
    pub loss: f64,
    pub recalls: f64,
    pub recalled: f64,
    pub stories: f64,
    pub last_recalled: f64,
    pub tokens: f64,
}

impl Tally {
    /// Adds a shard.
    pub fn add(&mut self, shard: &ShardResult) {
        self.loss += shard.loss;
        self.recalls += shard.recalls as f64;
        self.recalled += shard.recalled as f64;
        self.stories += shard.stories as f64;
        self.last_recalled += shard.last_recalled as f64;
        self.tokens += shard.tokens as f64;
    }
}

/// The inputs of a shard, padded on the right to one length, and that length. Attention is causal,
/// so no real position sees the padding.
fn padded(shard: &[Sample]) -> (Batch, usize) {
    let length = shard.iter().map(|sample| sample.tokens.len() - 1).max();
    let length = length.unwrap_or(0);
    let mut batch = Batch::default();
    for (slot, sample) in shard.iter().enumerate() {
        let mut tokens = sample.tokens[..sample.tokens.len() - 1].to_vec();
        tokens.resize(length, EOS_ID);
        batch.push(slot, 0, &tokens);
    }
    (batch, length)
}

/// Loss and gradient of one shard. `total` is the weight of the whole batch.
///
/// # Errors
/// If a tensor operation fails.
pub fn gradient(model: &Llama<Autograd>, shard: &[Sample], total: f32) -> Result<ShardResult> {
    let (batch, length) = padded(shard);
    let mut rows = Vec::new();
    let mut targets = Vec::new();
    let mut weights = Vec::new();
    let mut ends = Vec::new();
    for (index, sample) in shard.iter().enumerate() {
        let first = (index * length) as u32;
        rows.extend((first..).take(sample.weights.len()));
        targets.extend_from_slice(&sample.tokens[1..]);
        weights.extend_from_slice(&sample.weights);
        ends.push(rows.len() - 1);
    }
    let logits = model.logits(&Autograd, &batch, &mut (), &rows)?;
    let loss = (logits.apply_op1(CrossEntropy {
        targets: targets.clone(),
        weights: weights.clone(),
    })? / f64::from(total))?;
    let gradients = loss.backward()?;

    let guesses = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let recall: Vec<usize> = (0..weights.len()).filter(|&i| weights[i] > 1.0).collect();
    let right = |i: usize| guesses[i] == targets[i];
    Ok(ShardResult {
        gradients,
        loss: f64::from(loss.to_scalar::<f32>()?),
        recalls: recall.len(),
        recalled: recall.iter().filter(|&&i| right(i)).count(),
        stories: shard.len(),
        last_recalled: ends.iter().filter(|&&i| right(i)).count(),
        tokens: targets.len(),
    })
}

/// Runs `job(0..jobs)` on the pools, each job on one thread. The results are in the order of the
/// jobs.
pub fn in_parallel<T: Send>(
    pools: &[ThreadPool],
    jobs: usize,
    job: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<T>>> = (0..jobs).map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for pool in pools {
            scope.spawn(|| {
                pool.install(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(slot) = results.get(index) else {
                            break;
                        };
                        *slot.lock().expect("one job per slot") = Some(job(index));
                    }
                });
            });
        }
    });
    results
        .into_iter()
        .map(|slot| {
            let result = slot.into_inner().expect("one job per slot");
            result.expect("every job ran")
        })
        .collect()
}

/// The sum of two shards' gradients.
///
/// # Errors
/// If a tensor operation fails.
pub fn add(mut sum: GradStore, more: &GradStore, parameters: &[Var]) -> Result<GradStore> {
    for parameter in parameters {
        if let Some(gradient) = more.get(parameter) {
            let total = match sum.get(parameter) {
                Some(first) => (first + gradient)?,
                None => gradient.clone(),
            };
            sum.insert(parameter, total);
        }
    }
    Ok(sum)
}

/// Scales a gradient down if its norm is too large.
///
/// # Errors
/// If a tensor operation fails.
pub fn clip(mut gradients: GradStore, parameters: &[Var]) -> Result<GradStore> {
    let mut square = 0.0;
    for parameter in parameters {
        if let Some(gradient) = gradients.get(parameter) {
            square += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
    }
    let norm = square.sqrt();
    if norm > CLIP {
        for parameter in parameters {
            if let Some(gradient) = gradients.get(parameter) {
                let scaled = (gradient * (CLIP / norm))?;
                gradients.insert(parameter, scaled);
            }
        }
    }
    Ok(gradients)
}
