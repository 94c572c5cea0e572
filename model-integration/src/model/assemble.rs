//! Assembles a model from parts, wherever they come from: a checkpoint, or training.

use mxlab_kernels::format::{BlockFormat, Hadamard};

use super::load::Arrangement;
use super::{Backend, Expert, Layer, Linear, Llama, Mlp, Norm, Projections, Rope};
use crate::config::Projection;
use crate::description::ModelConfig;
use crate::description::kinds::ActivationFunction;
use crate::description::parameters::{GATE_UP, Parameter, Parameters, QKV, Role};

/// Projections as one product, and the format of their input.
pub type Stacked<B> = (<B as Backend>::Stack, <B as Backend>::Input);

/// Makes the parts of a model from its parameters.
pub trait Source<B: Backend> {
    /// The source's errors.
    type Error;

    /// The embedding.
    ///
    /// # Errors
    /// If it cannot be made.
    fn embedding(&self, parameters: &Parameters) -> Result<B::Matrix, Self::Error>;

    /// The head; `None` if it is the embedding.
    ///
    /// # Errors
    /// If it cannot be made.
    fn head(&self, parameters: &Parameters) -> Result<Option<B::Matrix>, Self::Error>;

    /// The format of the head's input.
    ///
    /// # Errors
    /// If the engine does not quantise as the checkpoint does.
    fn head_input(&self, _parameters: &Parameters) -> Result<B::Input, Self::Error> {
        Ok(B::Input::default())
    }

    /// A gain.
    ///
    /// # Errors
    /// If it cannot be made.
    fn vector(&self, parameter: &Parameter) -> Result<B::Vector, Self::Error>;

    /// A projection with its weight and bias.
    ///
    /// # Errors
    /// If it cannot be made.
    fn linear(
        &self,
        weight: &Parameter,
        bias: Option<&Parameter>,
    ) -> Result<Linear<B>, Self::Error>;

    /// Projections with a common input as one product; `None` for separate products.
    ///
    /// # Errors
    /// If it cannot be made.
    fn stack(
        &self,
        _members: &[(&Parameter, Option<&Parameter>)],
        _arrangement: Arrangement,
    ) -> Result<Option<Stacked<B>>, Self::Error> {
        Ok(None)
    }

    /// The formats of a layer's keys and values in the cache.
    fn cache_formats(&self, _layer: usize) -> (Option<BlockFormat>, Option<BlockFormat>) {
        (None, None)
    }

    /// Positions at the beginning of a sequence whose keys and values stay as they are.
    fn kv_first(&self) -> usize {
        0
    }

    /// Keys that a query sees last, its own included, as they are.
    fn key_recent(&self) -> usize {
        0
    }

    /// The rotation of each head of queries and keys where keys have a format.
    fn key_rotation(&self, _head_dim: usize) -> Result<Option<Hadamard>, Self::Error> {
        Ok(None)
    }
}

/// Assembles a model from the parts that `source` makes.
///
/// # Errors
/// The first error of the source.
pub fn assemble<B: Backend, S: Source<B>>(
    source: &S,
    config: &ModelConfig,
    parameters: &Parameters,
    rope: Rope,
) -> Result<Llama<B>, S::Error> {
    let norm = |gain: &Parameter| {
        let bias = parameters.bias(gain.layer, gain.role);
        Ok(Norm {
            kind: config.architecture.norm,
            gain: source.vector(gain)?,
            bias: bias.map(|bias| source.vector(bias)).transpose()?,
            eps: config.norm_eps,
        })
    };
    let norm_if_any = |layer, role| {
        let gain = parameters.weight_if_any(layer, role);
        gain.map(norm).transpose()
    };
    let has_gate = config.architecture.has(Role::Projection(Projection::Gate));
    let layer = |index: usize| {
        let layer = Some(index);
        let kind = config.layers[index];
        let linear = |projection| {
            let [(weight, bias)] = parameters.of_layer(index, [projection]);
            source.linear(weight, bias)
        };
        let gated = |expert| {
            let [(weight, bias)] = parameters.of_expert(index, expert, [Projection::Down]);
            let members = parameters.of_expert(index, expert, GATE_UP);
            Ok(Expert {
                gate_up: gate_up(source, config, members)?,
                down: source.linear(weight, bias)?,
            })
        };
        let mlp = match (config.experts.filter(|_| kind.has_experts), has_gate) {
            (Some(experts), _) => {
                let router = parameters.weight(layer, Role::Router);
                let numbers = (0..experts.count).map(Some);
                Mlp::Experts {
                    router: source.linear(router, parameters.bias(layer, Role::Router))?,
                    routing: experts.routing,
                    experts: numbers.map(gated).collect::<Result<_, _>>()?,
                }
            }
            (None, true) => {
                let Expert { gate_up, down } = gated(None)?;
                Mlp::Gated { gate_up, down }
            }
            (None, false) => Mlp::Plain {
                up: linear(Projection::Up)?,
                down: linear(Projection::Down)?,
            },
        };
        let of_queries = norm_if_any(layer, Role::QueryNorm)?;
        let sinks = parameters.weight_if_any(layer, Role::Sinks);
        let (keys, values) = source.cache_formats(index);
        Ok(Layer {
            kind,
            input_norm: norm_if_any(layer, Role::InputNorm)?,
            qkv: projections(
                source,
                parameters.of_layer(index, QKV),
                Arrangement::InOrder,
            )?,
            head_norms: of_queries
                .zip(norm_if_any(layer, Role::KeyNorm)?)
                .map(Into::into),
            sinks: sinks.map(|sinks| source.vector(sinks)).transpose()?,
            o: linear(Projection::O)?,
            after_attention: norm_if_any(layer, Role::AfterAttentionNorm)?,
            keys,
            values,
            mlp_norm: norm_if_any(layer, Role::MlpNorm)?,
            mlp,
            after_mlp: norm_if_any(layer, Role::AfterMlpNorm)?,
        })
    };
    let layers = (0..config.num_hidden_layers).map(layer);
    let layers = layers.collect::<Result<_, _>>()?;
    Ok(Llama {
        architecture: config.architecture,
        layers,
        head: source.head(parameters)?,
        head_input: source.head_input(parameters)?,
        embedding: source.embedding(parameters)?,
        norm: norm(parameters.weight(None, Role::FinalNorm))?,
        rope,
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        kv_first: source.kv_first(),
        key_recent: source.key_recent(),
        key_rotation: source.key_rotation(config.head_dim)?,
        activation: config.activation,
        factors: config.factors,
    })
}

/// Gate and up projections. Only SwiGLU has a product with both.
fn gate_up<B: Backend, S: Source<B>>(
    source: &S,
    config: &ModelConfig,
    members: [(&Parameter, Option<&Parameter>); 2],
) -> Result<Projections<B, 2>, S::Error> {
    match config.activation {
        ActivationFunction::Silu => projections(source, members, Arrangement::Interleaved),
        _ => separate(source, members),
    }
}

/// Projections with a common input.
fn projections<B: Backend, S: Source<B>, const N: usize>(
    source: &S,
    members: [(&Parameter, Option<&Parameter>); N],
    arrangement: Arrangement,
) -> Result<Projections<B, N>, S::Error> {
    if let Some((stack, input)) = source.stack(&members, arrangement)? {
        return Ok(Projections::Fused { stack, input });
    }
    separate(source, members)
}

/// Projections with a product each.
fn separate<B: Backend, S: Source<B>, const N: usize>(
    source: &S,
    members: [(&Parameter, Option<&Parameter>); N],
) -> Result<Projections<B, N>, S::Error> {
    let mut linears = Vec::with_capacity(N);
    for (weight, bias) in members {
        linears.push(source.linear(weight, bias)?);
    }
    let linears = linears.try_into();
    Ok(Projections::Separate(linears.unwrap_or_else(|_| {
        unreachable!("one for each projection")
    })))
}
