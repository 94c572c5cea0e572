//! The rotary part of `config.json`: base and scaling, in both spellings.
//!
//! transformers 4 writes `rope_theta` and `rope_scaling: {rope_type | type, ...}` at the
//! top level; transformers 5 writes `rope_parameters: {rope_theta, rope_type, ...}`.

use serde_json::{Value, json};

use super::CheckpointError;
use super::fields::Fields;

/// Base used where the config names none (transformers' default).
const DEFAULT_THETA: f64 = 10_000.0;
const MAX_THETA: f64 = 1e15;
const MAX_FACTOR: f64 = 1e6;
const MAX_POSITIONS: usize = 1 << 30;

/// How rotary frequencies are stretched for sequences longer than those trained on.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Positions are divided by `factor`.
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// Llama 3.1's rule: wavelengths longer than `original_max_position_embeddings /
    /// low_freq_factor` are stretched by `factor`, those shorter than
    /// `original_max_position_embeddings / high_freq_factor` are kept, with a linear
    /// blend between.
    Llama3 {
        /// At least 1.
        factor: f64,
        /// Below `high_freq_factor`.
        low_freq_factor: f64,
        /// Above `low_freq_factor`.
        high_freq_factor: f64,
        /// Positions that the unscaled model was trained on.
        original_max_position_embeddings: usize,
    },
}

impl RopeScaling {
    /// The value of `rope_scaling` in a `config.json`.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
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
        }
    }
}

/// Base and scaling from the top-level fields of a `config.json`.
pub(super) fn parse(fields: Fields) -> Result<(f64, Option<RopeScaling>), CheckpointError> {
    let nested = match (
        fields.object("rope_parameters")?,
        fields.object("rope_scaling")?,
    ) {
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
    Ok((theta, scaling(nested)?))
}

fn scaling(fields: Fields) -> Result<Option<RopeScaling>, CheckpointError> {
    let kind = if fields.get("rope_type").is_some() {
        "rope_type"
    } else {
        "type"
    };
    let factor = || fields.required_between("factor", 1.0, MAX_FACTOR);
    match fields.text(kind)? {
        Some("default") => Ok(None),
        Some("linear") => Ok(Some(RopeScaling::Linear { factor: factor()? })),
        Some("llama3") => {
            let low_freq_factor = fields.required_between("low_freq_factor", 0.0, MAX_FACTOR)?;
            let high_freq_factor = fields.required_between("high_freq_factor", 0.0, MAX_FACTOR)?;
            if low_freq_factor <= 0.0 || low_freq_factor >= high_freq_factor {
                let expected = format!("above 0 and below high_freq_factor = {high_freq_factor}");
                return Err(fields.error("low_freq_factor", expected));
            }
            Ok(Some(RopeScaling::Llama3 {
                factor: factor()?,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: fields
                    .required_size("original_max_position_embeddings", MAX_POSITIONS)?,
            }))
        }
        _ => Err(fields.error(kind, "\"default\", \"linear\" or \"llama3\"")),
    }
}

/// Llama turns the whole head.
fn check_full_rotation(fields: Fields) -> Result<(), CheckpointError> {
    match fields.get("partial_rotary_factor") {
        Some(factor) if factor.as_f64() != Some(1.0) => {
            Err(fields.error("partial_rotary_factor", "1"))
        }
        _ => Ok(()),
    }
}
