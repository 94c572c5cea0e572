//! A parameter on its way into a new file.

use anyhow::{Result, bail};
use mxlab_kernels::format::{BlockFormat, FloatType, GgmlFormat};
use serde_json::{Map, Value};

use super::Target;
use crate::calibrate::store::Store;
use crate::checkpoint::encoding::{INPUT_KEY, StoredInput};
use crate::checkpoint::{Checkpoint, TensorView};
use crate::config::QuantConfig;
use crate::description::parameters::Parameter;
use crate::model::load::Rotating;

/// Rows of a tensor to write.
pub struct Source<'a> {
    pub parameter: &'a Parameter,
    /// Type of its elements in the checkpoint; `None` if they are codes.
    pub stored: Option<FloatType>,
    /// Format to which its values are quantised first.
    pub format: Option<BlockFormat>,
    /// Format of ggml to which they are quantised, or in which they stay.
    pub ggml: Option<GgmlFormat>,
    /// How the input is quantised.
    pub input: Option<StoredInput>,
    /// How rows, and inputs, are rotated.
    pub rotating: Option<Rotating>,
}

/// Codes that calibration chose.
pub struct Calibrated<'a> {
    /// Those of projections.
    pub layers: &'a Store,
    /// How they were chosen, for the file's metadata.
    pub run: Value,
}

/// An input that is not quantised, in metadata.
const NO_INPUT: &str = "null";

impl Source<'_> {
    /// The stored tensor, its rows rotated if they are to be.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn tensor(&self, checkpoint: &Checkpoint) -> Result<TensorView> {
        let view = checkpoint.tensor(self.parameter)?;
        match &self.rotating {
            Some(rotating) => Ok(rotating.apply(view, checkpoint.config().dtype)?),
            None => Ok(view),
        }
    }

    /// Checks that the target can say that its rows are rotated.
    ///
    /// # Errors
    /// If it cannot.
    pub fn check_rotation(&self, target: Target) -> Result<()> {
        let Some(Rotating { rotation, .. }) = self.rotating else {
            return Ok(());
        };
        let name = &self.parameter.name;
        if target != Target::Mxlab {
            bail!(
                "`{name}` and its input are rotated by {rotation} when the model runs, which {} \
                 does not say; use --to mxlab",
                target.name(),
            );
        }
        if self.format.is_none() {
            bail!(
                "`{name}` is rotated by {rotation} and not quantised, but only codes say that they \
                 are rotated; give every projection a format of weights, or leave out the rotation"
            );
        }
        Ok(())
    }
}

/// How the input of a projection is quantised: by the configuration, or else by the checkpoint.
///
/// # Errors
/// As [`Checkpoint::stored_input`].
pub fn input(
    checkpoint: &Checkpoint,
    given: &QuantConfig,
    parameter: &Parameter,
) -> Result<Option<StoredInput>> {
    if parameter.projection().is_none() {
        return Ok(None);
    }
    Ok(match parameter.formats(given).1 {
        Some(format) => Some(StoredInput::Block(format, None)),
        None if given.stored_inputs => checkpoint.stored_input(parameter)?,
        None => None,
    })
}

/// Adds the formats of the inputs of packed matrices to metadata, in our own layout: one for all
/// that is not named, and those of the others.
///
/// # Errors
/// None: formats are plain data.
pub fn say_inputs<'a>(
    matrices: impl IntoIterator<Item = (&'a str, Option<StoredInput>)>,
    metadata: &mut Map<String, Value>,
) -> Result<()> {
    let inputs = matrices.into_iter().map(|(name, input)| {
        let input = match input {
            Some(StoredInput::Block(format, None)) => Some(format),
            _ => None,
        };
        Ok((name, serde_json::to_string(&input)?))
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let first = inputs
        .iter()
        .map(|(_, input)| input)
        .find(|input| *input != NO_INPUT);
    let Some(first) = first.cloned() else {
        return Ok(());
    };
    for (name, input) in inputs.iter().filter(|(_, input)| *input != first) {
        metadata.insert(format!("{INPUT_KEY}.{name}"), input.as_str().into());
    }
    metadata.insert(INPUT_KEY.to_owned(), first.into());
    Ok(())
}
