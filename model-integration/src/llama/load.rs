//! From a checkpoint and a configuration to a model that can run.

use mxlab_kernels::format::{BlockFormat, FloatType};

use super::ops::narrow;
use super::{Backend, Layer, Linear, Llama, LlamaError, RopeTable};
use crate::checkpoint::layout::layer_tensor;
use crate::checkpoint::{Checkpoint, LlamaConfig, TensorView};
use crate::config::{Projection, QuantConfig};

/// What a matrix is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its rows are looked up by token.
    Embedding,
    /// That, and it is multiplied by.
    EmbeddingAndHead,
    /// It is multiplied by.
    Product,
}

/// A backend that keeps parameters of a checkpoint.
pub trait Store: Backend<Error = LlamaError> {
    /// The type that the model computes in.
    fn dtype(&self) -> FloatType;

    /// Keeps a matrix, in `format` if there is one, else as it is. Values are rounded to the dtype
    /// first.
    ///
    /// # Errors
    /// If the format cannot be used here, or there is no room.
    fn matrix(
        &self,
        view: &TensorView,
        role: Role,
        format: Option<&BlockFormat>,
    ) -> Result<Self::Matrix, LlamaError>;

    /// Keeps a gain or a bias, already rounded.
    ///
    /// # Errors
    /// If there is no room.
    fn vector(&self, name: &str, values: Vec<f32>) -> Result<Self::Vector, LlamaError>;
}

/// Loads `checkpoint` for `engine`, quantising it as `config` says. Rotary tables reach to
/// `positions`.
///
/// # Errors
/// A tensor that is missing, misshapen or not finite; what the engine cannot keep.
pub fn load<B: Store>(
    engine: &B,
    checkpoint: &Checkpoint,
    config: &QuantConfig,
    positions: usize,
) -> Result<Llama<B>, LlamaError> {
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
    let (role, head) = if shape.tie_word_embeddings {
        (Role::EmbeddingAndHead, None)
    } else {
        let head = checkpoint.tensor("lm_head.weight", &table)?;
        let head = engine.matrix(&head, Role::Product, None)?;
        (Role::Embedding, Some(head))
    };
    let embedding = checkpoint.tensor("model.embed_tokens.weight", &table)?;
    Ok(Llama {
        embedding: engine.matrix(&embedding, role, None)?,
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

struct Loader<'a, B> {
    engine: &'a B,
    checkpoint: &'a Checkpoint,
    config: &'a QuantConfig,
}

impl<B: Store> Loader<'_, B> {
    fn layer(&self, layer: usize) -> Result<Layer<B>, LlamaError> {
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

    fn linear(&self, layer: usize, projection: Projection) -> Result<Linear<B>, LlamaError> {
        let config = self.checkpoint.config();
        let (module, [outputs, inputs], has_bias) = place(projection, config);
        let name = |tensor| layer_tensor(layer, &format!("{module}.{tensor}"));
        let view = self
            .checkpoint
            .tensor(&name("weight"), &[outputs, inputs])?;
        let (weights, activations) = self.config.for_projection(layer, projection);
        let weight = self.engine.matrix(&view, Role::Product, weights.as_ref())?;
        let bias = has_bias
            .then(|| self.vector(&name("bias"), outputs))
            .transpose()?;
        Ok(Linear {
            weight,
            bias,
            activations,
        })
    }

    fn vector(&self, name: &str, length: usize) -> Result<B::Vector, LlamaError> {
        let view = self.checkpoint.tensor(name, &[length])?;
        let mut values = vec![0.0; length];
        view.read_f32(0..length, &mut values);
        narrow(&mut values, self.engine.dtype());
        self.engine.vector(name, values)
    }
}

/// Where a projection is in a checkpoint: its module, the shape of its weight, whether it has
/// a bias.
pub fn place(projection: Projection, config: &LlamaConfig) -> (&'static str, [usize; 2], bool) {
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
