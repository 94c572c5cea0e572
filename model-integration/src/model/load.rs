//! From a checkpoint and a configuration to a model that can run.

use mxlab_kernels::format::{BlockFormat, FloatType};

use super::ops::narrow;
use super::{Backend, Layer, Linear, Llama, LlamaError, Projections, Rope};
use crate::checkpoint::{Checkpoint, TensorView};
use crate::config::{LayerSet, Override, Projection, QuantConfig};
use crate::description::ModelConfig;
use crate::description::parameters::{GATE_UP, Parameter, Parameters, QKV, Role, Usage};

/// How the rows of a stack follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// Those of one matrix after those of another.
    InOrder,
    /// 16 of each in turn: gate and up, whose products meet.
    Interleaved,
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

    /// What a projection takes its input in that a configuration has in `activations`, its weights
    /// in `weights`; `None` for as they are.
    fn input(
        &self,
        weights: Option<&BlockFormat>,
        activations: Option<&BlockFormat>,
    ) -> Self::Input;

    /// Keeps a matrix, in `format` if there is one, else as it is, to be multiplied by what is in
    /// `input`. Values are rounded to the dtype first, unless they are stored in this format: then
    /// its codes and scales are taken as they are.
    ///
    /// # Errors
    /// If the format cannot be used here, or there is no room.
    fn matrix(
        &self,
        view: &TensorView,
        usage: Usage,
        format: Option<&BlockFormat>,
        input: &Self::Input,
    ) -> Result<Self::Matrix, LlamaError>;

    /// Keeps matrices that share an input, in one format, so that their products are one; `None` if
    /// this engine would rather have each by itself.
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

/// What a configuration comes to with a checkpoint whose weights are quantised already: those that
/// it leaves as they are, are in the format in which they are stored. Those that it does not are
/// quantised from the values that the stored ones stand for.
///
/// # Errors
/// A tensor that is missing or misshapen.
pub fn with_stored_formats(
    checkpoint: &Checkpoint,
    config: &QuantConfig,
) -> Result<QuantConfig, LlamaError> {
    let mut complete = config.clone();
    for (layer, projection, weight) in checkpoint.parameters().projections() {
        let stored = checkpoint.view(weight)?.format();
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
    Ok(complete)
}

/// The formats, for records, in which a checkpoint holds weights that are quantised; `None` for
/// none.
///
/// # Errors
/// A tensor that is missing or misshapen.
pub fn stored_formats(checkpoint: &Checkpoint) -> Result<Option<String>, LlamaError> {
    let mut names: Vec<String> = Vec::new();
    for parameter in checkpoint.parameters().stored() {
        if let Some(format) = checkpoint.view(parameter)?.format() {
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

/// Projections as one product, and what they take their input in.
pub type Stacked<B> = (<B as Backend>::Stack, <B as Backend>::Input);

/// What makes the parts of a model of its parameters.
pub trait Source<B: Backend> {
    /// What can go wrong.
    type Error;

    /// The embedding or the head.
    ///
    /// # Errors
    /// If it cannot be made.
    fn matrix(&self, parameter: &Parameter, usage: Usage) -> Result<B::Matrix, Self::Error>;

    /// A gain.
    ///
    /// # Errors
    /// If it cannot be made.
    fn vector(&self, parameter: &Parameter) -> Result<B::Vector, Self::Error>;

    /// A projection of a weight and a bias.
    ///
    /// # Errors
    /// If it cannot be made.
    fn linear(
        &self,
        weight: &Parameter,
        bias: Option<&Parameter>,
    ) -> Result<Linear<B>, Self::Error>;

    /// Projections of one input as one product; `None` for each by itself.
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
}

/// Puts a model together from what `source` makes of its parameters.
///
/// # Errors
/// The first of the source.
pub fn assemble<B: Backend, S: Source<B>>(
    source: &S,
    config: &ModelConfig,
    parameters: &Parameters,
    rope: Rope,
) -> Result<Llama<B>, S::Error> {
    let layer = |layer| {
        let norm = |role| source.vector(parameters.weight(Some(layer), role));
        let linear = |projection| {
            let [(weight, bias)] = parameters.of_layer(layer, [projection]);
            source.linear(weight, bias)
        };
        let (qkv, gate_up) = (
            parameters.of_layer(layer, QKV),
            parameters.of_layer(layer, GATE_UP),
        );
        let (keys, values) = source.cache_formats(layer);
        Ok(Layer {
            input_norm: norm(Role::InputNorm)?,
            qkv: projections(source, qkv, Arrangement::InOrder)?,
            o: linear(Projection::O)?,
            keys,
            values,
            post_attention_norm: norm(Role::PostAttentionNorm)?,
            gate_up: projections(source, gate_up, Arrangement::Interleaved)?,
            down: linear(Projection::Down)?,
        })
    };
    let layers = (0..config.num_hidden_layers).map(layer);
    let layers = layers.collect::<Result<_, _>>()?;
    let matrix = |parameter| source.matrix(parameter, parameters.usage(parameter));
    let head = Some(parameters.weight(None, Role::Head));
    let head = head.filter(|head| head.tied_to.is_none());
    Ok(Llama {
        layers,
        head: head.map(matrix).transpose()?,
        embedding: matrix(parameters.weight(None, Role::Embedding))?,
        norm: source.vector(parameters.weight(None, Role::FinalNorm))?,
        rope,
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        eps: config.rms_norm_eps,
    })
}

/// Projections of one input.
fn projections<B: Backend, S: Source<B>, const N: usize>(
    source: &S,
    members: [(&Parameter, Option<&Parameter>); N],
    arrangement: Arrangement,
) -> Result<Projections<B, N>, S::Error> {
    if let Some((stack, input)) = source.stack(&members, arrangement)? {
        return Ok(Projections::Fused { stack, input });
    }
    let mut linears = Vec::with_capacity(N);
    for (weight, bias) in members {
        linears.push(source.linear(weight, bias)?);
    }
    let linears = linears.try_into();
    Ok(Projections::Separate(linears.unwrap_or_else(|_| {
        unreachable!("one for each projection")
    })))
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
    let model = checkpoint.config();
    let rope = Rope::new(model, positions).rounded(engine.dtype());
    assemble(&loader, model, checkpoint.parameters(), rope)
}

struct Loader<'a, B> {
    engine: &'a B,
    checkpoint: &'a Checkpoint,
    config: &'a QuantConfig,
}

impl<B: Store> Source<B> for Loader<'_, B> {
    type Error = LlamaError;

    fn matrix(&self, parameter: &Parameter, usage: Usage) -> Result<B::Matrix, LlamaError> {
        let view = self.checkpoint.tensor(parameter)?;
        self.engine.matrix(&view, usage, None, &B::Input::default())
    }

    fn vector(&self, parameter: &Parameter) -> Result<B::Vector, LlamaError> {
        self.engine.vector(&parameter.name, self.values(parameter)?)
    }

    fn linear(
        &self,
        weight: &Parameter,
        bias: Option<&Parameter>,
    ) -> Result<Linear<B>, LlamaError> {
        let (weights, activations) = weight.formats(self.config);
        let (engine, weights) = (self.engine, weights.as_ref());
        let input = engine.input(weights, activations.as_ref());
        let weight = self.checkpoint.tensor(weight)?;
        Ok(Linear {
            weight: engine.matrix(&weight, Usage::Product, weights, &input)?,
            bias: bias.map(|bias| self.vector(bias)).transpose()?,
            input,
        })
    }

    /// If their formats are the same and the engine would have it.
    fn stack(
        &self,
        members: &[(&Parameter, Option<&Parameter>)],
        arrangement: Arrangement,
    ) -> Result<Option<Stacked<B>>, LlamaError> {
        let Some((weights, activations)) = shared_formats(self.config, members) else {
            return Ok(None);
        };
        let member = |(weight, bias): &(&Parameter, Option<&Parameter>)| {
            Ok(Member {
                weight: self.checkpoint.tensor(weight)?,
                bias: bias.map(|bias| self.values(bias)).transpose()?,
            })
        };
        let members: Vec<Member> = members
            .iter()
            .map(member)
            .collect::<Result<_, LlamaError>>()?;
        let (engine, weights) = (self.engine, weights.as_ref());
        let input = engine.input(weights, activations.as_ref());
        let stack = engine.stack(members, arrangement, weights, &input)?;
        Ok(stack.map(|stack| (stack, input)))
    }

    fn cache_formats(&self, layer: usize) -> (Option<BlockFormat>, Option<BlockFormat>) {
        self.config.for_kv(layer)
    }
}

impl<B: Store> Loader<'_, B> {
    fn values(&self, parameter: &Parameter) -> Result<Vec<f32>, LlamaError> {
        let view = self.checkpoint.tensor(parameter)?;
        let mut values = vec![0.0; view.len()];
        view.read_f32(0..view.len(), &mut values);
        narrow(&mut values, self.engine.dtype());
        Ok(values)
    }
}

/// The formats of weights and of the input, if they are the same for all these projections.
pub fn shared_formats(
    config: &QuantConfig,
    projections: &[(&Parameter, Option<&Parameter>)],
) -> Option<(Option<BlockFormat>, Option<BlockFormat>)> {
    let mut formats = projections.iter().map(|(weight, _)| weight.formats(config));
    let first = formats.next()?;
    formats.all(|other| other == first).then_some(first)
}
