//! From a checkpoint and a configuration to a model that can run.

use mxlab_kernels::format::{BlockFormat, FloatType};

use super::ops::narrow;
use super::{Backend, Layer, Linear, Llama, LlamaError, Projections, Rope};
use crate::checkpoint::layout::{self, layer_tensor};
use crate::checkpoint::{Checkpoint, LlamaConfig, TensorView};
use crate::config::{LayerSet, Override, Projection, QuantConfig};

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

/// How the rows of a stack follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// Those of one matrix after those of another.
    InOrder,
    /// 16 of each in turns: gate and up, whose products meet.
    InTurns,
}

/// A matrix of a stack.
pub struct Member {
    /// Weight `[out, in]`.
    pub weight: TensorView,
    /// Bias `[out]`, already rounded.
    pub bias: Option<Vec<f32>>,
}

/// A backend that keeps parameters of a checkpoint.
pub trait Store: Backend<Error = LlamaError> {
    /// The type that the model computes in.
    fn dtype(&self) -> FloatType;

    /// What a projection takes its input in that a configuration has in `activations`, its weights in `weights`;
    /// `None` for as they are.
    fn input(
        &self,
        weights: Option<&BlockFormat>,
        activations: Option<&BlockFormat>,
    ) -> Self::Input;

    /// Keeps a matrix, in `format` if there is one, else as it is, to be multiplied by what is in `input`. Values are rounded to the dtype
    /// first, unless they are stored in this format: then its codes and scales are taken as they are.
    ///
    /// # Errors
    /// If the format cannot be used here, or there is no room.
    fn matrix(
        &self,
        view: &TensorView,
        role: Role,
        format: Option<&BlockFormat>,
        input: &Self::Input,
    ) -> Result<Self::Matrix, LlamaError>;

    /// Keeps matrices that share an input, in one format, so that their products are one; `None` if this engine
    /// would rather have each by itself.
    ///
    /// # Errors
    /// As of [`Store::matrix`].
    fn stack(
        &self,
        _members: Vec<Member>,
        _arrangement: Arrangement,
        _format: Option<&BlockFormat>,
        _input: &Self::Input,
    ) -> Result<Option<Self::Stack>, LlamaError> {
        Ok(None)
    }

    /// Keeps a gain or a bias, already rounded.
    ///
    /// # Errors
    /// If there is no room.
    fn vector(&self, name: &str, values: Vec<f32>) -> Result<Self::Vector, LlamaError>;
}

/// What a configuration comes to with a checkpoint whose weights are quantised already: those that it
/// leaves as they are, are in the format in which they are stored. Those that it does not are
/// quantised from the values that the stored ones stand for.
///
/// # Errors
/// A tensor that is missing or misshapen.
pub fn with_stored_formats(
    checkpoint: &Checkpoint,
    config: &QuantConfig,
) -> Result<QuantConfig, LlamaError> {
    let mut complete = config.clone();
    let shape = checkpoint.config();
    for layer in 0..shape.num_hidden_layers {
        for projection in Projection::ALL {
            let (module, size, _) = place(projection, shape);
            let name = layer_tensor(layer, &format!("{module}.weight"));
            let stored = checkpoint.view(&name, &size)?.format();
            if stored.is_some() && config.for_projection(layer, projection).0.is_none() {
                complete.overrides.push(Override {
                    layers: Some(LayerSet::one(layer)),
                    projections: Some(vec![projection]),
                    weights: Some(stored),
                    activations: None,
                    keys: None,
                    values: None,
                });
            }
        }
    }
    Ok(complete)
}

/// The formats, for records, in which a checkpoint holds weights that are quantised; `None` for none.
///
/// # Errors
/// A tensor that is missing or misshapen.
pub fn stored_formats(checkpoint: &Checkpoint) -> Result<Option<String>, LlamaError> {
    let mut names: Vec<String> = Vec::new();
    for (name, shape) in layout::tensors(checkpoint.config()) {
        if let Some(format) = checkpoint.view(&name, &shape)?.format() {
            // How scales and codes were chosen is not known of every file.
            let (element, scale) = (format.element(), format.scale());
            let name = format!("{element} {scale} k{}", format.block_size());
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    Ok((!names.is_empty()).then(|| names.join(", ")))
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
    let config = &with_stored_formats(checkpoint, config)?;
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
    let as_it_is = B::Input::default();
    let (role, head) = if shape.tie_word_embeddings {
        (Role::EmbeddingAndHead, None)
    } else {
        let head = checkpoint.tensor("lm_head.weight", &table)?;
        let head = engine.matrix(&head, Role::Product, None, &as_it_is)?;
        (Role::Embedding, Some(head))
    };
    let embedding = checkpoint.tensor("model.embed_tokens.weight", &table)?;
    Ok(Llama {
        embedding: engine.matrix(&embedding, role, None, &as_it_is)?,
        layers,
        norm: loader.vector("model.norm.weight", hidden)?,
        head,
        rope: Rope::new(
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
            qkv: self.projections(layer, QKV, Arrangement::InOrder)?,
            o: linear(Projection::O)?,
            keys,
            values,
            post_attention_norm: norm("post_attention_layernorm.weight")?,
            gate_up: self.projections(layer, GATE_UP, Arrangement::InTurns)?,
            down: linear(Projection::Down)?,
        })
    }

    /// Projections of one input, together if their formats are the same and the engine would have it.
    fn projections<const N: usize>(
        &self,
        layer: usize,
        projections: [Projection; N],
        arrangement: Arrangement,
    ) -> Result<Projections<B, N>, LlamaError> {
        if let Some((weights, activations)) = shared_formats(self.config, layer, &projections) {
            let members = projections.iter();
            let members = members.map(|&projection| self.member(layer, projection));
            let members = members.collect::<Result<_, _>>()?;
            let (engine, weights) = (self.engine, weights.as_ref());
            let input = engine.input(weights, activations.as_ref());
            if let Some(stack) = engine.stack(members, arrangement, weights, &input)? {
                return Ok(Projections::Together { stack, input });
            }
        }
        let mut linears = Vec::with_capacity(N);
        for projection in projections {
            linears.push(self.linear(layer, projection)?);
        }
        let linears = linears.try_into();
        Ok(Projections::Apart(linears.unwrap_or_else(|_| {
            unreachable!("one for each projection")
        })))
    }

    fn linear(&self, layer: usize, projection: Projection) -> Result<Linear<B>, LlamaError> {
        let (weights, activations) = self.config.for_projection(layer, projection);
        let Member { weight, bias } = self.member(layer, projection)?;
        let (module, _, _) = place(projection, self.checkpoint.config());
        let name = layer_tensor(layer, &format!("{module}.bias"));
        let (engine, weights) = (self.engine, weights.as_ref());
        let input = engine.input(weights, activations.as_ref());
        Ok(Linear {
            weight: engine.matrix(&weight, Role::Product, weights, &input)?,
            bias: bias.map(|bias| engine.vector(&name, bias)).transpose()?,
            input,
        })
    }

    fn member(&self, layer: usize, projection: Projection) -> Result<Member, LlamaError> {
        let (module, shape, has_bias) = place(projection, self.checkpoint.config());
        let name = |tensor| layer_tensor(layer, &format!("{module}.{tensor}"));
        let bias = has_bias.then(|| self.values(&name("bias"), shape[0]));
        Ok(Member {
            weight: self.checkpoint.tensor(&name("weight"), &shape)?,
            bias: bias.transpose()?,
        })
    }

    fn vector(&self, name: &str, length: usize) -> Result<B::Vector, LlamaError> {
        let values = self.values(name, length)?;
        self.engine.vector(name, values)
    }

    fn values(&self, name: &str, length: usize) -> Result<Vec<f32>, LlamaError> {
        let view = self.checkpoint.tensor(name, &[length])?;
        let mut values = vec![0.0; length];
        view.read_f32(0..length, &mut values);
        narrow(&mut values, self.engine.dtype());
        Ok(values)
    }
}

/// Projections that share the input of attention.
pub const QKV: [Projection; 3] = [Projection::Q, Projection::K, Projection::V];

/// Projections that share the input of the MLP.
pub const GATE_UP: [Projection; 2] = [Projection::Gate, Projection::Up];

/// The formats of weights and of the input, if they are the same for all these projections.
pub fn shared_formats(
    config: &QuantConfig,
    layer: usize,
    projections: &[Projection],
) -> Option<(Option<BlockFormat>, Option<BlockFormat>)> {
    let mut formats = projections.iter();
    let mut formats = formats
        .by_ref()
        .map(|&projection| config.for_projection(layer, projection));
    let first = formats.next()?;
    formats.all(|other| other == first).then_some(first)
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
