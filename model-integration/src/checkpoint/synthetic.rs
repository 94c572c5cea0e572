//! Models of real shapes with random weights, `synthetic:NAME[:SEED]`. They take the time and the
//! memory of the real models; their output is meaningless.
//!
//! A tensor is generated on its first read and dropped with its last view, so loading a model with
//! packed weights holds at most one unpacked tensor in memory. Tokens are bytes, BOS and EOS.

use half::bf16;
use mxlab_kernels::format::{FloatType, random_at};
use rayon::prelude::*;
use serde_json::json;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::{Checkpoint, CheckpointError};
use crate::config::Projection;
use crate::description::kinds::ActivationFunction;
use crate::description::parameters::Parameters;
use crate::description::{
    Factors, LayerKind, ModelConfig, RopeParameters, RopeScaling, architecture,
};

/// Prefix of a synthetic model's name.
pub const PREFIX: &str = "synthetic:";

/// Byte tokens come first, then these two.
const BOS: u32 = 256;
const EOS: u32 = 257;

/// Elements per task.
const TASK: usize = 1 << 16;

/// For each model: name; vocabulary, width, inner width, layers, query heads, key heads, head size,
/// and factor of the rotary scaling (1 for none).
const MODELS: [(&str, [usize; 8]); 5] = [
    ("llama-3.2-1b", [128_256, 2048, 8192, 16, 32, 8, 64, 32]),
    ("llama-3.2-3b", [128_256, 3072, 8192, 28, 24, 8, 128, 32]),
    ("llama-3.1-8b", [128_256, 4096, 14_336, 32, 32, 8, 128, 8]),
    ("tiny", [512, 64, 160, 2, 4, 2, 16, 1]),
    // Biases, and sizes that fit no kernel's tiles.
    ("odd", [517, 77, 131, 2, 6, 2, 22, 1]),
];

/// The names of all models.
pub fn names() -> String {
    MODELS.map(|(name, _)| name).join(", ")
}

/// Opens `NAME` or `NAME:SEED`; the seed is 0 if it is not given.
///
/// # Errors
/// `Synthetic` for an unknown name or an invalid seed.
pub fn open(name: &str) -> Result<Checkpoint, CheckpointError> {
    let unknown = || CheckpointError::Synthetic {
        name: name.to_owned(),
        known: names(),
        first: MODELS[0].0,
    };
    let (model, seed) = name.split_once(':').unwrap_or((name, "0"));
    let seed: u32 = seed.parse().map_err(|_| unknown())?;
    let found = MODELS.iter().find(|(known, _)| *known == model);
    let (model, sizes) = found.ok_or_else(unknown)?;
    let config = config(*sizes);
    Checkpoint::made(
        &config,
        tokenizer_json().to_string().into_bytes(),
        seed,
        format!("{PREFIX}{model}:{seed}"),
    )
}

fn config(sizes: [usize; 8]) -> ModelConfig {
    let [
        vocabulary,
        hidden,
        inner,
        layers,
        heads,
        kv_heads,
        head_dim,
        factor,
    ] = sizes;
    let is_small = factor == 1;
    let is_odd = hidden % 2 == 1;
    ModelConfig {
        architecture: &architecture::LLAMA,
        vocab_size: vocabulary,
        hidden_size: hidden,
        intermediate_size: inner,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        head_dim,
        max_position_embeddings: if is_small { 4096 } else { 131_072 },
        layers: vec![LayerKind::PLAIN; layers],
        ropes: vec![RopeParameters {
            theta: 500_000.0,
            features: head_dim,
            scaling: (!is_small).then_some(RopeScaling::Llama3 {
                factor: factor as f64,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 8192,
            }),
        }],
        norm_eps: 1e-5,
        activation: ActivationFunction::Silu,
        factors: Factors::plain(head_dim),
        // The larger Llamas have an untied head.
        tie_word_embeddings: hidden < 4096,
        experts: None,
        biases: match is_odd {
            true => Projection::ALL.to_vec(),
            false => Vec::new(),
        },
        bos_token_id: Some(BOS),
        eos_token_ids: vec![EOS],
        dtype: FloatType::Bf16,
    }
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
