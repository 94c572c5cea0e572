//! The `quantization_config` of AutoRound's own format: layouts of other packages, and settings of
//! its own for all layers and for some.

use mxlab_kernels::format::{ElementFormat, ScaleFormat, ScaleRule};

use super::super::CheckpointError;
use super::super::fields::Fields;
use super::super::packed::MX_BLOCK;
use super::scheme::{CodeKind, Factor, Group, InputScheme, Scheme, WeightScheme};
use super::targets::{Schemes, Target, cache_note};
use super::{Encoding, by_columns};

const NVFP4_BLOCK: usize = 16;
/// Bits of operands that are not quantised.
const FLOAT_BITS: usize = 16;
const MOST_BITS: usize = 32;
const FP4: ElementFormat = ElementFormat::FP4_E2M1;
const FP8: ElementFormat = ElementFormat::FP8_E4M3;
const ROTATIONS: [&str; 3] = ["rotation_config", "hadamard_config", "spinquant_config"];

/// The encoding of a checkpoint.
///
/// # Errors
/// `Field` and `MissingField` for what is not supported.
pub(super) fn parse(config: Fields) -> Result<Encoding, CheckpointError> {
    for name in ROTATIONS {
        if config.get(name).is_some() {
            return Err(config.error(name, "nothing, as inputs would have to be rotated"));
        }
    }
    match config.text("packing_format")? {
        Some("auto_round:llm_compressor") => by_rows(config).map(Encoding::ByRows),
        // Zero points less one, and as they are.
        Some("auto_round:auto_gptq") => integers(config, "GPTQ", 1),
        Some("auto_round" | "auto_round:gptqmodel") => integers(config, "GPTQ", 0),
        Some("auto_round:auto_awq") => integers(config, "AWQ", 0),
        _ => {
            let expected = "\"auto_round:llm_compressor\", \"auto_round:auto_gptq\", \
                \"auto_round\", \"auto_round:gptqmodel\" or \"auto_round:auto_awq\", the \
                supported layouts of AutoRound";
            Err(config.error("packing_format", expected))
        }
    }
}

/// Integers of one size by columns; layers of 16 bits are floats.
fn integers(config: Fields, writer: &'static str, add: u32) -> Result<Encoding, CheckpointError> {
    let all = Settings { own: None, config };
    if all.bits("act_bits")? < FLOAT_BITS {
        return Err(all.error("act_bits", "16, as the weights are integers by columns"));
    }
    let bits = all.bits("bits")?;
    let width = config.get("group_size");
    for (_, own) in layers(config)? {
        let of_layer = Settings {
            own: Some(own),
            config,
        };
        let is_other = own.get("group_size").is_some_and(|own| Some(own) != width);
        let of_layer = of_layer.bits("bits")?;
        if of_layer < FLOAT_BITS && (of_layer != bits || is_other) {
            return Err(config.error(
                "extra_config",
                "layers of the same bits and groups, or of 16",
            ));
        }
    }
    by_columns::auto_round(config, writer, add).map(Encoding::ByColumns)
}

/// MXFP and NVFP4 in the layouts of compressed-tensors.
fn by_rows(config: Fields) -> Result<Schemes, CheckpointError> {
    let linear = Target::Class("Linear".to_owned());
    let mut groups = vec![(vec![linear], scheme(Settings { own: None, config })?)];
    let mut ignored = Vec::new();
    for (name, own) in layers(config)? {
        // Whole names, or patterns that match anywhere in one.
        let is_of_names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
        let is_whole = name == "lm_head" || name.contains('.') && name.chars().all(is_of_names);
        let target = match is_whole {
            true => Ok(Target::Name(name.to_owned())),
            false => Target::parse(&format!("re:.*(?:{name})")),
        };
        let target = target
            .map_err(|reason| config.error("extra_config", format!("patterns ({reason})")))?;
        let settings = Settings {
            own: Some(own),
            config,
        };
        match settings.bits("bits")? < FLOAT_BITS {
            true => groups.push((vec![target], scheme(settings)?)),
            false => ignored.push(target),
        }
    }
    let cache = ["static_kv_dtype", "static_attention_dtype"];
    let cache = cache.into_iter().filter(|name| config.get(name).is_some());
    Ok(Schemes {
        writer: "AutoRound",
        groups,
        ignored,
        not_applied: cache.map(cache_note).collect(),
    })
}

/// The layers that have settings of their own.
fn layers<'a>(config: Fields<'a>) -> Result<Vec<(&'a str, Fields<'a>)>, CheckpointError> {
    let Some(extra) = config.object("extra_config")? else {
        return Ok(Vec::new());
    };
    let mut layers = Vec::new();
    for name in extra.names() {
        if let Some(own) = extra.object(name)? {
            layers.push((name, own));
        }
    }
    Ok(layers)
}

/// Settings of a layer: its own, else those of all.
#[derive(Clone, Copy)]
struct Settings<'a> {
    own: Option<Fields<'a>>,
    config: Fields<'a>,
}

impl<'a> Settings<'a> {
    /// Where a setting is.
    fn at(&self, name: &str) -> Fields<'a> {
        let own = self.own.filter(|own| own.get(name).is_some());
        own.unwrap_or(self.config)
    }

    fn error(&self, name: &str, expected: &str) -> CheckpointError {
        self.at(name).error(name, expected)
    }

    /// Bits of an operand; what has none stays as it is.
    fn bits(&self, name: &str) -> Result<usize, CheckpointError> {
        let bits = self.at(name).size(name, MOST_BITS)?;
        Ok(bits.unwrap_or(FLOAT_BITS))
    }

    /// Refuses another group than that of the format.
    fn group(&self, name: &str, block: usize) -> Result<Group, CheckpointError> {
        match self.at(name).size(name, MX_BLOCK)? == Some(block) {
            true => Ok(Group::Columns(block)),
            false => Err(self.error(name, &block.to_string())),
        }
    }

    fn kind(&self, name: &str, known: &[ElementFormat]) -> Result<CodeKind, CheckpointError> {
        let bits = self.bits(name)?;
        let found = known.iter().find(|element| element.bits() as usize == bits);
        found
            .map(|element| CodeKind::Float(*element))
            .ok_or_else(|| {
                let known: Vec<String> = known.iter().map(|e| e.bits().to_string()).collect();
                self.error(name, &known.join(" or "))
            })
    }
}

fn scheme(settings: Settings) -> Result<Scheme, CheckpointError> {
    let (known, block, factor): (&[_], _, _) = match settings.at("data_type").text("data_type")? {
        Some("mx_fp") => (&[FP4, FP8], MX_BLOCK, None),
        Some("nv_fp") => (
            &[FP4],
            NVFP4_BLOCK,
            Some(("_global_scale", Factor::Divides)),
        ),
        _ => return Err(settings.error("data_type", "\"mx_fp\" or \"nv_fp\"")),
    };
    let kind = settings.kind("bits", known)?;
    let suffixes = match kind == CodeKind::Float(FP4) {
        true => ["_packed", "_scale"],
        false => ["", "_scale"],
    };
    let inputs = match settings.bits("act_bits")? < FLOAT_BITS {
        true => Some(inputs(settings)?),
        false => None,
    };
    Ok(Scheme {
        weights: WeightScheme {
            kind,
            group: settings.group("group_size", block)?,
            has_zero_points: false,
            suffixes,
            factor,
        },
        inputs,
    })
}

fn inputs(settings: Settings) -> Result<InputScheme, CheckpointError> {
    let name = "act_data_type";
    let (known, block): (&[_], _) = match settings.at(name).text(name)? {
        Some("mx_fp" | "mx_fp_rceil") => (&[FP4, FP8], MX_BLOCK),
        Some("nv_fp4_with_static_gs") => (&[FP4], NVFP4_BLOCK),
        _ => {
            let expected = "\"mx_fp\", \"mx_fp_rceil\" or \"nv_fp4_with_static_gs\"";
            return Err(settings.error(name, expected));
        }
    };
    let is_mx = block == MX_BLOCK;
    let rule = match settings.at(name).text(name)? {
        Some("mx_fp_rceil") => ScaleRule::Rceil,
        _ => ScaleRule::Floor,
    };
    Ok(InputScheme {
        kind: settings.kind("act_bits", known)?,
        group: settings.group("act_group_size", block)?,
        scale: Some(if is_mx {
            ScaleFormat::E8M0
        } else {
            ScaleFormat::UE4M3
        }),
        rule: is_mx.then_some(rule),
        is_symmetric: true,
        stored: (!is_mx).then_some(("input_global_scale", Factor::Divides)),
    })
}
