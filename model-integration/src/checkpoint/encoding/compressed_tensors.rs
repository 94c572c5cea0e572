//! The `quantization_config` of compressed-tensors, as llm-compressor and AutoRound write it.

use mxlab_kernels::format::{ElementFormat, ScaleFormat, ScaleRule};

use super::super::CheckpointError;
use super::super::fields::Fields;
use super::super::packed::MX_BLOCK;
use super::scheme::{CodeKind, Factor, Group, InputScheme, Scheme, WeightScheme};
use super::targets::{Schemes, Target, cache_note};

const NVFP4_BLOCK: usize = 16;
const MOST_COLUMNS: usize = 1 << 24;

/// The suffixes of codes and scales.
const PACKED: [&str; 2] = ["_packed", "_scale"];
const PLAIN: [&str; 2] = ["", "_scale"];

/// What a format says about a group's weights.
struct Layout {
    name: &'static str,
    suffixes: [&'static str; 2],
    /// The element and the block, where the format has only one.
    fixed: Option<(ElementFormat, usize)>,
}

const fn layout(
    name: &'static str,
    suffixes: [&'static str; 2],
    fixed: Option<(ElementFormat, usize)>,
) -> Layout {
    Layout {
        name,
        suffixes,
        fixed,
    }
}

const LAYOUTS: [Layout; 8] = [
    layout(
        "mxfp4-pack-quantized",
        PACKED,
        Some((ElementFormat::FP4_E2M1, MX_BLOCK)),
    ),
    layout(
        "mxfp6-pack-quantized",
        PACKED,
        Some((ElementFormat::FP6_E2M3, MX_BLOCK)),
    ),
    layout(
        "mxfp8-quantized",
        PLAIN,
        Some((ElementFormat::FP8_E4M3, MX_BLOCK)),
    ),
    layout(
        "nvfp4-pack-quantized",
        PACKED,
        Some((ElementFormat::FP4_E2M1, NVFP4_BLOCK)),
    ),
    layout("float-quantized", PLAIN, None),
    layout("int-quantized", PLAIN, None),
    layout("naive-quantized", PLAIN, None),
    layout("pack-quantized", PACKED, None),
];

/// The schemes of a checkpoint.
///
/// # Errors
/// `Field` and `MissingField` for what is not supported.
pub(super) fn parse(config: Fields) -> Result<Schemes, CheckpointError> {
    for other in ["sparsity_config", "transform_config"] {
        let object = config.object(other)?;
        let says = |object: Fields| {
            let is_dense = object
                .text("format")
                .is_ok_and(|format| format == Some("dense"));
            !is_dense && object.names().next().is_some()
        };
        if object.is_some_and(says) {
            return Err(config.error(other, "nothing"));
        }
    }
    let Some(groups) = config.object("config_groups")? else {
        return Err(config.error("config_groups", "an object of groups"));
    };
    let (mut found, mut not_applied) = (Vec::new(), Vec::new());
    for name in groups.names() {
        let Some(group) = groups.object(name)? else {
            continue;
        };
        if group.get("output_activations").is_some() {
            return Err(group.error("output_activations", "null"));
        }
        let Some(weights) = group.object("weights")? else {
            // Attention, whose products' inputs are quantised.
            not_applied.push(format!("config_groups.{name} (it has no weights)"));
            continue;
        };
        let format = match group.text("format")? {
            Some(_) => group,
            None => config,
        };
        let weights = of_weights(format, weights)?;
        let inputs = group.object("input_activations")?;
        let scheme = Scheme {
            weights,
            inputs: inputs
                .map(|inputs| of_inputs(inputs, weights))
                .transpose()?,
        };
        found.push((targets(group, "targets")?, scheme));
    }
    if config.get("kv_cache_scheme").is_some() {
        not_applied.push(cache_note("kv_cache_scheme"));
    }
    Ok(Schemes {
        writer: "compressed-tensors",
        groups: found,
        ignored: targets(config, "ignore")?,
        not_applied,
    })
}

fn targets(fields: Fields, name: &str) -> Result<Vec<Target>, CheckpointError> {
    fields
        .texts(name)?
        .into_iter()
        .map(|text| {
            Target::parse(text).map_err(|reason| fields.error(name, format!("patterns ({reason})")))
        })
        .collect()
}

fn of_weights(format: Fields, weights: Fields) -> Result<WeightScheme, CheckpointError> {
    let known = || {
        let names = LAYOUTS.map(|layout| format!("\"{}\"", layout.name));
        format!("{}, the supported formats", names.join(", "))
    };
    let name = format.text("format")?;
    let Some(layout) = LAYOUTS.iter().find(|layout| name == Some(layout.name)) else {
        return Err(format.error("format", known()));
    };
    let kind = kind(weights)?;
    let group = group(weights)?;
    if let Some((element, block)) = layout.fixed {
        if weights.size("num_bits", 64)? != Some(element.bits() as usize) {
            return Err(weights.error("num_bits", element.bits().to_string()));
        }
        if weights.text("type")? != Some("float") {
            return Err(weights.error("type", "\"float\""));
        }
        if group != Group::Columns(block) {
            return Err(weights.error("group_size", block.to_string()));
        }
    }
    let is_symmetric = weights.flag("symmetric", true)?;
    let has_zero_points = !is_symmetric;
    if has_zero_points && matches!(kind, CodeKind::Float(_)) {
        return Err(weights.error("symmetric", "true"));
    }
    let kind = match (layout.fixed, kind) {
        (Some((element, _)), _) => CodeKind::Float(element),
        // A byte each, however few bits are used.
        (None, CodeKind::Int(_)) if layout.suffixes == PLAIN => CodeKind::Int(8),
        (None, kind) => kind,
    };
    let is_nvfp4 = group == Group::Columns(NVFP4_BLOCK) && layout.fixed.is_some();
    Ok(WeightScheme {
        kind,
        group,
        has_zero_points,
        suffixes: layout.suffixes,
        factor: is_nvfp4.then_some(("_global_scale", Factor::Divides)),
    })
}

/// The type of codes.
fn kind(arguments: Fields) -> Result<CodeKind, CheckpointError> {
    let bits = arguments.size("num_bits", 64)?.unwrap_or(8);
    match (arguments.text("type")?.unwrap_or("int"), bits) {
        ("int", 2..=8) => Ok(CodeKind::Int(bits as u32)),
        ("float", 8) => Ok(CodeKind::Float(ElementFormat::FP8_E4M3)),
        ("float", 6) => Ok(CodeKind::Float(ElementFormat::FP6_E2M3)),
        ("float", 4) => Ok(CodeKind::Float(ElementFormat::FP4_E2M1)),
        ("int", _) => Err(arguments.error("num_bits", "2 to 8")),
        ("float", _) => Err(arguments.error("num_bits", "4, 6 or 8")),
        _ => Err(arguments.error("type", "\"int\" or \"float\"")),
    }
}

/// The elements that share a scale: by `strategy`, or else by the fields that are there.
fn group(arguments: Fields) -> Result<Group, CheckpointError> {
    let size = match arguments
        .get("group_size")
        .and_then(serde_json::Value::as_i64)
    {
        Some(-1) => None,
        _ => arguments.size("group_size", MOST_COLUMNS)?,
    };
    let columns = || {
        let size = size.map(Group::Columns);
        size.ok_or_else(|| arguments.error("group_size", "the elements of a group"))
    };
    match (arguments.text("strategy")?, size) {
        (Some("tensor"), _) => Ok(Group::Tensor),
        (Some("channel" | "token"), _) => Ok(Group::Row),
        (Some("group" | "tensor_group"), _) | (None, Some(_)) => columns(),
        (Some("block"), _) => block(arguments).map(Group::Block),
        (None, None) if arguments.get("group_size").is_some() => Ok(Group::Row),
        (None, None) => Ok(Group::Tensor),
        _ => Err(arguments.error(
            "strategy",
            "\"tensor\", \"channel\", \"token\", \"group\", \"tensor_group\" or \"block\"",
        )),
    }
}

/// Rows and columns of a block: a list, or as early files have them, "128x128".
fn block(arguments: Fields) -> Result<[usize; 2], CheckpointError> {
    let name = "block_structure";
    let Some(serde_json::Value::String(text)) = arguments.get(name) else {
        let sizes = arguments.sizes(name, 2, MOST_COLUMNS)?;
        return Ok([sizes[0], sizes[1]]);
    };
    let sizes = text.split('x').map(|size| size.parse().ok());
    let sizes = sizes.map(|size| size.filter(|size| (1..=MOST_COLUMNS).contains(size)));
    let sizes: Option<Vec<usize>> = sizes.collect();
    match sizes.as_deref() {
        Some(&[rows, columns]) => Ok([rows, columns]),
        _ => Err(arguments.error(name, "rows and columns, such as [128, 128]")),
    }
}

fn of_inputs(inputs: Fields, weights: WeightScheme) -> Result<InputScheme, CheckpointError> {
    let (kind, group) = (kind(inputs)?, group(inputs)?);
    let is_float = matches!(kind, CodeKind::Float(_));
    let is_mx = inputs
        .get("scale_dtype")
        .is_some_and(|dtype| dtype == "torch.uint8")
        // Files of MXFP4 from before there was a type of scales.
        || kind == CodeKind::Float(ElementFormat::FP4_E2M1) && group == Group::Columns(MX_BLOCK);
    let is_nvfp4 = !is_mx && kind == CodeKind::Float(ElementFormat::FP4_E2M1);
    let dynamic = inputs.get("dynamic");
    let is_dynamic = dynamic.is_some_and(|dynamic| *dynamic == true);
    let is_local = dynamic.is_some_and(|dynamic| dynamic == "local");
    let is_symmetric = inputs.flag("symmetric", true)?;
    if !is_dynamic && !is_local && !is_symmetric {
        return Err(inputs.error("symmetric", "true, as the scale of inputs is stored"));
    }
    if is_float && !is_symmetric {
        return Err(inputs.error("symmetric", "true, as the values are floats"));
    }
    if is_nvfp4 && weights.group != Group::Columns(NVFP4_BLOCK) {
        return Err(inputs.error("group_size", "that of weights in nvfp4-pack-quantized"));
    }
    if is_dynamic && group == Group::Tensor {
        // The values would depend on the batch.
        return Err(inputs.error(
            "strategy",
            "\"token\" or \"group\", as the scale is dynamic",
        ));
    }
    Ok(InputScheme {
        kind,
        group,
        scale: match (is_mx, is_nvfp4) {
            (true, _) => Some(ScaleFormat::E8M0),
            (_, true) => Some(ScaleFormat::UE4M3),
            _ => None,
        },
        // amax is rounded to the mantissa of the element; for E4M3, to that of E2M1, so that all
        // above 448 takes the next exponent.
        rule: is_mx.then_some(match kind == CodeKind::Float(ElementFormat::FP8_E4M3) {
            true => ScaleRule::Rceil,
            false => ScaleRule::Even,
        }),
        is_symmetric,
        stored: match (is_nvfp4, is_dynamic) {
            (_, true) => None,
            (true, false) => Some(("input_global_scale", Factor::Divides)),
            (false, false) => Some(("input_scale", Factor::Multiplies)),
        },
    })
}
