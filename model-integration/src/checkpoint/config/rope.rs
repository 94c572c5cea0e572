//! The rotary fields of `config.json`, base and scaling, in both spellings that transformers 5
//! reads.
//!
//! transformers 4 writes `rope_theta` and `rope_scaling: {rope_type | type, ...}` at the
//! top level; transformers 5 writes `rope_parameters: {rope_theta, rope_type, ...}`.

use crate::checkpoint::CheckpointError;
use crate::checkpoint::fields::Fields;
use crate::description::architecture::{RopeType, Rotations};
use crate::description::{Architecture, RopeParameters, RopeScaling};

/// Base of the layers with a window if the config has none, where they have their own.
const LOCAL_THETA: f64 = 10_000.0;
const MAX_THETA: f64 = 1e15;
const MAX_FACTOR: f64 = 1e6;
const MAX_POSITIONS: usize = 1 << 30;

/// The rotations from the top-level fields of a `config.json`: one for all layers, or that of
/// layers without a window and that of the others.
pub(super) fn parse(
    fields: Fields,
    architecture: &Architecture,
    head_dim: usize,
    max_positions: usize,
) -> Result<Vec<RopeParameters>, CheckpointError> {
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
    if nested.is_none() && architecture.defaults.scales_positions {
        let expected = "an object: without it transformers scales positions by a rule of its own";
        return Err(fields.error("rope_scaling", expected));
    }
    let context = Context {
        fields,
        architecture,
        head_dim,
        max_positions,
    };
    let types = ["full_attention", "sliding_attention"];
    let by_type = nested.filter(|nested| types.iter().any(|name| nested.has_key(name)));
    let theta = architecture.defaults.rope_theta;
    match (architecture.rotations, by_type) {
        (Rotations::ByWindow, Some(nested)) => {
            let [full, windowed] = types;
            let top = |name, default: f64| {
                let given = fields.positive(name, MAX_THETA)?;
                Ok::<_, CheckpointError>(Some(given.unwrap_or(default)))
            };
            let of_full = top("rope_theta", theta)?;
            let of_windowed = top("rope_local_base_freq", LOCAL_THETA)?;
            Ok(vec![
                context.rotation(nested.object(full)?, of_full)?,
                context.rotation(nested.object(windowed)?, of_windowed)?,
            ])
        }
        (Rotations::ByWindow, None) if object("rope_parameters")?.is_some() => {
            let expected = "an object for each of full_attention and sliding_attention";
            Err(fields.error("rope_parameters", expected))
        }
        (Rotations::ByWindow, None) => {
            let local = fields.positive("rope_local_base_freq", MAX_THETA)?;
            let local = RopeParameters {
                theta: local.unwrap_or(LOCAL_THETA),
                features: head_dim,
                scaling: None,
            };
            Ok(vec![context.rotation(nested, None)?, local])
        }
        (_, Some(nested)) => {
            let name = if nested.has_key(types[0]) {
                types[0]
            } else {
                types[1]
            };
            let expected = format!(
                "nothing: all layers of a {} rotate alike",
                architecture.model_type
            );
            Err(nested.error(name, expected))
        }
        (_, None) => Ok(vec![context.rotation(nested, None)?]),
    }
}

/// What a rotation depends on besides its own fields.
struct Context<'a> {
    /// The top level.
    fields: Fields<'a>,
    architecture: &'a Architecture,
    head_dim: usize,
    max_positions: usize,
}

impl Context<'_> {
    /// A rotation. `own_theta` is the default of its base if the top level does not count.
    fn rotation(
        &self,
        nested: Option<Fields>,
        own_theta: Option<f64>,
    ) -> Result<RopeParameters, CheckpointError> {
        let top_theta = match own_theta {
            None => self.fields.positive("rope_theta", MAX_THETA)?,
            Some(_) => None,
        };
        let default = own_theta.unwrap_or(self.architecture.defaults.rope_theta);
        let top_part = self.part(self.fields)?;
        let Some(nested) = nested else {
            return Ok(RopeParameters {
                theta: top_theta.unwrap_or(default),
                features: top_part.unwrap_or(self.head_dim),
                scaling: None,
            });
        };
        let theta = match (nested.positive("rope_theta", MAX_THETA)?, top_theta) {
            (Some(inner), Some(outer)) if inner != outer => {
                let expected = format!("the top-level rope_theta = {outer}");
                return Err(nested.error("rope_theta", expected));
            }
            (inner, outer) => inner.or(outer).unwrap_or(default),
        };
        let features = self.part(nested)?.or(top_part).unwrap_or(self.head_dim);
        let scaling = self.scaling(nested, features)?;
        Ok(RopeParameters {
            theta,
            features,
            scaling,
        })
    }

    /// The number of features that are rotated, if it is said.
    fn part(&self, fields: Fields) -> Result<Option<usize>, CheckpointError> {
        let name = "partial_rotary_factor";
        let Some(value) = fields.get(name) else {
            return Ok(None);
        };
        let features = |part: f64| (self.head_dim as f64 * part) as usize;
        match value.as_f64() {
            Some(1.0) => Ok(Some(self.head_dim)),
            Some(part) if self.architecture.has_partial_rotation => Some(features(part))
                .filter(|features| (2..=self.head_dim).contains(features) && part <= 1.0)
                .map(Some)
                .ok_or_else(|| {
                    let least = 2.0 / self.head_dim as f64;
                    fields.error(name, format!("a number from {least} to 1"))
                }),
            _ => Err(fields.error(name, "1")),
        }
    }

    fn scaling(
        &self,
        nested: Fields,
        features: usize,
    ) -> Result<Option<RopeScaling>, CheckpointError> {
        let types = self.architecture.rope_types;
        let pairs = features.div_ceil(2);
        let kind = match nested.get("rope_type") {
            Some(_) => "rope_type",
            None => "type",
        };
        let given = nested.text(kind)?;
        // Without a type and without what a type needs, the default rule holds.
        let is_plain = ["rope_theta", "rope_type", "type", "partial_rotary_factor"];
        let is_plain = |name: &str| is_plain.contains(&name) || nested.get(name).is_none();
        if given.is_none() && nested.names().all(is_plain) {
            return Ok(None);
        }
        let Some((_, rope_type)) = types.iter().find(|(name, _)| Some(*name) == given) else {
            return Err(nested.error(kind, names(types)));
        };
        Ok(match rope_type {
            RopeType::Default => None,
            RopeType::Linear => Some(RopeScaling::Linear {
                factor: nested.required_between("factor", 1.0, MAX_FACTOR)?,
            }),
            RopeType::Dynamic if features < 4 => {
                return Err(nested.error(kind, "another type, as only one pair is rotated"));
            }
            RopeType::Dynamic => Some(RopeScaling::Dynamic {
                factor: nested.required_between("factor", 1.0, MAX_FACTOR)?,
            }),
            RopeType::Yarn => Some(self.yarn(nested)?),
            RopeType::Llama3 => Some(llama3(nested)?),
            RopeType::Long => Some(self.long(nested, pairs)?),
        })
    }

    /// The trained length: at the top level of a Phi-3's config, where transformers reads no other;
    /// else beside the type.
    fn original(&self, nested: Fields) -> Result<usize, CheckpointError> {
        const ORIGINAL: &str = "original_max_position_embeddings";
        let inner = nested.size(ORIGINAL, MAX_POSITIONS)?;
        let outer = self.fields.size(ORIGINAL, MAX_POSITIONS)?;
        let outer = outer.or(self.architecture.defaults.original_max_position_embeddings);
        if let (Some(outer), Some(inner)) = (outer, inner)
            && outer != inner
        {
            let expected = format!("{outer}, as at the top level of the config");
            return Err(nested.error(ORIGINAL, expected));
        }
        Ok(outer.or(inner).unwrap_or(self.max_positions))
    }

    /// The default factor of cosines and sines follows from the ratio of the lengths.
    fn long(&self, nested: Fields, pairs: usize) -> Result<RopeScaling, CheckpointError> {
        let original = self.original(nested)?;
        let factor = match nested.get("factor") {
            Some(_) => nested.required_between("factor", 1.0, MAX_FACTOR)?,
            None => self.max_positions as f64 / original as f64,
        };
        let attention_factor = match nested.positive("attention_factor", MAX_FACTOR)? {
            Some(given) => given,
            None if factor <= 1.0 => 1.0,
            None => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
        };
        let list = |name| nested.required_positives(name, pairs, MAX_FACTOR);
        Ok(RopeScaling::Long {
            short_factor: list("short_factor")?,
            long_factor: list("long_factor")?,
            attention_factor,
            original_max_position_embeddings: original,
        })
    }

    /// The default factor of cosines and sines follows from the factor of the lengths.
    fn yarn(&self, nested: Fields) -> Result<RopeScaling, CheckpointError> {
        let original = self.original(nested)?;
        let factor = match nested.has_key("factor") && nested.get("factor").is_none() {
            true => (self.max_positions as f64 / original as f64).max(1.0),
            false => nested.required_between("factor", 1.0, MAX_FACTOR)?,
        };
        let number = |name| nested.positive(name, MAX_FACTOR);
        let of_scale = |scale: f64| match factor <= 1.0 {
            true => 1.0,
            false => 0.1 * scale * factor.ln() + 1.0,
        };
        let scales = (number("mscale")?, number("mscale_all_dim")?);
        let attention_factor = match (number("attention_factor")?, scales) {
            (Some(given), _) => given,
            (None, (Some(scale), Some(of_all))) => of_scale(scale) / of_scale(of_all),
            (None, _) => of_scale(1.0),
        };
        let (beta_fast, beta_slow) = (number("beta_fast")?, number("beta_slow")?);
        let (beta_fast, beta_slow) = (beta_fast.unwrap_or(32.0), beta_slow.unwrap_or(1.0));
        if beta_slow > beta_fast {
            let expected = format!("at most beta_fast = {beta_fast}");
            return Err(nested.error("beta_slow", expected));
        }
        Ok(RopeScaling::Yarn {
            factor,
            attention_factor,
            beta_fast,
            beta_slow,
            truncate: nested.flag("truncate", true)?,
            original_max_position_embeddings: original,
        })
    }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use crate::description::{ModelConfig, RopeParameters, RopeScaling};

    fn parse(model_type: &str, rope: &Value) -> RopeParameters {
        let json = json!({
            "model_type": model_type, "vocab_size": 8, "hidden_size": 128, "rope_parameters": rope,
            "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 8,
            "max_position_embeddings": 512, "original_max_position_embeddings": 128,
        });
        let json = json.to_string();
        let parsed = ModelConfig::parse(json.as_bytes(), Path::new("config.json")).unwrap();
        parsed.config.ropes[0].clone()
    }

    /// Factors of cosines and sines that transformers 5.24 derives.
    #[test]
    fn factors_follow_from_lengths() {
        let yarn = |more: Value| {
            let mut rope = json!({"rope_type": "yarn", "factor": 4});
            for (name, value) in more.as_object().unwrap() {
                rope[name] = value.clone();
            }
            match parse("llama", &rope).scaling {
                Some(RopeScaling::Yarn {
                    attention_factor, ..
                }) => attention_factor,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(yarn(json!({})), 1.138_629_436_111_989);
        assert_eq!(yarn(json!({"attention_factor": 1.25})), 1.25);
        let scales = json!({"mscale": 0.707, "mscale_all_dim": 1.2});
        assert!((yarn(scales) - 0.941_403_523_749_669).abs() < 1e-12);

        let ones = [1.0; 6];
        let rope = json!({"rope_type": "longrope", "partial_rotary_factor": 0.75,
            "short_factor": ones, "long_factor": ones});
        let rope = parse("phi3", &rope);
        assert_eq!(rope.features, 12);
        let Some(RopeScaling::Long {
            attention_factor, ..
        }) = rope.scaling
        else {
            panic!("{rope:?}");
        };
        assert!((attention_factor - 1.133_893_419_027_681_7).abs() < 1e-12);
    }
}
