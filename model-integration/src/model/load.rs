//! Loads a model from a checkpoint and a configuration.

use mxlab_kernels::format::{
    BlockFormat, FloatType, FormatError, GgmlFormat, Hadamard, MatrixFormat, Rotation,
};

use super::assemble::{Source, Stacked, assemble};
use super::ops::narrow;
use super::rotated::rotated;
use super::stored_formats::with_stored_formats;
use super::{Backend, Linear, Llama, LlamaError, Rope};
use crate::checkpoint::encoding::StoredInput;
use crate::checkpoint::{Checkpoint, TensorView};
use crate::config::QuantConfig;
use crate::description::architecture::{Factor, Source as Constant};
use crate::description::parameters::{Parameter, Parameters, Role, Usage};

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

    /// The block format as which products take weights in a format of ggml; `None` if they take
    /// their values.
    fn takes_ggml(&self, _weights: GgmlFormat) -> Option<BlockFormat> {
        None
    }

    /// The input of a projection that the checkpoint quantises, beside weights in `weights`.
    ///
    /// # Errors
    /// If this engine does not quantise so.
    fn stored_input(
        &self,
        weights: Option<&BlockFormat>,
        stored: &StoredInput,
    ) -> Result<Self::Input, LlamaError>;

    /// The input of a projection of `cols` columns, rotated before it is quantised.
    ///
    /// # Errors
    /// If this engine does not rotate so, or rows of this length.
    fn rotated(
        &self,
        input: Self::Input,
        rotation: &Rotation,
        cols: usize,
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
    let layers = checkpoint.config().num_hidden_layers;
    load_layers(engine, checkpoint, config, positions, layers)
}

/// [`load`] for the first `layers` layers alone.
///
/// # Errors
/// As [`load`].
pub fn load_layers<B: Store>(
    engine: &B,
    checkpoint: &Checkpoint,
    config: &QuantConfig,
    positions: usize,
    layers: usize,
) -> Result<Llama<B>, LlamaError> {
    let loader = Loader {
        engine,
        checkpoint,
        given: config,
        config: &with_stored_formats(checkpoint, config, |format| engine.takes(format))?,
    };
    let mut model = checkpoint.config().clone();
    model.num_hidden_layers = layers;
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
        let input = match usage {
            Usage::LookupAndProduct => self.head_input(parameters)?,
            Usage::Lookup | Usage::Product => B::Input::default(),
        };
        self.engine.matrix(&view, usage, None, &input)
    }

    fn head(&self, parameters: &Parameters) -> Result<Option<B::Matrix>, LlamaError> {
        let Some(head) = parameters.head(self.config) else {
            return Ok(None);
        };
        let of = parameters.weight(None, Role::Head);
        let view = self.weight(head, of)?;
        let (format, input) = (of.formats(self.config).0, self.head_input(parameters)?);
        let matrix = (self.engine).matrix(&view, Usage::Product, format.as_ref(), &input);
        matrix.map(Some)
    }

    fn head_input(&self, parameters: &Parameters) -> Result<B::Input, LlamaError> {
        let embedding = || parameters.weight(None, Role::Embedding);
        let stored = parameters.head(self.config).unwrap_or_else(embedding);
        self.input(stored, parameters.weight(None, Role::Head))
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
        let input = self.input(weight, weight)?;
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
        let mut inputs = members.iter().map(|(weight, _)| self.input(weight, weight));
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

    fn kv_first(&self) -> usize {
        self.config.kv.first
    }

    fn key_recent(&self) -> usize {
        self.config.kv.key_recent
    }

    fn key_rotation(&self, head_dim: usize) -> Result<Option<Hadamard>, LlamaError> {
        Ok(self.config.kv.rotation_of_keys(head_dim)?)
    }
}

impl<B: Store> Loader<'_, B> {
    /// A stored weight, rotated if the configuration says so, and in the format of ggml that the
    /// configuration gives the weight `of`, if any.
    fn weight(&self, stored: &Parameter, of: &Parameter) -> Result<TensorView, LlamaError> {
        let view = self.checkpoint.tensor(stored)?;
        let view = match Rotating::new(self.checkpoint, self.given, stored)? {
            Some(rotating) => rotating.apply(view, self.engine.dtype())?,
            None => view,
        };
        match of.weight_format(self.config)? {
            Some(MatrixFormat::Ggml(format)) => Ok(view.in_ggml(format, self.engine.dtype())?),
            Some(MatrixFormat::Block(_)) | None => Ok(view),
        }
    }

    fn input(&self, stored: &Parameter, of: &Parameter) -> Result<B::Input, LlamaError> {
        let configs = [self.given, self.config];
        input(self.engine, self.checkpoint, configs, stored, of)
    }

    fn values(&self, parameter: &Parameter) -> Result<Vec<f32>, LlamaError> {
        let view = self.checkpoint.tensor(parameter)?;
        let mut values = vec![0.0; view.len()];
        view.read_f32(0..view.len(), &mut values);
        narrow(&mut values, self.engine.dtype());
        Ok(values)
    }
}

/// The input of the weight `of`, which the checkpoint has as `stored`: of the configuration as
/// given, or else of the checkpoint. The second configuration has the stored formats.
///
/// # Errors
/// If the engine does not quantise as the checkpoint does.
pub fn input<B: Store>(
    engine: &B,
    checkpoint: &Checkpoint,
    [given, complete]: [&QuantConfig; 2],
    stored: &Parameter,
    of: &Parameter,
) -> Result<B::Input, LlamaError> {
    let rotating = Rotating::new(checkpoint, given, stored)?;
    let ggml = match of.weight_format(complete)? {
        Some(format) => format.ggml(),
        // Rotated, they are values.
        None if rotating.is_some() => None,
        None => checkpoint.view(stored)?.ggml(),
    };
    let (weights, _) = of.formats(complete);
    let weights = weights.or(ggml.and_then(|format| engine.takes_ggml(format)));
    let input = input_format(engine, checkpoint, [given, complete], stored, of, weights)?;
    match (rotating, of.matrix()) {
        (Some(rotating), Some([_, cols])) => {
            let rotated = engine.rotated(input, &rotating.rotation, cols);
            rotated.map_err(|error| of_tensor(error, &of.name))
        }
        _ => Ok(input),
    }
}

/// The error with the weight whose rows have no such rotation.
fn of_tensor(error: LlamaError, tensor: &str) -> LlamaError {
    match error {
        LlamaError::Format(error) => LlamaError::RotatedRows {
            tensor: tensor.to_owned(),
            error,
        },
        other => other,
    }
}

/// The input of the weight `of` before it is rotated.
fn input_format<B: Store>(
    engine: &B,
    checkpoint: &Checkpoint,
    [given, complete]: [&QuantConfig; 2],
    stored: &Parameter,
    of: &Parameter,
    weights: Option<BlockFormat>,
) -> Result<B::Input, LlamaError> {
    let (_, activations) = of.formats(complete);
    // What a checkpoint says of an embedding is not about its product.
    if of.formats(given).1.is_none()
        && given.stored_inputs
        && stored.role != Role::Embedding
        && let Some(input) = checkpoint.stored_input(stored)?
    {
        return engine.stored_input(weights.as_ref(), &input);
    }
    Ok(engine.input(weights.as_ref(), activations.as_ref()))
}

/// The rotation of a projection's input and weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotating {
    /// The rotation.
    pub rotation: Rotation,
    /// Whether the stored weight has it.
    is_stored: bool,
}

impl Rotating {
    /// Of the checkpoint, or else of the configuration; `None` if there is none.
    ///
    /// # Errors
    /// If both have one, and they differ; if stored codes would have to be rotated.
    pub fn new(
        checkpoint: &Checkpoint,
        given: &QuantConfig,
        weight: &Parameter,
    ) -> Result<Option<Self>, LlamaError> {
        let Some((_, projection)) = weight.projection() else {
            return Ok(None);
        };
        let stored = checkpoint.stored_rotation(weight)?;
        let tensor = || weight.name.clone();
        match (stored, given.rotation_of(projection)) {
            (Some(stored), Some(given)) if stored != given => Err(LlamaError::OtherRotation {
                tensor: tensor(),
                stored,
                given,
            }),
            (None, Some(_))
                if checkpoint.view(weight)?.format().is_some()
                    && weight.weight_format(given)?.is_none() =>
            {
                Err(LlamaError::RotatedCodes { tensor: tensor() })
            }
            (stored, given) => Ok(stored.or(given).map(|rotation| Self {
                rotation,
                is_stored: stored.is_some(),
            })),
        }
    }

    /// The rotated weight; the stored one if that is rotated.
    ///
    /// # Errors
    /// If rows of this length have no such rotation.
    pub fn apply(&self, view: TensorView, dtype: FloatType) -> Result<TensorView, FormatError> {
        match self.is_stored {
            true => Ok(view),
            false => rotated(&view, &self.rotation, dtype),
        }
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
