//! Loads a model from a checkpoint and a configuration.

use mxlab_kernels::format::{BlockFormat, FloatType};

use super::ops::narrow;
use super::{Backend, Layer, Linear, Llama, LlamaError, Projections, Rope};
use crate::checkpoint::{Checkpoint, TensorView};
use crate::config::{LayerSet, Override, Projection, QuantConfig};
use crate::description::ModelConfig;
use crate::description::parameters::{GATE_UP, Parameter, Parameters, QKV, Role, Usage};

/// The order of rows in a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// One matrix after another.
    InOrder,
    /// 16 rows of each in turn, for gate and up, whose products are combined.
    Interleaved,
}

/// A matrix of a stack.
pub struct Member {
    /// Weight `[out, in]`.
    pub weight: TensorView,
    /// Bias `[out]`, rounded already.
    pub bias: Option<Vec<f32>>,
}

/// A backend that stores parameters of a checkpoint.
pub trait Store: Backend<Error = LlamaError> {
    /// Type of the model's arithmetic.
    fn dtype(&self) -> FloatType;

    /// The input format of a projection with the formats `activations` and `weights`; `None` for
    /// unquantised.
    fn input(
        &self,
        weights: Option<&BlockFormat>,
        activations: Option<&BlockFormat>,
    ) -> Self::Input;

    /// Stores a matrix, in `format` if there is one, to be multiplied by an input in `input`.
    /// Values are rounded to the dtype first; a matrix that the checkpoint stores in `format` keeps
    /// its codes and scales.
    ///
    /// # Errors
    /// If the format is not supported here, or there is no room.
    fn matrix(
        &self,
        view: &TensorView,
        usage: Usage,
        format: Option<&BlockFormat>,
        input: &Self::Input,
    ) -> Result<Self::Matrix, LlamaError>;

    /// Stores matrices with a common input in one format, for one product; `None` if this engine
    /// prefers separate products.
    ///
    /// # Errors
    /// As [`Store::matrix`].
    fn stack(
        &self,
        _members: Vec<Member>,
        _arrangement: Arrangement,
        _format: Option<&BlockFormat>,
        _input: &Self::Input,
    ) -> Result<Option<Self::Stack>, LlamaError> {
        Ok(None)
    }

    /// Stores a gain or a bias, rounded already.
    ///
    /// # Errors
    /// If there is no room.
    fn vector(&self, name: &str, values: Vec<f32>) -> Result<Self::Vector, LlamaError>;
}

/// The configuration that results for a checkpoint with quantised weights. Weights without a format
/// in `config` keep their stored format. Weights with one are quantised from the stored values.
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

/// Formats of the checkpoint's quantised weights, for records; `None` if there are none.
///
/// # Errors
/// A tensor that is missing or misshapen.
pub fn stored_formats(checkpoint: &Checkpoint) -> Result<Option<String>, LlamaError> {
    let mut names: Vec<String> = Vec::new();
    for parameter in checkpoint.parameters().stored() {
        let view = checkpoint.view(parameter)?;
        // Not every file says how its scales and codes were chosen.
        let of_format = |format: BlockFormat| {
            let (element, scale) = (format.element(), format.scale());
            format!("{element} {scale} k{}", format.block_size())
        };
        let name = view.format().map(of_format);
        let name = name.or_else(|| view.layout().map(str::to_owned));
        if let Some(name) = name.filter(|name| !names.contains(name)) {
            names.push(name);
        }
    }
    Ok((!names.is_empty()).then(|| names.join(", ")))
}

/// Projections as one product, and the format of their input.
pub type Stacked<B> = (<B as Backend>::Stack, <B as Backend>::Input);

/// Makes the parts of a model from its parameters.
pub trait Source<B: Backend> {
    /// The source's errors.
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

/// Projections with a common input.
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

/// Loads `checkpoint` for `engine`, quantised by `config`. Rotary tables cover `positions`
/// positions.
///
/// # Errors
/// A tensor that is missing, misshapen or not finite; or one that the engine cannot store.
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

    /// `Some` if their formats are equal and the engine accepts the stack.
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

/// The common formats of weights and input; `None` if these projections differ.
pub fn shared_formats(
    config: &QuantConfig,
    projections: &[(&Parameter, Option<&Parameter>)],
) -> Option<(Option<BlockFormat>, Option<BlockFormat>)> {
    let mut formats = projections.iter().map(|(weight, _)| weight.formats(config));
    let first = formats.next()?;
    formats.all(|other| other == first).then_some(first)
}
