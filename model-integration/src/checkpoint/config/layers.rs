//! What the attention of each layer sees: its window and its rotation.

use serde_json::Value;

use super::{Fields, MAX_POSITIONS};
use crate::checkpoint::CheckpointError;
use crate::description::architecture::{Rotations, TypeRule, Windows};
use crate::description::{Architecture, LayerKind};

/// Types of layers in a `layer_types`.
const FULL: &str = "full_attention";
const WINDOWED: &str = "sliding_attention";

/// The kinds of `count` layers.
pub(super) fn parse(
    fields: Fields,
    architecture: &Architecture,
    count: usize,
) -> Result<Vec<LayerKind>, CheckpointError> {
    let is_rotated = rotated(fields, architecture, count)?;
    let window = window(fields, architecture)?;
    let has_window = match architecture.windows {
        Windows::Nowhere => vec![false; count],
        Windows::Everywhere { .. } => vec![window.is_some(); count],
        Windows::ByType(rule) => match types(fields, count)? {
            Some(types) => types,
            None => by_rule(fields, rule, window, &is_rotated)?,
        },
    };
    if window.is_none() && has_window.contains(&true) {
        let because = match fields.get("layer_types") {
            Some(_) => "layer_types has layers of `sliding_attention`",
            None => "layers have a window",
        };
        let flag = "use_sliding_window";
        let (name, expected) =
            match architecture.windows.need_flag() && !fields.flag(flag, false)? {
                true => (flag, "true"),
                false => ("sliding_window", "an integer"),
            };
        return Err(fields.error(name, format!("{expected}, as {because}")));
    }
    let kind = |(has_window, is_rotated): (bool, bool)| LayerKind {
        window: window.filter(|_| has_window),
        rope: is_rotated.then_some(match architecture.rotations {
            Rotations::ByWindow => usize::from(has_window),
            Rotations::Same | Rotations::SomeWithout => 0,
        }),
        has_experts: false,
    };
    Ok(has_window.into_iter().zip(is_rotated).map(kind).collect())
}

/// The window, if layers may have one.
fn window(fields: Fields, architecture: &Architecture) -> Result<Option<usize>, CheckpointError> {
    const NAME: &str = "sliding_window";
    if architecture.windows == Windows::Nowhere
        || (architecture.windows.need_flag() && !fields.flag("use_sliding_window", false)?)
    {
        return Ok(None);
    }
    let default = architecture.defaults.sliding_window;
    let default = default.filter(|_| !fields.has_key(NAME));
    Ok(fields.size(NAME, MAX_POSITIONS)?.or(default))
}

/// Whether each layer has a window, by `layer_types`.
fn types(fields: Fields, count: usize) -> Result<Option<Vec<bool>>, CheckpointError> {
    const NAME: &str = "layer_types";
    let Some(value) = fields.get(NAME) else {
        return Ok(None);
    };
    let list = value.as_array().filter(|list| list.len() == count);
    let wrong = || {
        fields.error(
            NAME,
            format!("a list of {count} types, as there are layers"),
        )
    };
    let has_window = |value: &Value| match value.as_str() {
        Some(FULL) => Ok(false),
        Some(WINDOWED) => Ok(true),
        _ => Err(fields.error(
            NAME,
            format!("a list of `{FULL}` and `{WINDOWED}` (not {value})"),
        )),
    };
    let list = list.ok_or_else(wrong)?.iter().map(has_window);
    list.collect::<Result<_, _>>().map(Some)
}

/// Whether each layer has a window, by the architecture's rule.
fn by_rule(
    fields: Fields,
    rule: TypeRule,
    window: Option<usize>,
    is_rotated: &[bool],
) -> Result<Vec<bool>, CheckpointError> {
    let layers = 0..is_rotated.len();
    Ok(match rule {
        TypeRule::From => {
            // Zero is every layer.
            let first = fields
                .get("max_window_layers")
                .map_or(Some(28), Value::as_u64);
            let wrong = || fields.error("max_window_layers", "a number of layers");
            let first = first.ok_or_else(wrong)? as usize;
            layers
                .map(|layer| window.is_some() && layer >= first)
                .collect()
        }
        TypeRule::Unrotated => {
            let rotated = is_rotated.iter();
            rotated
                .map(|is_rotated| window.is_some() && !is_rotated)
                .collect()
        }
        TypeRule::AllBut { field, every } => {
            let given = match field {
                Some(field) => fields.size(field, MAX_POSITIONS)?,
                None => None,
            };
            let every = given.unwrap_or(every);
            layers
                .map(|layer| !(layer + 1).is_multiple_of(every))
                .collect()
        }
    })
}

/// Whether each layer rotates queries and keys.
fn rotated(
    fields: Fields,
    architecture: &Architecture,
    count: usize,
) -> Result<Vec<bool>, CheckpointError> {
    const NAME: &str = "no_rope_layers";
    if architecture.rotations != Rotations::SomeWithout {
        return Ok(vec![true; count]);
    }
    let Some(value) = fields.get(NAME) else {
        let every = fields
            .size("no_rope_layer_interval", MAX_POSITIONS)?
            .unwrap_or(4);
        return Ok((1..=count)
            .map(|number| !number.is_multiple_of(every))
            .collect());
    };
    let flag = |value: &Value| match value.as_u64() {
        Some(flag @ (0 | 1)) => Some(flag == 1),
        Some(_) => None,
        None => value.as_bool(),
    };
    let list = value.as_array().filter(|list| list.len() == count);
    let flags: Option<Vec<bool>> = list.and_then(|list| list.iter().map(flag).collect());
    let expected = "0 (no rotation) or 1 for each of the layers";
    flags.ok_or_else(|| fields.error(NAME, format!("a list of {count} numbers, {expected}")))
}
