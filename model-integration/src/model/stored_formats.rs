//! The formats that a checkpoint stores weights in, as part of a configuration and in words.

use mxlab_kernels::format::BlockFormat;

use super::LlamaError;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::encoding::StoredInput;
use crate::config::{LayerSet, Override, QuantConfig};
use crate::description::parameters::Role;

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
    let head = parameters.weight(None, Role::Head);
    if config.head.is_none() && head.tied_to.is_none() {
        let stored = checkpoint.view(head)?.format().filter(&takes);
        complete.head = stored.map(Into::into);
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
        let rotation = checkpoint.stored_rotation(parameter)?;
        let rotated = rotation.map(|rotation| format!(" rotated by {rotation}"));
        let name = view.format().as_ref().map(stored_name);
        let name = name.map(|name| name + rotated.as_deref().unwrap_or_default());
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
