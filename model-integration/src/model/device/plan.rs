//! The memory plan of an engine, made before anything is allocated.

use std::collections::BTreeMap;

use mxlab_harness::device::Properties;
use mxlab_kernels::family::shuffle::ShuffleError;
use mxlab_kernels::fragment::cache::RUN;

use super::activations::Layout;
use super::cache::ExactRows;
use super::input::{Input, Operands};
use super::stack::is_stacked;
use super::{cache, matrix, staging::Staging};
use crate::config::{KvOptions, Projection, QuantConfig};
use crate::description::ModelConfig;
use crate::description::kinds::ActivationFunction;
use crate::description::parameters::{GATE_UP, Parameter, QKV, Role, parameters};
use crate::model::LlamaError;
use crate::model::load::shared_formats;
use crate::model::rope::tables_of;
use mxlab_kernels::kernel::{SplitLimits, thread_blocks};

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// How quantised tensors are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As codes and scales.
    Packed(Operands),
    /// As bf16 values of the codes and scales.
    Fake,
}

impl Storage {
    /// The format in which a tensor of `format` is stored; `None` for bf16.
    pub fn keeps<F>(self, format: Option<F>) -> Option<F> {
        format.filter(|_| self.is_packed())
    }

    /// Whether tensors are stored as codes and scales.
    pub const fn is_packed(self) -> bool {
        matches!(self, Self::Packed(_))
    }

    /// The operand types of products.
    pub const fn operands(self) -> Operands {
        match self {
            Self::Packed(operands) => operands,
            Self::Fake => Operands::Bf16,
        }
    }
}

/// Sequences of a pass that scores, where their first positions are kept as they are.
const MOST_SEQUENCES: usize = 128;

/// Limits of one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most tokens, and most sequences, of a batch.
    pub tokens: usize,
    /// Positions whose keys and values are kept, over all sequences.
    pub positions: usize,
    /// Most sequences whose first positions are kept as they are, where these are.
    pub sequences: usize,
    /// Limits for thread blocks that share work.
    pub split: SplitLimits,
}

impl Limits {
    /// Limits for `tokens` tokens and `positions` positions on a device.
    pub fn new(properties: &Properties, tokens: usize, positions: usize) -> Self {
        Self {
            tokens,
            positions,
            sequences: tokens.min(MOST_SEQUENCES),
            split: SplitLimits::new(thread_blocks(properties)),
        }
    }

    /// The same for so many sequences.
    #[must_use]
    pub const fn of_sequences(self, sequences: usize) -> Self {
        Self { sequences, ..self }
    }

    /// The positions of a cache that are kept as they are.
    pub fn exact(&self, kv: &KvOptions) -> ExactRows {
        ExactRows {
            first: kv.first,
            rows: (self.sequences * kv.first).min(self.positions),
        }
    }
}

/// Bytes of a model and of its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Weights, gains and biases.
    pub weights: usize,
    /// Keys and values of one position.
    pub position: usize,
    /// Rows of a first position that is kept as it is, beside those.
    pub exact_position: usize,
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
        model: &ModelConfig,
        config: &QuantConfig,
        limits: &Limits,
        rope_positions: usize,
        storage: Storage,
        device: &Properties,
    ) -> Result<Self, LlamaError> {
        let parameters = parameters(model);
        let input = |weight: &Parameter| {
            let (weights, activations) = weight.formats(config);
            let (operands, activations) = (storage.operands(), activations.as_ref());
            Input::new(operands, device, weights.as_ref(), activations)
        };
        let mut weights = 0;
        for parameter in parameters.stored().filter(|one| one.matrix().is_none()) {
            weights += vector_bytes(parameter.elements());
        }
        for (parameter, usage, formats) in parameters.kept(config) {
            let Some(shape) = parameter.matrix() else {
                continue;
            };
            let operand = input(formats).operand;
            let format = storage.keeps(formats.formats(config).0);
            let bytes = matrix::bytes(shape, usage, format.as_ref(), operand);
            weights += bytes.map_err(|error| LlamaError::Weight {
                tensor: parameter.name.clone(),
                error: ShuffleError::from(error),
            })?;
        }
        let hidden = model.hidden_size;
        let (heads, kv_heads) = (model.num_attention_heads, model.num_key_value_heads);
        let head_dim = model.head_dim;
        let (mut position, mut exact_position) = (0, 0);
        let exact = limits.exact(&config.kv);
        // Whether any layer has fused products, and whether any has separate ones.
        let (mut qkv, mut gate_up) = ([false; 2], [false; 2]);
        let mut packed_inputs = PackedInputs::default();
        let has_gate = (model.architecture).has(Role::Projection(Projection::Gate));
        let head_norms = usize::from(model.architecture.has(Role::QueryNorm));
        for layer in 0..model.num_hidden_layers {
            let of_qkv = parameters.of_layer(layer, QKV);
            let of_mlp = match has_gate {
                true => parameters.of_layer(layer, GATE_UP).to_vec(),
                false => parameters.of_layer(layer, [Projection::Up]).to_vec(),
            };
            let [o, down] = parameters.of_layer(layer, [Projection::O, Projection::Down]);
            let sized = |(weight, _): (&Parameter, _)| (weight.shape[1], input(weight));
            packed_inputs.add(&of_qkv.map(sized), None);
            packed_inputs.add(&[sized(o)], None);
            let of_both: Vec<_> = of_mlp.iter().map(|&one| sized(one)).collect();
            packed_inputs.add(&of_both, Some(sized(down)));
            let mut is_together = |members: &[(&Parameter, Option<&Parameter>)]| {
                let rows = || members.iter().map(|(weight, _)| weight.shape[0]);
                if shared_formats(config, members).is_none() || !is_stacked(rows()) {
                    return false;
                }
                // Modules without a bias have zeros beside the biases of others.
                if members.iter().any(|(_, bias)| bias.is_some()) {
                    let without = rows().zip(members).filter(|(_, (_, bias))| bias.is_none());
                    weights += without.map(|(rows, _)| vector_bytes(rows)).sum::<usize>();
                }
                true
            };
            qkv[usize::from(is_together(&of_qkv))] = true;
            // Only SwiGLU has a product with both.
            let is_swiglu = has_gate && model.activation == ActivationFunction::Silu;
            gate_up[usize::from(is_swiglu && is_together(&of_mlp))] = true;
            let (keys, values) = config.for_kv(layer);
            for format in [keys, values] {
                let bytes =
                    cache::position_bytes(storage.keeps(format.as_ref()), kv_heads, head_dim);
                position += bytes.iter().sum::<usize>();
                if storage.keeps(format.as_ref()).is_some() && exact.first > 0 {
                    let bytes = cache::position_bytes(None, kv_heads, head_dim);
                    exact_position += bytes.iter().sum::<usize>();
                }
            }
        }
        let head = parameters.weight(None, Role::Head);
        packed_inputs.add(&[(hidden, input(head))], None);
        let tokens = limits.tokens;
        let rope_tables: usize = model.ropes.iter().map(tables_of).sum();
        // The most buffers alive at once, by number of features: a norm with its input, beside
        // queries, keys, values, gates and the results; norms of queries and keys beside them.
        let (query, rotated) = (heads * head_dim, heads * head_dim.next_multiple_of(RUN));
        let key = kv_heads * head_dim;
        let [apart, together] = qkv.map(usize::from);
        let [gates_apart, _] = gate_up.map(usize::from);
        let factors = &model.factors;
        let maps_logits = factors.logit_divisor != 1.0 || factors.logit_cap.is_some();
        let widths = [
            (hidden, 3),
            (query, 2 + apart + head_norms),
            (rotated, 1),
            (key, 2 * apart + head_norms),
            (query + 2 * key, together),
            (model.intermediate_size, 2 + gates_apart),
            (model.vocab_size, 1 + usize::from(maps_logits)),
        ];
        let buffers = widths.iter();
        let buffers = buffers.map(|&(cols, count)| count * Layout::Padded.bytes(tokens, cols));
        let activations = buffers.sum::<usize>()
            + packed_inputs.bytes(tokens)
            + limits.split.workspace
            + 4 * limits.split.arrivals
            + Staging::bytes(tokens)
            + 5 * 8 * tokens
            + 4 * rope_tables * rope_positions * head_dim;
        Ok(Self {
            weights,
            position,
            exact_position,
            cache: position * limits.positions + exact_position * exact.rows,
            activations,
        })
    }

    /// Checks that the plan fits into `free` bytes.
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

/// Bytes of a gain or a bias.
const fn vector_bytes(length: usize) -> usize {
    2 * length.next_multiple_of(8)
}

/// Buffers of 8-bit inputs: the most alive at once, codes by features, scales by features and k.
#[derive(Default)]
struct PackedInputs {
    codes: BTreeMap<usize, usize>,
    scales: BTreeMap<(usize, usize), usize>,
}

impl PackedInputs {
    /// Adds inputs of projections that are alive at once: the distinct ones among `shared`, and the
    /// next.
    fn add(&mut self, shared: &[(usize, Input)], next: Option<(usize, Input)>) {
        let mut inputs: Vec<(usize, Input)> = Vec::new();
        for &input in shared {
            if !inputs.contains(&input) {
                inputs.push(input);
            }
        }
        inputs.extend(next);
        let (mut codes, mut scales) = (BTreeMap::new(), BTreeMap::new());
        for (
            features,
            Input {
                format, operand, ..
            },
        ) in inputs
        {
            if let (Some(format), true) = (format, operand.bits() == 8) {
                *codes.entry(features).or_insert(0) += 1;
                *scales.entry((features, format.block_size())).or_insert(0) += 1;
            }
        }
        raise(&mut self.codes, codes);
        raise(&mut self.scales, scales);
    }

    fn bytes(&self, tokens: usize) -> usize {
        let codes = self.codes.iter();
        let codes = codes.map(|(&cols, count)| count * Layout::Bytes.bytes(tokens, cols));
        let scales = self.scales.iter();
        let scales =
            scales.map(|(&(cols, k), count)| count * Layout::Scales(k).bytes(tokens, cols));
        codes.sum::<usize>() + scales.sum::<usize>()
    }
}

/// Raises each count to the larger of the two.
fn raise<K: Ord>(most: &mut BTreeMap<K, usize>, counts: BTreeMap<K, usize>) {
    for (key, count) in counts {
        let entry = most.entry(key).or_insert(0);
        *entry = count.max(*entry);
    }
}
