//! What an engine takes of a device's memory, before any of it is allocated.

use mxlab_harness::device::Properties;
use mxlab_kernels::format::BlockFormat;
use mxlab_kernels::fragment::cache::RUN;

use super::stack::is_stacked;
use super::{activations, cache, matrix, staging::Staging};
use crate::checkpoint::{LlamaConfig, RopeScaling};
use crate::config::{Projection, QuantConfig};
use crate::llama::LlamaError;
use crate::llama::load::{GATE_UP, QKV, Role, place, shared_formats};
use mxlab_kernels::launch::{ShuffleError, SplitLimits, thread_blocks};

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// How what is quantised is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// As codes and scales.
    #[default]
    Packed,
    /// As the bf16 that codes and scales stand for.
    Fake,
}

impl Storage {
    /// The format that a tensor in `format` is kept in; `None` for bf16.
    pub fn keeps<F>(self, format: Option<F>) -> Option<F> {
        format.filter(|_| self == Self::Packed)
    }
}

/// What is done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens, and sequences, of a batch.
    pub tokens: usize,
    /// Positions of all sequences together whose keys and values are kept.
    pub positions: usize,
    /// For thread blocks that share work.
    pub split: SplitLimits,
}

impl Limits {
    /// For so many tokens and positions on a device.
    pub fn new(properties: &Properties, tokens: usize, positions: usize) -> Self {
        Self {
            tokens,
            positions,
            split: SplitLimits::new(thread_blocks(properties)),
        }
    }
}

/// Bytes of a model and of what it works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Weights, gains and biases.
    pub weights: usize,
    /// Keys and values of one position.
    pub position: usize,
    /// Keys and values of all positions.
    pub cache: usize,
    /// Activations, workspaces, rotary tables.
    pub activations: usize,
}

impl Plan {
    /// The plan for a model under a configuration.
    ///
    /// # Errors
    /// [`LlamaError::Weight`] if a weight's format has no fragment order.
    pub fn new(
        model: &LlamaConfig,
        config: &QuantConfig,
        limits: &Limits,
        rope_positions: usize,
        storage: Storage,
    ) -> Result<Self, LlamaError> {
        let matrix = |name: &str, shape, role, format: Option<&BlockFormat>| {
            matrix::bytes(shape, role, format).map_err(|error| LlamaError::Weight {
                tensor: name.to_owned(),
                error: ShuffleError::from(error),
            })
        };
        let vector = |length: usize| 2 * length.next_multiple_of(8);
        let hidden = model.hidden_size;
        let table = [model.vocab_size, hidden];
        let mut weights = vector(hidden);
        weights += match model.tie_word_embeddings {
            true => matrix("model.embed_tokens", table, Role::EmbeddingAndHead, None)?,
            false => {
                matrix("model.embed_tokens", table, Role::Embedding, None)?
                    + matrix("lm_head", table, Role::Product, None)?
            }
        };
        let (heads, kv_heads) = (model.num_attention_heads, model.num_key_value_heads);
        let head_dim = model.head_dim;
        let mut position = 0;
        // Of all layers, whether some have products together, and some apart.
        let (mut qkv, mut gate_up) = ([false; 2], [false; 2]);
        for layer in 0..model.num_hidden_layers {
            weights += 2 * vector(hidden);
            for projection in Projection::ALL {
                let (module, shape, has_bias) = place(projection, model);
                let (format, _) = config.for_projection(layer, projection);
                let name = format!("model.layers.{layer}.{module}.weight");
                weights += matrix(&name, shape, Role::Product, storage.keeps(format.as_ref()))?;
                weights += if has_bias { vector(shape[0]) } else { 0 };
            }
            let is_together = |projections: &[Projection]| {
                let rows = projections
                    .iter()
                    .map(|&projection| place(projection, model).1[0]);
                shared_formats(config, layer, projections).is_some() && is_stacked(rows)
            };
            qkv[usize::from(is_together(&QKV))] = true;
            gate_up[usize::from(is_together(&GATE_UP))] = true;
            let (keys, values) = config.for_kv(layer);
            for format in [keys, values] {
                let bytes =
                    cache::position_bytes(storage.keeps(format.as_ref()), kv_heads, head_dim);
                position += bytes.iter().sum::<usize>();
            }
        }
        let tokens = limits.tokens;
        let rope_tables = match model.rope_scaling {
            Some(RopeScaling::Long { .. }) => 2,
            _ => 1,
        };
        // The most that are there at once, of each number of features: a norm and what it is
        // made of, beside queries, keys, values, gates, and what follows from them.
        let (query, rotated) = (heads * head_dim, heads * head_dim.next_multiple_of(RUN));
        let key = kv_heads * head_dim;
        let [apart, together] = qkv.map(usize::from);
        let [gates_apart, _] = gate_up.map(usize::from);
        let widths = [
            (hidden, 4),
            (query, 2 + apart),
            (rotated, 1),
            (key, 2 * apart),
            (query + 2 * key, together),
            (model.intermediate_size, 2 + gates_apart),
            (model.vocab_size, 1),
        ];
        let buffers = widths.iter();
        let buffers = buffers.map(|&(cols, count)| count * activations::bytes(tokens, cols));
        let activations = buffers.sum::<usize>()
            + limits.split.workspace
            + 4 * limits.split.arrivals
            + Staging::bytes(tokens)
            + 5 * 8 * tokens
            + 4 * rope_tables * rope_positions * head_dim;
        Ok(Self {
            weights,
            position,
            cache: position * limits.positions,
            activations,
        })
    }

    /// Checks that it fits into so many bytes.
    ///
    /// # Errors
    /// [`LlamaError::Room`] with the sizes.
    pub fn check(&self, free: u64) -> Result<(), LlamaError> {
        let needed = self.weights + self.cache + self.activations;
        let mib = |bytes: usize| (bytes as u64).div_ceil(MIB);
        match needed as u64 <= free {
            true => Ok(()),
            false => Err(LlamaError::Room {
                weights: mib(self.weights),
                cache: mib(self.cache),
                activations: mib(self.activations),
                available: free / MIB,
            }),
        }
    }
}
