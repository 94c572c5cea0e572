//! The recipe: model shape, curriculum, schedule, and the loop.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::ThreadPool;
use tokenizers::Tokenizer;

use super::autograd::Autograd;
use super::fused::CrossEntropy;
use super::tokenizer::{self, BOS_ID, EOS_ID};
use crate::corpus::{Difficulty, Story};
use crate::llama::{Batch, Layer, Linear, Llama, RopeTable};

/// What the model looks like and how it is trained.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Seed of everything.
    pub seed: u64,
    /// Optimiser steps.
    pub steps: usize,
    /// Tokens per step, about.
    pub tokens: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Threads; the result does not depend on them.
    pub threads: usize,
    /// Steps between progress lines.
    pub report_every: usize,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            seed: 20_241,
            steps: 3000,
            tokens: 4600,
            learning_rate: 2e-3,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            report_every: 50,
        }
    }
}

const VOCAB: usize = 896;
const HIDDEN: usize = 256;
const INTERMEDIATE: usize = 512;
const LAYERS: usize = 4;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 64;
const MAX_POSITIONS: usize = 512;
const ROPE_THETA: f64 = 10_000.0;
const NORM_EPS: f64 = 1e-5;
/// Gradient shards per step, whatever the number of threads.
const SHARDS: usize = 6;
/// A recalled word counts as many times as this in the loss: they are few, and the point.
const RECALL_WEIGHT: f32 = 5.0;
/// Share of the steps over which the learning rate rises.
const WARMUP: f64 = 0.03;
/// Norm above which a gradient is scaled down.
const CLIP: f64 = 1.0;

/// A story as tokens, with the weight of each next-token prediction in the loss.
struct Sample {
    tokens: Vec<u32>,
    weights: Vec<f32>,
}

/// Trains a model and writes it to `directory` as a Hugging Face model directory.
///
/// # Errors
/// When a tensor operation fails or the directory cannot be written.
pub fn train(recipe: &Recipe, directory: &Path) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
    let mut corpus = ChaCha8Rng::seed_from_u64(recipe.seed ^ 0x5eed);
    let texts: Vec<String> = (0..4000)
        .map(|_| {
            let difficulty = difficulty(&mut corpus, 1.0);
            Story::write(&mut corpus, difficulty).text
        })
        .collect();
    let tokenizer = tokenizer::train(texts.into_iter(), VOCAB)
        .map_err(|error| anyhow::anyhow!("training the tokenizer: {error}"))?;

    let (names, parameters) = initialise(&mut rng)?;
    let model = assemble(&parameters)?;
    let mut optimizer = AdamW::new(
        parameters.clone(),
        ParamsAdamW {
            lr: recipe.learning_rate,
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-8,
            weight_decay: 0.01,
        },
    )?;
    let pools: Vec<ThreadPool> = (0..recipe.threads)
        .map(|_| rayon::ThreadPoolBuilder::new().num_threads(1).build())
        .collect::<Result<_, _>>()?;

    let start = Instant::now();
    let mut window = start;
    let mut tally = Tally::default();
    for step in 0..recipe.steps {
        let progress = step as f64 / recipe.steps as f64;
        optimizer.set_learning_rate(recipe.learning_rate * schedule(progress));
        let mut samples: Vec<Sample> = Vec::new();
        while samples.iter().map(|s| s.tokens.len()).sum::<usize>() < recipe.tokens {
            let difficulty = difficulty(&mut rng, progress);
            samples.push(sample(&tokenizer, &Story::write(&mut rng, difficulty))?);
        }
        // Neighbours in length share a shard, so that little of a shard is padding; the longest
        // go first, so that no thread is left alone with one at the end.
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
                Some(sum) => add(sum, &result.gradients, &parameters)?,
            });
        }
        let gradients = clip(gradients.context("a step has shards")?, &parameters)?;
        optimizer.step(&gradients)?;
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
    save(directory, &names, &parameters, &tokenizer)
}

/// How hard stories are: a mixture that grows with training, then stays.
fn difficulty(rng: &mut impl Rng, progress: f64) -> Difficulty {
    let ramp = (progress / 0.3).min(1.0);
    let upto = |most: f64| (most * ramp).round() as usize;
    let relations = rng.random_range(2..=3 + upto(3.0));
    Difficulty {
        people: rng.random_range(2..=2 + upto(2.0)),
        relations,
        rivalry: 0.3,
        pauses: rng.random_range(0..=upto(4.0)),
        recalls: rng.random_range(relations.min(3) - 1..=relations),
    }
}

/// Linear warm-up, then half a cosine down to a twentieth.
fn schedule(progress: f64) -> f64 {
    if progress < WARMUP {
        (progress + 1e-3) / WARMUP
    } else {
        let rest = (progress - WARMUP) / (1.0 - WARMUP);
        0.05 + 0.95 * 0.5 * (1.0 + (std::f64::consts::PI * rest).cos())
    }
}

fn sample(tokenizer: &Tokenizer, story: &Story) -> Result<Sample> {
    let encoding = tokenizer
        .encode_char_offsets(story.text.as_str(), true)
        .map_err(|error| anyhow::anyhow!("encoding a story: {error}"))?;
    let tokens = encoding.get_ids().to_vec();
    let weights = encoding.get_offsets()[1..]
        .iter()
        .map(|&(_, end)| {
            // A token counts as recalled when it ends inside a recalled word.
            let recalled = story
                .recalled
                .iter()
                .any(|word| word.start < end && end <= word.end);
            if recalled { RECALL_WEIGHT } else { 1.0 }
        })
        .collect();
    Ok(Sample { tokens, weights })
}

/// What one shard brings to a step.
struct ShardResult {
    gradients: GradStore,
    loss: f64,
    recalls: usize,
    recalled: usize,
    stories: usize,
    last_recalled: usize,
    tokens: usize,
}

#[derive(Default)]
struct Tally {
    loss: f64,
    recalls: f64,
    recalled: f64,
    stories: f64,
    last_recalled: f64,
    tokens: f64,
}

impl Tally {
    fn add(&mut self, shard: &ShardResult) {
        self.loss += shard.loss;
        self.recalls += shard.recalls as f64;
        self.recalled += shard.recalled as f64;
        self.stories += shard.stories as f64;
        self.last_recalled += shard.last_recalled as f64;
        self.tokens += shard.tokens as f64;
    }
}

fn gradient(model: &Llama<Autograd>, shard: &[Sample], total: f32) -> Result<ShardResult> {
    let inputs = shard
        .iter()
        .map(|sample| &sample.tokens[..sample.tokens.len() - 1]);
    let batch = Batch::pad(inputs, EOS_ID);
    let mut rows = Vec::new();
    let mut targets = Vec::new();
    let mut weights = Vec::new();
    let mut ends = Vec::new();
    for (index, sample) in shard.iter().enumerate() {
        let first = (index * batch.length) as u32;
        rows.extend((first..).take(sample.weights.len()));
        targets.extend_from_slice(&sample.tokens[1..]);
        weights.extend_from_slice(&sample.weights);
        ends.push(rows.len() - 1);
    }
    let logits = model.logits(&Autograd, &batch, &rows)?;
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

/// Runs `job(0..jobs)` on the pools, each job on one thread; results in the order of the jobs.
fn in_parallel<T: Send>(
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

fn add(mut sum: GradStore, more: &GradStore, parameters: &[Var]) -> Result<GradStore> {
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

fn clip(mut gradients: GradStore, parameters: &[Var]) -> Result<GradStore> {
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

/// Names of the tensors as in a Hugging Face checkpoint, with their shapes, in a fixed order.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut all = vec![("model.embed_tokens.weight".to_string(), vec![VOCAB, HIDDEN])];
    for layer in 0..LAYERS {
        let mut push = |name: &str, shape: Vec<usize>| {
            all.push((format!("model.layers.{layer}.{name}.weight"), shape));
        };
        push("input_layernorm", vec![HIDDEN]);
        push("self_attn.q_proj", vec![HEADS * HEAD_DIM, HIDDEN]);
        push("self_attn.k_proj", vec![KV_HEADS * HEAD_DIM, HIDDEN]);
        push("self_attn.v_proj", vec![KV_HEADS * HEAD_DIM, HIDDEN]);
        push("self_attn.o_proj", vec![HIDDEN, HEADS * HEAD_DIM]);
        push("post_attention_layernorm", vec![HIDDEN]);
        push("mlp.gate_proj", vec![INTERMEDIATE, HIDDEN]);
        push("mlp.up_proj", vec![INTERMEDIATE, HIDDEN]);
        push("mlp.down_proj", vec![HIDDEN, INTERMEDIATE]);
    }
    all.push(("model.norm.weight".to_string(), vec![HIDDEN]));
    all
}

/// Gains start at one; matrices are normal with variance 1 / inputs, those that write to the
/// residual stream scaled down by the number of writes.
fn initialise(rng: &mut impl Rng) -> Result<(Vec<String>, Vec<Var>)> {
    let mut names = Vec::new();
    let mut parameters = Vec::new();
    for (name, shape) in tensors() {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = if shape.len() == 1 {
            vec![1.0; count]
        } else {
            let mut deviation = if name.contains("embed") {
                0.04
            } else {
                1.0 / (shape[1] as f64).sqrt()
            };
            if name.contains("o_proj") || name.contains("down_proj") {
                deviation /= (2.0 * LAYERS as f64).sqrt();
            }
            (0..count)
                .map(|_| (normal(rng) * deviation) as f32)
                .collect()
        };
        parameters.push(Var::from_vec(values, shape, &Device::Cpu)?);
        names.push(name);
    }
    Ok((names, parameters))
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

fn assemble(parameters: &[Var]) -> Result<Llama<Autograd>> {
    let mut rest = parameters.iter().map(|var| var.as_tensor().clone());
    let mut next = || rest.next().context("one variable per tensor");
    let embedding = next()?;
    let mut layers = Vec::new();
    for _ in 0..LAYERS {
        let linear = |weight: Tensor| Linear {
            weight,
            bias: None,
            activations: None,
        };
        layers.push(Layer {
            input_norm: next()?,
            q: linear(next()?),
            k: linear(next()?),
            v: linear(next()?),
            o: linear(next()?),
            keys: None,
            values: None,
            post_attention_norm: next()?,
            gate: linear(next()?),
            up: linear(next()?),
            down: linear(next()?),
        });
    }
    Ok(Llama {
        embedding,
        layers,
        norm: next()?,
        head: None,
        rope: RopeTable::new(MAX_POSITIONS, HEAD_DIM, ROPE_THETA, None),
        heads: HEADS,
        kv_heads: KV_HEADS,
        head_dim: HEAD_DIM,
        eps: NORM_EPS,
    })
}

fn save(
    directory: &Path,
    names: &[String],
    parameters: &[Var],
    tokenizer: &Tokenizer,
) -> Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("creating {}", directory.display()))?;
    let tensors: Vec<(String, Tensor)> = names
        .iter()
        .zip(parameters)
        .map(|(name, var)| Ok((name.clone(), var.to_dtype(DType::BF16)?)))
        .collect::<Result<_>>()?;
    let path = directory.join("model.safetensors");
    safetensors::serialize_to_file(tensors, None, &path)
        .with_context(|| format!("writing {}", path.display()))?;
    let path = directory.join("tokenizer.json");
    tokenizer
        .save(&path, false)
        .map_err(|error| anyhow::anyhow!("writing {}: {error}", path.display()))?;
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "max_position_embeddings": MAX_POSITIONS,
        "rms_norm_eps": NORM_EPS,
        "rope_theta": ROPE_THETA,
        "rope_scaling": null,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_ID,
        "torch_dtype": "bfloat16",
    });
    let path = directory.join("config.json");
    let text = serde_json::to_string_pretty(&config)?;
    std::fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))
}
