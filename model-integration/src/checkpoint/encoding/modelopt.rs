//! The quantisation that NVIDIA's ModelOpt exports, in `config.json` or `hf_quant_config.json`.

use mxlab_kernels::format::{ElementFormat, ScaleFormat, ScaleRule};

use super::super::CheckpointError;
use super::super::fields::Fields;
use super::scheme::{CodeKind, Factor, Group, InputScheme, Scheme, WeightScheme};
use super::targets::{Schemes, Target, cache_note};

const FP4: CodeKind = CodeKind::Float(ElementFormat::FP4_E2M1);
const FP8: CodeKind = CodeKind::Float(ElementFormat::FP8_E4M3);

/// Rows and columns of a block of FP8 weights.
const FP8_BLOCK: [usize; 2] = [128, 128];

/// The schemes of a checkpoint; `config` is `quantization_config`, or all of the other file.
///
/// # Errors
/// `Field` and `MissingField`.
pub(super) fn parse(config: Fields) -> Result<Schemes, CheckpointError> {
    let config = config.object("quantization")?.unwrap_or(config);
    let groups = match config.text("quant_algo")? {
        Some("MIXED_PRECISION") => {
            let Some(layers) = config.object("quantized_layers")? else {
                return Err(config.error("quantized_layers", "an object of modules"));
            };
            let of_layer = |name| {
                let layer = layers.object(name)?.unwrap_or(layers);
                Ok((vec![Target::Name(str::to_owned(name))], scheme(layer)?))
            };
            layers
                .names()
                .map(of_layer)
                .collect::<Result<_, CheckpointError>>()?
        }
        _ => vec![(vec![Target::Class("Linear".to_owned())], scheme(config)?)],
    };
    let ignored = match config.get("exclude_modules") {
        Some(_) => "exclude_modules",
        None => "ignore",
    };
    let texts = config.texts(ignored)?.into_iter();
    let ignored = texts.map(|text| {
        Target::glob(text).map_err(|reason| config.error(ignored, format!("patterns ({reason})")))
    });
    let ignored = ignored.collect::<Result<_, _>>()?;
    let cache = ["kv_cache_quant_algo", "kv_cache_scheme"];
    let cache = cache.into_iter().filter(|name| config.get(name).is_some());
    Ok(Schemes {
        writer: "ModelOpt",
        groups,
        ignored,
        not_applied: cache.map(cache_note).collect(),
    })
}

/// The scheme of an algorithm.
fn scheme(config: Fields) -> Result<Scheme, CheckpointError> {
    let size = |default: usize| -> Result<Group, CheckpointError> {
        let size = config.size("group_size", 1 << 20)?;
        Ok(Group::Columns(size.unwrap_or(default)))
    };
    let weights = |kind, group, factor| WeightScheme {
        kind,
        group,
        has_zero_points: false,
        suffixes: ["", "_scale"],
        factor,
    };
    let input = |kind, group, scale, stored: Option<&'static str>| {
        let is_power = scale == Some(ScaleFormat::E8M0);
        Some(InputScheme {
            kind,
            group,
            scale,
            rule: is_power.then_some(ScaleRule::Rceil),
            is_symmetric: true,
            stored: stored.map(|name| (name, Factor::Multiplies)),
        })
    };
    let second = Some(("_scale_2", Factor::Multiplies));
    let of_tensor = Some("input_scale");
    let (weights, inputs) = match config.text("quant_algo")? {
        Some("NVFP4") => {
            let group = size(16)?;
            let scale = Some(ScaleFormat::UE4M3);
            (
                weights(FP4, group, second),
                input(FP4, group, scale, of_tensor),
            )
        }
        Some("W4A16_NVFP4") => (weights(FP4, size(16)?, second), None),
        // Version 0.47 writes it in lower case.
        Some("MXFP4" | "mxfp4") => {
            let group = size(32)?;
            let scale = Some(ScaleFormat::E8M0);
            (weights(FP4, group, None), input(FP4, group, scale, None))
        }
        Some("MXFP8") => {
            let group = size(32)?;
            let scale = Some(ScaleFormat::E8M0);
            (weights(FP8, group, None), input(FP8, group, scale, None))
        }
        Some("FP8") => (
            weights(FP8, Group::Tensor, None),
            input(FP8, Group::Tensor, None, of_tensor),
        ),
        Some("FP8_PER_CHANNEL_PER_TOKEN") => (
            weights(FP8, Group::Row, None),
            input(FP8, Group::Row, None, None),
        ),
        Some("FP8_PB_WO") => (weights(FP8, Group::Block(FP8_BLOCK), None), None),
        Some("W8A16") => (weights(CodeKind::Int(8), Group::Row, None), None),
        _ => {
            let expected = "\"NVFP4\", \"W4A16_NVFP4\", \"MXFP4\", \"MXFP8\", \"FP8\", \
                \"FP8_PER_CHANNEL_PER_TOKEN\", \"FP8_PB_WO\", \"W8A16\" or \"MIXED_PRECISION\", \
                the supported algorithms of ModelOpt";
            return Err(config.error("quant_algo", expected));
        }
    };
    Ok(Scheme { weights, inputs })
}
