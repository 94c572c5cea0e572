//! From a checkpoint and a configuration to a model that can run.

use super::{Cpu, Matrix};
use crate::checkpoint::layout::layer_tensor;
use crate::checkpoint::{Checkpoint, LlamaConfig};
use crate::config::{Projection, QuantConfig};
use crate::llama::ops::narrow;
use crate::llama::{Layer, Linear, Llama, LlamaError, RopeTable};

/// Loads `checkpoint` for `engine`, quantising it as `config` says. Rotary tables reach to
/// `positions`.
///
/// # Errors
/// A tensor that is missing, misshapen or not finite, or a format that does not take the
/// engine's dtype.
pub fn load(
    engine: &Cpu,
    checkpoint: &Checkpoint,
    config: &QuantConfig,
    positions: usize,
) -> Result<Llama<Cpu>, LlamaError> {
    let loader = Loader {
        engine,
        checkpoint,
        config,
    };
    let shape = checkpoint.config();
    let layers = (0..shape.num_hidden_layers)
        .map(|layer| loader.layer(layer))
        .collect::<Result<_, _>>()?;
    let hidden = shape.hidden_size;
    let table = [shape.vocab_size, hidden];
    let head = if shape.tie_word_embeddings {
        None
    } else {
        Some(Matrix::Dense(checkpoint.tensor("lm_head.weight", &table)?))
    };
    Ok(Llama {
        embedding: Matrix::Dense(checkpoint.tensor("model.embed_tokens.weight", &table)?),
        layers,
        norm: loader.vector("model.norm.weight", hidden)?,
        head,
        rope: RopeTable::new(
            positions,
            shape.head_dim,
            shape.rope_theta,
            shape.rope_scaling.as_ref(),
        )
        .rounded(engine.dtype()),
        heads: shape.num_attention_heads,
        kv_heads: shape.num_key_value_heads,
        head_dim: shape.head_dim,
        eps: shape.rms_norm_eps,
    })
}

struct Loader<'a> {
    engine: &'a Cpu,
    checkpoint: &'a Checkpoint,
    config: &'a QuantConfig,
}

impl Loader<'_> {
    fn layer(&self, layer: usize) -> Result<Layer<Cpu>, LlamaError> {
        let (keys, values) = self.config.for_kv(layer);
        let hidden = self.checkpoint.config().hidden_size;
        let norm = |name| self.vector(&layer_tensor(layer, name), hidden);
        let linear = |projection| self.linear(layer, projection);
        Ok(Layer {
            input_norm: norm("input_layernorm.weight")?,
            q: linear(Projection::Q)?,
            k: linear(Projection::K)?,
            v: linear(Projection::V)?,
            o: linear(Projection::O)?,
            keys,
            values,
            post_attention_norm: norm("post_attention_layernorm.weight")?,
            gate: linear(Projection::Gate)?,
            up: linear(Projection::Up)?,
            down: linear(Projection::Down)?,
        })
    }

    fn linear(&self, layer: usize, projection: Projection) -> Result<Linear<Cpu>, LlamaError> {
        let config = self.checkpoint.config();
        let (module, [outputs, inputs], has_bias) = place(projection, config);
        let name = |tensor| layer_tensor(layer, &format!("{module}.{tensor}"));
        let view = self
            .checkpoint
            .tensor(&name("weight"), &[outputs, inputs])?;
        let (weights, activations) = self.config.for_projection(layer, projection);
        let weight = match weights {
            Some(format) => Matrix::pack(&view, &format, self.engine.dtype())?,
            None => Matrix::Dense(view),
        };
        let bias = has_bias
            .then(|| self.vector(&name("bias"), outputs))
            .transpose()?;
        Ok(Linear {
            weight,
            bias,
            activations,
        })
    }

    fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, LlamaError> {
        let view = self.checkpoint.tensor(name, &[length])?;
        let mut values = vec![0.0; length];
        view.read_f32(0..length, &mut values);
        narrow(&mut values, self.engine.dtype());
        Ok(values)
    }
}

/// Where a projection is in a checkpoint: its module, the shape of its weight, whether it has
/// a bias.
pub(super) fn place(
    projection: Projection,
    config: &LlamaConfig,
) -> (&'static str, [usize; 2], bool) {
    let hidden = config.hidden_size;
    let inner = config.intermediate_size;
    let query = config.num_attention_heads * config.head_dim;
    let key = config.num_key_value_heads * config.head_dim;
    let (attention, mlp) = (config.attention_bias, config.mlp_bias);
    match projection {
        Projection::Q => ("self_attn.q_proj", [query, hidden], attention),
        Projection::K => ("self_attn.k_proj", [key, hidden], attention),
        Projection::V => ("self_attn.v_proj", [key, hidden], attention),
        Projection::O => ("self_attn.o_proj", [hidden, query], attention),
        Projection::Gate => ("mlp.gate_proj", [inner, hidden], mlp),
        Projection::Up => ("mlp.up_proj", [inner, hidden], mlp),
        Projection::Down => ("mlp.down_proj", [hidden, inner], mlp),
    }
}
