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
            Ok(vec![
                context.rotation(nested.object(full)?, Some(theta))?,
                context.rotation(nested.object(windowed)?, Some(LOCAL_THETA))?,
            ])
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

    use crate::description::ModelConfig;
    use crate::model::Reach;
    use crate::model::rope::{attention_factor, frequencies};

    /// Rotary fields, reach, and what transformers 5.24 makes of them with PyTorch 2.15: the factor
    /// of cosines and sines, and the frequencies. Powers may round apart.
    #[test]
    fn rotations_are_those_of_transformers() {
        type Row<'a> = (Value, Reach, f64, &'a [f32]);
        #[rustfmt::skip]
        let rows: [Row; 11] = [
            (json!({"rope_theta": 1e4}),
             Reach::Trained, 1.0, &[
                1.0, 3.162_277_6e-1, 1.0e-1, 3.162_278e-2,
                1.0e-2, 3.162_277_9e-3, 1.0e-3, 3.162_278e-4]),
            (json!({"rope_type": "linear", "factor": 3}),
             Reach::Trained, 1.0, &[
                3.333_333_4e-1, 1.054_092_6e-1, 3.333_333_5e-2, 1.054_092_6e-2,
                3.333_333_2e-3, 1.054_092_7e-3, 3.333_333_6e-4, 1.054_092_65e-4]),
            (json!({"rope_type": "dynamic", "factor": 2}),
             Reach::Dynamic(513), 1.0, &[
                1.0, 3.160_517e-1, 9.988_867e-2, 3.156_998_4e-2,
                9.977_747e-3, 3.153_483_6e-3, 9.966_638e-4, 3.149_972_8e-4]),
            (json!({"rope_type": "dynamic", "factor": 2}),
             Reach::Dynamic(2000), 1.0, &[
                1.0, 2.404_120_4e-1, 5.779_794_6e-2, 1.389_532_35e-2,
                3.340_602_9e-3, 8.031_211_3e-4, 1.930_799_9e-4, 4.641_875_4e-5]),
            (json!({"rope_type": "llama3", "rope_theta": 5e5, "factor": 8, "low_freq_factor": 1,
                "high_freq_factor": 4, "original_max_position_embeddings": 64}),
             Reach::Trained, 1.0, &[
                1.0, 7.940_301e-2, 4.700_754e-3, 9.115_831_3e-4,
                1.767_766_8e-4, 3.428_102_4e-5, 6.647_869_7e-6, 1.289_173_2e-6]),
            (json!({"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 128}),
             Reach::Trained, 1.138_629_436_111_989, &[
                1.0, 2.371_708_2e-1, 4.999_999_7e-2, 7.905_695e-3,
                2.5e-3, 7.905_694_7e-4, 2.5e-4, 7.905_695e-5]),
            (json!({"rope_type": "yarn", "rope_theta": 1.5e5, "factor": 32, "truncate": false,
                "original_max_position_embeddings": 4096}),
             Reach::Trained, 1.346_573_590_279_972_7, &[
                1.0, 2.254_18e-1, 5.081_327_3e-2, 6.794_959_3e-3,
                4.564_839_2e-4, 1.818_833_7e-5, 4.099_978_5e-6, 9.242_089_6e-7]),
            (json!({"rope_type": "yarn", "rope_theta": 1e6, "factor": 4, "mscale": 0.707,
                "mscale_all_dim": 1.2, "original_max_position_embeddings": 128}),
             Reach::Trained, 0.941_403_523_749_669, &[
                1.0, 1.111_424_64e-1, 7.905_695e-3, 1.405_853_3e-3,
                2.5e-4, 4.445_698_5e-5, 7.905_694e-6, 1.405_853_4e-6]),
            (json!({"rope_type": "yarn", "rope_theta": 1e6, "factor": 4, "attention_factor": 1.25,
                "beta_fast": 8, "original_max_position_embeddings": 128}),
             Reach::Trained, 1.25, &[
                1.0, 1.111_424_64e-1, 7.905_695e-3, 1.405_853_3e-3,
                2.5e-4, 4.445_698_5e-5, 7.905_694e-6, 1.405_853_4e-6]),
            (json!({"rope_type": "longrope", "partial_rotary_factor": 0.75,
                "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
                "long_factor": [1, 2, 3, 4, 5, 6], "original_max_position_embeddings": 128}),
             Reach::Trained, 1.133_893_419_027_681_7, &[
                1.0, 1.958_576_9e-1, 3.867_99e-2, 7.692_307_7e-3,
                1.538_881_6e-3, 3.094_393_2e-4]),
            (json!({"rope_type": "longrope", "partial_rotary_factor": 0.75,
                "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
                "long_factor": [1, 2, 3, 4, 5, 6], "original_max_position_embeddings": 128}),
             Reach::Long, 1.133_893_419_027_681_7, &[
                1.0, 1.077_217_2e-1, 1.547_196e-2, 2.5e-3,
                4.308_868_4e-4, 7.735_983e-5]),
        ];
        for (rope, reach, factor, expected) in rows {
            let mut config = json!({
                "model_type": "llama", "vocab_size": 8, "hidden_size": 128, "rope_parameters": rope,
                "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 8,
                "max_position_embeddings": 512,
            });
            if expected.len() == 6 {
                config["model_type"] = json!("phi3");
                config["original_max_position_embeddings"] = json!(128);
            }
            let json = config.to_string();
            let parsed = ModelConfig::parse(json.as_bytes(), Path::new("config.json")).unwrap();
            let rotation = &parsed.config.ropes[0];
            assert!(
                (attention_factor(rotation) - factor).abs() < 1e-12,
                "{rope}"
            );
            let found = frequencies(rotation, 512, reach);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                let units = found.to_bits().abs_diff(expected.to_bits());
                assert!(units <= 2, "{rope} {reach:?}: {found:e}, {expected:e}");
            }
        }
    }
}
