//! FP8 with a scale for each block of weights, as DeepSeek publishes its models, or for each
//! tensor.

use mxlab_kernels::format::{ElementFormat, ScaleFormat, ScaleRule};

use super::super::CheckpointError;
use super::super::fields::Fields;
use super::scheme::{CodeKind, Factor, Group, InputScheme, Scheme, WeightScheme};
use super::targets::{Schemes, Target};

/// The scheme of all linear modules.
///
/// # Errors
/// `Field` and `MissingField`.
pub(super) fn parse(config: Fields) -> Result<Schemes, CheckpointError> {
    if config.text("fmt")?.is_some_and(|format| format != "e4m3") {
        return Err(config.error("fmt", "\"e4m3\""));
    }
    let kind = CodeKind::Float(ElementFormat::FP8_E4M3);
    let block = match config.get("weight_block_size") {
        None => None,
        Some(_) => {
            let sizes = config.sizes("weight_block_size", 2, 1 << 24)?;
            Some([sizes[0], sizes[1]])
        }
    };
    let is_dynamic = match config.text("activation_scheme")? {
        None | Some("dynamic") => true,
        Some("static") => false,
        Some(_) => return Err(config.error("activation_scheme", "\"dynamic\" or \"static\"")),
    };
    let weights = WeightScheme {
        kind,
        group: block.map_or(Group::Tensor, Group::Block),
        has_zero_points: false,
        // Despite its name the value is what codes are multiplied by.
        suffixes: [
            "",
            if block.is_some() {
                "_scale_inv"
            } else {
                "_scale"
            },
        ],
        factor: None,
    };
    // Scales of inputs are rounded up to powers of two.
    let is_power = match config.text("scale_fmt")? {
        None => false,
        Some("ue8m0") => true,
        Some(_) => return Err(config.error("scale_fmt", "\"ue8m0\" or null")),
    };
    let inputs = InputScheme {
        kind,
        group: block.map_or(Group::Row, |[_, width]| Group::Columns(width)),
        scale: is_power.then_some(ScaleFormat::E8M0),
        rule: is_power.then_some(ScaleRule::Rceil),
        is_symmetric: true,
        stored: (!is_dynamic).then_some(("input_scale", Factor::Multiplies)),
    };
    let scheme = Scheme {
        weights,
        inputs: Some(inputs),
    };
    Ok(Schemes {
        writer: "fp8",
        groups: vec![(vec![Target::Class("Linear".to_owned())], scheme)],
        ignored: Vec::new(),
        not_applied: Vec::new(),
    })
}
