//! The rotary fields of `config.json`, base and scaling, in both spellings that transformers 5
//! reads.
//!
//! transformers 4 writes `rope_theta` and `rope_scaling: {rope_type | type, ...}` at the
//! top level; transformers 5 writes `rope_parameters: {rope_theta, rope_type, ...}`.

use serde_json::{Value, json};

use super::CheckpointError;
use super::fields::Fields;
use crate::description::architecture::RopeType;
use crate::description::{Architecture, RopeScaling};

/// Base if the config has none (transformers' default).
const DEFAULT_THETA: f64 = 10_000.0;
const MAX_THETA: f64 = 1e15;
const MAX_FACTOR: f64 = 1e6;
const MAX_POSITIONS: usize = 1 << 30;

impl RopeScaling {
    /// The value of `rope_scaling` in a `config.json`.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            Self::Dynamic { factor } => json!({"rope_type": "dynamic", "factor": factor}),
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
            Self::Long {
                short_factor,
                long_factor,
                attention_factor,
                original_max_position_embeddings,
            } => json!({
                "rope_type": "longrope",
                "short_factor": short_factor,
                "long_factor": long_factor,
                "attention_factor": attention_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
        }
    }
}

/// Base and scaling from the top-level fields of a `config.json`.
pub(super) fn parse(
    fields: Fields,
    architecture: &Architecture,
    head_dim: usize,
    max_positions: usize,
) -> Result<(f64, Option<RopeScaling>), CheckpointError> {
    let object = |name| {
        let object = fields.object(name)?;
        Ok::<_, CheckpointError>(object.filter(|object| !object.is_empty()))
    };
    let nested = match (object("rope_parameters")?, object("rope_scaling")?) {
        (Some(_), Some(_)) if fields.get("rope_parameters") != fields.get("rope_scaling") => {
            return Err(fields.error("rope_scaling", "null, as `rope_parameters` is given"));
        }
        (new, old) => new.or(old),
    };
    check_full_rotation(fields)?;
    let top_theta = fields.positive("rope_theta", MAX_THETA)?;
    let Some(nested) = nested else {
        return Ok((top_theta.unwrap_or(DEFAULT_THETA), None));
    };
    check_full_rotation(nested)?;
    let theta = match (nested.positive("rope_theta", MAX_THETA)?, top_theta) {
        (Some(inner), Some(outer)) if inner != outer => {
            return Err(nested.error("rope_theta", format!("the top-level rope_theta = {outer}")));
        }
        (inner, outer) => inner.or(outer).unwrap_or(DEFAULT_THETA),
    };
    let kind = match nested.get("rope_type") {
        Some(_) => "rope_type",
        None => "type",
    };
    let types = architecture.rope_types;
    let given = nested.text(kind)?;
    // Without a type and without what a type needs, the default rule holds.
    let is_plain = ["rope_theta", "rope_type", "type", "partial_rotary_factor"];
    let is_plain = |name: &str| is_plain.contains(&name) || nested.get(name).is_none();
    if given.is_none() && nested.names().all(is_plain) {
        return Ok((theta, None));
    }
    let Some((_, rope_type)) = types.iter().find(|(name, _)| Some(*name) == given) else {
        return Err(nested.error(kind, names(types)));
    };
    let scaling = match rope_type {
        RopeType::Default => None,
        RopeType::Linear => Some(RopeScaling::Linear {
            factor: nested.required_between("factor", 1.0, MAX_FACTOR)?,
        }),
        RopeType::Dynamic => Some(RopeScaling::Dynamic {
            factor: nested.required_between("factor", 1.0, MAX_FACTOR)?,
        }),
        RopeType::Llama3 => Some(llama3(nested)?),
        RopeType::Long => {
            let context = (architecture, head_dim / 2, max_positions);
            Some(long(fields, nested, context)?)
        }
    };
    Ok((theta, scaling))
}

/// The first name of each type.
fn names(types: &[(&str, RopeType)]) -> String {
    let first = |&(index, (_, of)): &(usize, &(&str, RopeType))| {
        types[..index].iter().all(|(_, before)| before != of)
    };
    let names = types.iter().enumerate().filter(first);
    let names: Vec<String> = names.map(|(_, (name, _))| format!("\"{name}\"")).collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => names.concat(),
    }
}

fn llama3(fields: Fields) -> Result<RopeScaling, CheckpointError> {
    let low_freq_factor = fields.required_between("low_freq_factor", 0.0, MAX_FACTOR)?;
    let high_freq_factor = fields.required_between("high_freq_factor", 0.0, MAX_FACTOR)?;
    if low_freq_factor <= 0.0 || low_freq_factor >= high_freq_factor {
        let expected = format!("above 0 and below high_freq_factor = {high_freq_factor}");
        return Err(fields.error("low_freq_factor", expected));
    }
    Ok(RopeScaling::Llama3 {
        factor: fields.required_between("factor", 1.0, MAX_FACTOR)?,
        low_freq_factor,
        high_freq_factor,
        original_max_position_embeddings: fields
            .required_size("original_max_position_embeddings", MAX_POSITIONS)?,
    })
}

/// In a Phi-3's config the trained length is at the top level; transformers reads no other. The
/// default factor of cosines and sines follows from the ratio of the lengths.
fn long(
    top: Fields,
    nested: Fields,
    (architecture, frequencies, max_positions): (&Architecture, usize, usize),
) -> Result<RopeScaling, CheckpointError> {
    const ORIGINAL: &str = "original_max_position_embeddings";
    let inner = nested.size(ORIGINAL, MAX_POSITIONS)?;
    let outer = top.size(ORIGINAL, MAX_POSITIONS)?;
    let outer = outer.or(architecture.defaults.original_max_position_embeddings);
    if let (Some(outer), Some(inner)) = (outer, inner)
        && outer != inner
    {
        let expected = format!("{outer}, as at the top level of the config");
        return Err(nested.error(ORIGINAL, expected));
    }
    let original = outer.or(inner).unwrap_or(max_positions);
    let factor = match nested.get("factor") {
        Some(_) => nested.required_between("factor", 1.0, MAX_FACTOR)?,
        None => max_positions as f64 / original as f64,
    };
    let attention_factor = match nested.positive("attention_factor", MAX_FACTOR)? {
        Some(given) => given,
        None if factor <= 1.0 => 1.0,
        None => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
    };
    let list = |name| nested.required_positives(name, frequencies, MAX_FACTOR);
    Ok(RopeScaling::Long {
        short_factor: list("short_factor")?,
        long_factor: list("long_factor")?,
        attention_factor,
        original_max_position_embeddings: original,
    })
}

/// Checks that the whole head is rotated.
fn check_full_rotation(fields: Fields) -> Result<(), CheckpointError> {
    match fields.get("partial_rotary_factor") {
        Some(factor) if factor.as_f64() != Some(1.0) => {
            Err(fields.error("partial_rotary_factor", "1"))
        }
        _ => Ok(()),
    }
}
