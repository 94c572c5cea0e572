//! The `quantization_config` of AMD's Quark.

use mxlab_kernels::format::{ElementFormat, ScaleFormat, ScaleRule};

use super::super::CheckpointError;
use super::super::fields::Fields;
use super::scheme::{CodeKind, Factor, Group, InputScheme, Scheme, WeightScheme};
use super::targets::{Schemes, Target, cache_note};

/// Element types by their names.
const KINDS: [(&str, CodeKind); 5] = [
    ("fp4", CodeKind::Float(ElementFormat::FP4_E2M1)),
    ("fp6_e2m3", CodeKind::Float(ElementFormat::FP6_E2M3)),
    ("fp6_e3m2", CodeKind::Float(ElementFormat::FP6_E3M2)),
    ("fp8_e4m3", CodeKind::Float(ElementFormat::FP8_E4M3)),
    ("int8", CodeKind::Int(8)),
];

/// The schemes of a checkpoint.
///
/// # Errors
/// `Field` and `MissingField`.
pub(super) fn parse(config: Fields) -> Result<Schemes, CheckpointError> {
    if let Some(export) = config.object("export")?
        && export
            .text("weight_format")?
            .is_some_and(|format| format != "real_quantized")
    {
        return Err(export.error("weight_format", "\"real_quantized\""));
    }
    let glob = |name: &str, text: &str| {
        let target = Target::glob(text);
        target.map_err(|reason| config.error(name, format!("patterns ({reason})")))
    };
    let rotates = |algorithms: &serde_json::Value| algorithms.to_string().contains("rotation");
    if config.get("algo_config").is_some_and(rotates) {
        return Err(config.error("algo_config", "no rotation of inputs"));
    }
    let (mut groups, mut ignored, mut not_applied) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(layers) = config.object("layer_quant_config")? {
        for name in layers.names() {
            let Some(layer) = layers.object(name)? else {
                continue;
            };
            let target = glob("layer_quant_config", name)?;
            if layer.get("output_tensors").is_some() {
                not_applied.push(cache_note(&format!(
                    "layer_quant_config.{name}.output_tensors"
                )));
            }
            match layer.get("weight") {
                None => ignored.push(target),
                Some(_) => groups.push((vec![target], scheme(layer)?)),
            }
        }
    }
    if let Some(types) = config.object("layer_type_quant_config")?
        && types.names().next().is_some()
    {
        return Err(config.error("layer_type_quant_config", "nothing"));
    }
    let Some(global) = config.object("global_quant_config")? else {
        return Err(config.error("global_quant_config", "an object"));
    };
    if global.get("weight").is_some() {
        let linear = Target::Class("Linear".to_owned());
        groups.push((vec![linear], scheme(global)?));
    }
    let excluded = config.texts("exclude")?.into_iter();
    let excluded = excluded.map(|text| match text.starts_with("re:") {
        true => Target::parse(text).map_err(|reason| config.error("exclude", reason)),
        false => glob("exclude", text),
    });
    for target in excluded {
        ignored.push(target?);
    }
    let cache = config.object("kv_cache_quant_config")?;
    if cache.is_some_and(|cache| cache.names().next().is_some()) {
        not_applied.push(cache_note("kv_cache_quant_config"));
    }
    Ok(Schemes {
        writer: "Quark",
        groups,
        ignored,
        not_applied,
    })
}

fn scheme(module: Fields) -> Result<Scheme, CheckpointError> {
    if module.get("bias").is_some() {
        return Err(module.error("bias", "null"));
    }
    let Some(weight) = module.object("weight")? else {
        return Err(module.error("weight", "an object"));
    };
    let inputs = module.object("input_tensors")?;
    Ok(Scheme {
        weights: WeightScheme {
            kind: kind(weight)?,
            group: group(weight)?,
            has_zero_points: false,
            suffixes: ["", "_scale"],
            factor: None,
        },
        inputs: inputs.map(input).transpose()?,
    })
}

fn kind(tensor: Fields) -> Result<CodeKind, CheckpointError> {
    if tensor.get("symmetric").is_some_and(|value| *value == false) {
        return Err(tensor.error("symmetric", "true"));
    }
    let rounding = tensor.text("round_method")?;
    if rounding.is_some_and(|rounding| rounding != "half_even") {
        return Err(tensor.error("round_method", "\"half_even\""));
    }
    let name = tensor.text("dtype")?;
    let found = KINDS.iter().find(|(known, _)| name == Some(known));
    found.map(|(_, kind)| *kind).ok_or_else(|| {
        let known = KINDS.map(|(name, _)| format!("\"{name}\""));
        tensor.error(
            "dtype",
            format!("{}, the supported types", known.join(", ")),
        )
    })
}

fn group(tensor: Fields) -> Result<Group, CheckpointError> {
    match tensor.text("qscheme")? {
        Some("per_tensor") => Ok(Group::Tensor),
        Some("per_channel" | "per_token") => Ok(Group::Row),
        Some("per_group") => tensor
            .required_size("group_size", 1 << 20)
            .map(Group::Columns),
        _ => Err(tensor.error(
            "qscheme",
            "\"per_tensor\", \"per_channel\", \"per_token\" or \"per_group\"",
        )),
    }
}

fn input(tensor: Fields) -> Result<InputScheme, CheckpointError> {
    let is_power = tensor.text("scale_format")? == Some("e8m0");
    let rule = match tensor.text("scale_calculation_mode")? {
        None | Some("even") => ScaleRule::Even,
        Some("floor") => ScaleRule::Floor,
        Some("ceil") => ScaleRule::Ceil,
        Some(_) => {
            return Err(tensor.error("scale_calculation_mode", "\"even\", \"floor\" or \"ceil\""));
        }
    };
    let (kind, group) = (kind(tensor)?, group(tensor)?);
    let is_dynamic = tensor.flag("is_dynamic", false)?;
    Ok(InputScheme {
        kind,
        // A dynamic scale of the batch would make values depend on the batch.
        group: if is_dynamic && group == Group::Tensor {
            Group::Row
        } else {
            group
        },
        scale: is_power.then_some(ScaleFormat::E8M0),
        rule: is_power.then_some(rule),
        is_symmetric: true,
        stored: (!is_dynamic).then_some(("input_scale", Factor::Multiplies)),
    })
}
