//! Models of real shapes with random weights, `synthetic:NAME[:SEED]`. They take the time and the
//! memory of the real models; their output is meaningless.
//!
//! A tensor is generated on its first read and dropped with its last view, so loading a model with
//! packed weights holds at most one unpacked tensor in memory. Tokens are bytes, BOS and EOS.

use std::path::Path;

use half::bf16;
use mxlab_kernels::format::random_at;
use rayon::prelude::*;
use serde_json::json;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::{Checkpoint, CheckpointError};
use crate::description::ModelConfig;
use crate::description::parameters::Parameters;

/// Prefix of a synthetic model's name.
pub const PREFIX: &str = "synthetic:";

/// Byte tokens come first, then these two.
const BOS: u32 = 256;
const EOS: u32 = 257;

/// Elements per task.
const TASK: usize = 1 << 16;

/// The config.json of each model, without tokens and type. Phi-4-mini has no scaling of positions,
/// whose factors are a list; `odd` has biases, and sizes that fit no kernel's tiles.
const SHAPES: &str = include_str!("shapes.json");

fn shapes() -> serde_json::Map<String, serde_json::Value> {
    serde_json::from_str(SHAPES).expect("a JSON object")
}

/// The names of all models.
pub fn names() -> String {
    let names: Vec<String> = shapes().into_iter().map(|(name, _)| name).collect();
    names.join(", ")
}

/// Opens `NAME` or `NAME:SEED`; the seed is 0 if it is not given.
///
/// # Errors
/// `Synthetic` for an unknown name or an invalid seed.
pub fn open(name: &str) -> Result<Checkpoint, CheckpointError> {
    let unknown = || CheckpointError::Synthetic {
        name: name.to_owned(),
        known: names(),
    };
    let (model, seed) = name.split_once(':').unwrap_or((name, "0"));
    let seed: u32 = seed.parse().map_err(|_| unknown())?;
    let mut config = shapes().remove(model).ok_or_else(unknown)?;
    config["bos_token_id"] = BOS.into();
    config["eos_token_id"] = EOS.into();
    config["torch_dtype"] = "bfloat16".into();
    let label = format!("{PREFIX}{model}:{seed}");
    let config = ModelConfig::parse(config.to_string().as_bytes(), Path::new(&label))?.config;
    let tokenizer = tokenizer_json().to_string().into_bytes();
    Checkpoint::made(&config, tokenizer, seed, label)
}

/// A token for every byte, and no merges.
fn tokenizer_json() -> serde_json::Value {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let vocabulary = alphabet.iter().map(char::to_string).zip(0u32..);
    let special = [("<s>", BOS), ("</s>", EOS)];
    let added = special.map(|(content, id)| {
        json!({
            "id": id, "content": content, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false,
        })
    });
    let sequence = json!({"Sequence": {"id": "A", "type_id": 0}});
    let begin = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true,
    });
    json!({
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": bytes,
        "decoder": bytes,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, sequence],
            "pair": [sequence, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}},
        },
        "model": {
            "type": "BPE",
            "vocab": vocabulary
                .map(|(symbol, id)| (symbol, json!(id)))
                .collect::<serde_json::Map<_, _>>(),
            "merges": [],
        },
    })
}

/// Weights from a counter-based generator: each depends on the seed, its tensor and its index.
pub(super) struct Weights {
    seed: u32,
    parameters: Parameters,
}

impl Weights {
    pub(super) const fn new(seed: u32, parameters: Parameters) -> Self {
        Self { seed, parameters }
    }

    /// The parameters.
    pub(super) const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The seed.
    pub(super) const fn seed(&self) -> u32 {
        self.seed
    }

    /// The elements of the stored parameter number `index`, in bf16.
    ///
    /// # Panics
    /// If there is no such parameter.
    pub(super) fn make(&self, index: usize) -> Vec<u8> {
        let parameter = self.parameters.stored().nth(index);
        let parameter = parameter.expect("a parameter of the model");
        let stream = random_at(self.seed, index as u64);
        let values: Vec<[u8; 2]> = match parameter.first_deviation {
            Some(deviation) => nearly_normal(deviation),
            None => vec![bf16::ONE.to_le_bytes(); SUMS],
        };
        let mut bytes = vec![0; 2 * parameter.elements()];
        let tasks = bytes.par_chunks_mut(2 * TASK).enumerate();
        tasks.for_each(|(task, bytes)| {
            let (elements, _) = bytes.as_chunks_mut::<2>();
            for (index, out) in (task * TASK..).zip(elements) {
                let random = random_at(stream, index as u64).to_le_bytes();
                *out = values[random.iter().map(|&byte| usize::from(byte)).sum::<usize>()];
            }
        });
        bytes
    }
}

/// Number of sums of four bytes.
const SUMS: usize = 4 * 255 + 1;

/// A bf16 number for each sum of four uniform bytes, with mean 0 and the given standard deviation.
fn nearly_normal(deviation: f64) -> Vec<[u8; 2]> {
    // A byte has mean 255 / 2 and variance (256^2 - 1) / 12.
    let unit = (65_535.0f64 / 3.0).sqrt();
    let value = |sum: usize| (sum as f64 - 510.0) / unit * deviation;
    (0..SUMS)
        .map(|sum| bf16::from_f64(value(sum)).to_le_bytes())
        .collect()
}
