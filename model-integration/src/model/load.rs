//! Loads a model from a checkpoint and a configuration.

use mxlab_kernels::format::{BlockFormat, FloatType, MatrixFormat};

use super::ops::narrow;
use super::{Backend, Expert, Layer, Linear, Llama, LlamaError, Mlp, Norm, Projections, Rope};
use crate::checkpoint::encoding::StoredInput;
use crate::checkpoint::{Checkpoint, TensorView};
use crate::config::{LayerSet, Override, Projection, QuantConfig};
use crate::description::ModelConfig;
use crate::description::architecture::{Factor, Source as Constant};
use crate::description::kinds::ActivationFunction;
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

    /// Whether weights may be stored in this format; others are stored as their values.
    fn takes(&self, weights: &BlockFormat) -> bool;

    /// The input of a projection that the checkpoint quantises, beside weights in `weights`.
    ///
    /// # Errors
    /// If this engine does not quantise so.
    fn stored_input(
        &self,
        weights: Option<&BlockFormat>,
        stored: &StoredInput,
    ) -> Result<Self::Input, LlamaError>;

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
/// in `config` keep their stored format if `takes` has it, and inputs are quantised as the
/// checkpoint says. Weights with one are quantised from the stored values.
///
/// # Errors
/// A tensor that is missing or misshapen.
pub fn with_stored_formats(
    checkpoint: &Checkpoint,
    config: &QuantConfig,
    takes: impl Fn(&BlockFormat) -> bool,
) -> Result<QuantConfig, LlamaError> {
    let mut complete = config.clone();
    let parameters = checkpoint.parameters();
    for (layer, projection, weight) in parameters.projections() {
        // The experts of a layer have one format; if their files have several, the values count.
        if weight.expert.is_some_and(|expert| expert > 0) {
            continue;
        }
        let (weights, activations) = config.for_projection(layer, projection);
        let mut change = Override {
            layers: Some(LayerSet::one(layer)),
            projections: Some(vec![projection]),
            weights: None,
            activations: None,
            keys: None,
            values: None,
        };
        if weights.is_none() {
            let stored = checkpoint.view(weight)?.format();
            let mut others = parameters.of_other_experts(weight);
            let is_common = others.try_fold(true, |is_common, other| {
                let format = checkpoint.view(other)?.format();
                Ok::<_, LlamaError>(is_common && format == stored)
            });
            let stored = stored.filter(&takes);
            let stored = is_common?.then_some(stored).flatten();
            change.weights = stored.map(|format| Some(format.into()));
        }
        if activations.is_none()
            && config.stored_inputs
            && let Some(StoredInput::Block(format, _)) = checkpoint.stored_input(weight)?
        {
            change.activations = Some(Some(format));
        }
        if change.weights.is_some() || change.activations.is_some() {
            complete.overrides.push(change);
        }
    }
    Ok(complete)
}

/// How a checkpoint is quantised, in words for records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredFormats {
    /// Formats of weights; `None` if all are floats.
    pub weights: Option<String>,
    /// Formats of inputs; `None` if they stay floats.
    pub inputs: Option<String>,
}

/// Formats of the checkpoint's quantised weights and inputs.
///
/// # Errors
/// A tensor that is missing or misshapen.
pub fn stored_formats(checkpoint: &Checkpoint) -> Result<StoredFormats, LlamaError> {
    let (mut weights, mut inputs) = (Vec::new(), Vec::new());
    let add = |names: &mut Vec<String>, name: Option<String>| {
        if let Some(name) = name.filter(|name| !names.contains(name)) {
            names.push(name);
        }
    };
    for parameter in checkpoint.parameters().stored() {
        let view = checkpoint.view(parameter)?;
        let name = view.format().as_ref().map(stored_name);
        add(
            &mut weights,
            name.or_else(|| view.layout().map(str::to_owned)),
        );
        if parameter.projection().is_some() {
            let input = checkpoint.stored_input(parameter)?;
            add(&mut inputs, input.map(|input| input.name()));
        }
    }
    let list = |names: Vec<String>| (!names.is_empty()).then(|| names.join(", "));
    Ok(StoredFormats {
        weights: list(weights),
        inputs: list(inputs),
    })
}

/// A stored format in words. Not every file says how its scales and codes were chosen.
pub fn stored_name(format: &BlockFormat) -> String {
    let (element, scale) = (format.element(), format.scale());
    format!("{element} {scale} k{}", format.block_size())
}

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
        embedding: source.embedding(parameters)?,
        norm: norm(parameters.weight(None, Role::FinalNorm))?,
        rope,
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
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
    let loader = Loader {
        engine,
        checkpoint,
        given: config,
        config: &with_stored_formats(checkpoint, config, |format| engine.takes(format))?,
    };
    let mut model = checkpoint.config().clone();
    let rounds = (Factor::Embedding, Constant::RootOfWidth);
    if model.architecture.factors.contains(&rounds) {
        let factor = &mut model.factors.embedding;
        *factor = engine.dtype().round(*factor as f32).into();
    }
    let rope = Rope::new(&model, positions).rounded(engine.dtype());
    assemble(&loader, &model, checkpoint.parameters(), rope)
}

struct Loader<'a, B> {
    engine: &'a B,
    checkpoint: &'a Checkpoint,
    /// The configuration as given.
    given: &'a QuantConfig,
    /// The same with the stored formats.
    config: &'a QuantConfig,
}

impl<B: Store> Source<B> for Loader<'_, B> {
    type Error = LlamaError;

    fn embedding(&self, parameters: &Parameters) -> Result<B::Matrix, LlamaError> {
        let embedding = parameters.weight(None, Role::Embedding);
        let usage = parameters.usage(embedding, self.config);
        let view = self.checkpoint.tensor(embedding)?;
        self.engine.matrix(&view, usage, None, &B::Input::default())
    }

    fn head(&self, parameters: &Parameters) -> Result<Option<B::Matrix>, LlamaError> {
        let Some(head) = parameters.head(self.config) else {
            return Ok(None);
        };
        let of = parameters.weight(None, Role::Head);
        let view = self.weight(head, of)?;
        let (format, as_it_is) = (of.formats(self.config).0, B::Input::default());
        let matrix = (self.engine).matrix(&view, Usage::Product, format.as_ref(), &as_it_is);
        matrix.map(Some)
    }

    fn vector(&self, parameter: &Parameter) -> Result<B::Vector, LlamaError> {
        self.engine.vector(&parameter.name, self.values(parameter)?)
    }

    fn linear(
        &self,
        weight: &Parameter,
        bias: Option<&Parameter>,
    ) -> Result<Linear<B>, LlamaError> {
        let (weights, _) = weight.formats(self.config);
        let (engine, weights) = (self.engine, weights.as_ref());
        let input = self.input(weight)?;
        let whole = weight.fused.as_ref();
        let bias_is_apart = whole.is_some_and(|whole| whole.experts.is_some());
        let weight = self.weight(weight, weight)?;
        Ok(Linear {
            weight: engine.matrix(&weight, Usage::Product, weights, &input)?,
            bias: bias.map(|bias| self.vector(bias)).transpose()?,
            bias_is_apart,
            input,
        })
    }

    /// `Some` if their formats are equal and the engine accepts the stack.
    fn stack(
        &self,
        members: &[(&Parameter, Option<&Parameter>)],
        arrangement: Arrangement,
    ) -> Result<Option<Stacked<B>>, LlamaError> {
        let Some((weights, _)) = shared_formats(self.config, members) else {
            return Ok(None);
        };
        let mut inputs = members.iter().map(|(weight, _)| self.input(weight));
        let Some(input) = inputs.next().transpose()? else {
            return Ok(None);
        };
        for other in inputs {
            if other? != input {
                return Ok(None);
            }
        }
        let member = |(weight, bias): &(&Parameter, Option<&Parameter>)| {
            Ok(Member {
                weight: self.weight(weight, weight)?,
                bias: bias.map(|bias| self.values(bias)).transpose()?,
            })
        };
        let members: Vec<Member> = members
            .iter()
            .map(member)
            .collect::<Result<_, LlamaError>>()?;
        let (engine, weights) = (self.engine, weights.as_ref());
        let stack = engine.stack(members, arrangement, weights, &input)?;
        Ok(stack.map(|stack| (stack, input)))
    }

    fn cache_formats(&self, layer: usize) -> (Option<BlockFormat>, Option<BlockFormat>) {
        self.config.for_kv(layer)
    }
}

impl<B: Store> Loader<'_, B> {
    /// A stored weight, in the format of ggml that the configuration gives the weight `of`, if any.
    fn weight(&self, stored: &Parameter, of: &Parameter) -> Result<TensorView, LlamaError> {
        let view = self.checkpoint.tensor(stored)?;
        match of.weight_format(self.config)? {
            Some(MatrixFormat::Ggml(format)) => Ok(view.in_ggml(format, self.engine.dtype())?),
            Some(MatrixFormat::Block(_)) | None => Ok(view),
        }
    }

    /// The input of a projection: of the configuration, or else of the checkpoint.
    fn input(&self, weight: &Parameter) -> Result<B::Input, LlamaError> {
        let (weights, activations) = weight.formats(self.config);
        let (_, given) = weight.formats(self.given);
        if given.is_none()
            && self.given.stored_inputs
            && let Some(stored) = self.checkpoint.stored_input(weight)?
        {
            return self.engine.stored_input(weights.as_ref(), &stored);
        }
        Ok(self.engine.input(weights.as_ref(), activations.as_ref()))
    }

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
