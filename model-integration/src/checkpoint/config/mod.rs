//! Reads `config.json` of a supported architecture, and checks every field.
//!
//! Fields and defaults are those of the architecture's configuration in Hugging Face transformers,
//! as version 4 (`torch_dtype`, `rope_scaling`, `rope_theta`) or version 5 (`dtype`,
//! `rope_parameters`) writes them.

mod architecture;
mod experts;
mod layers;
mod refused;
mod rope;
mod tokens;
mod write;

use std::path::Path;

use super::CheckpointError;
use super::encoding::Encoding;
use super::fields::{Fields, parse_object};
use crate::config::Projection;
use crate::description::architecture::{Condition, Source};
use crate::description::kinds::ActivationFunction;
use crate::description::{Architecture, Factors, ModelConfig};
use mxlab_kernels::format::FloatType;

pub(super) use architecture::text_model;

// Bounds far above any model: products of two of them stay below 2^63, and a corrupt config gets an
// error of its own instead of a failed allocation.
const MAX_VOCABULARY: usize = 1 << 24;
const MAX_WIDTH: usize = 1 << 22;
const MAX_LAYERS: usize = 1 << 12;
const MAX_HEADS: usize = 1 << 14;
const MAX_EXPERTS: usize = 1 << 12;
const MAX_HEAD_DIM: usize = 1 << 14;
const MAX_POSITIONS: usize = 1 << 30;
/// Largest factor or cap.
const MAX_FACTOR: f64 = 1e6;

/// The content of a `config.json`.
pub(super) struct Parsed {
    /// Shape and constants; [`ModelConfig::dtype`] is valid only if `dtype` is `Some`.
    pub config: ModelConfig,
    /// The type that the config declares.
    pub dtype: Option<FloatType>,
    /// How weights are quantised.
    pub encoding: Encoding,
}

impl ModelConfig {
    /// Reads `json`; `file` is for messages.
    ///
    /// # Errors
    /// `Json`, `MissingField` and `Field`, for anything that is not a supported model.
    pub(super) fn parse(json: &[u8], file: &Path) -> Result<Parsed, CheckpointError> {
        let object = parse_object(json, file)?;
        let fields = Fields::new(file, &object);
        let architecture = architecture::find(fields)?;
        let defaults = &architecture.defaults;

        let vocab_size = size(fields, "vocab_size", MAX_VOCABULARY, defaults.vocab_size)?;
        let hidden_size = fields.required_size("hidden_size", MAX_WIDTH)?;
        let heads = defaults.num_attention_heads;
        let num_attention_heads = size(fields, "num_attention_heads", MAX_HEADS, heads)?;
        let head_dim = head_dim(fields, architecture, hidden_size, num_attention_heads)?;
        let max_position_embeddings = fields
            .size("max_position_embeddings", MAX_POSITIONS)?
            .unwrap_or(defaults.max_position_embeddings);
        let num_hidden_layers = fields.required_size("num_hidden_layers", MAX_LAYERS)?;
        let dtype = dtype(fields)?;
        let mut layers = layers::parse(fields, architecture, num_hidden_layers)?;
        let experts = experts::parse(fields, architecture, &mut layers)?;
        let config = Self {
            architecture,
            vocab_size,
            hidden_size,
            intermediate_size: fields.required_size("intermediate_size", MAX_WIDTH)?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: key_value_heads(fields, architecture, num_attention_heads)?,
            head_dim,
            max_position_embeddings,
            layers,
            experts,
            ropes: rope::parse(fields, architecture, head_dim, max_position_embeddings)?,
            norm_eps: fields
                .positive(architecture.norm_eps, 1.0)?
                .unwrap_or(defaults.norm_eps),
            activation: activation(fields, architecture)?,
            factors: factors(fields, architecture, hidden_size, head_dim)?,
            tie_word_embeddings: fields
                .flag("tie_word_embeddings", defaults.tie_word_embeddings)?,
            biases: biases(fields, architecture)?,
            bos_token_id: tokens::bos(fields, defaults.bos_token_id, vocab_size)?,
            eos_token_ids: tokens::eos(fields, defaults.eos_token_id, vocab_size)?,
            dtype: dtype.unwrap_or(FloatType::F32),
        };
        refused::check(fields, &config)?;
        Ok(Parsed {
            config,
            dtype,
            encoding: Encoding::parse(fields)?,
        })
    }
}

/// A size; the default if the key is absent.
fn size(
    fields: Fields,
    name: &str,
    max: usize,
    default: Option<usize>,
) -> Result<usize, CheckpointError> {
    match default.filter(|_| !fields.has_key(name)) {
        Some(default) => Ok(default),
        None => fields.required_size(name, max),
    }
}

/// The projections with a bias.
fn biases(fields: Fields, architecture: &Architecture) -> Result<Vec<Projection>, CheckpointError> {
    let mut biases = Vec::new();
    for (bias, projections) in architecture.biases {
        let is_there = match *bias {
            Condition::Always => true,
            Condition::If(field, default) => fields.flag(field, default)?,
        };
        if is_there {
            biases.extend_from_slice(projections);
        }
    }
    Ok(biases)
}

fn activation(
    fields: Fields,
    architecture: &Architecture,
) -> Result<ActivationFunction, CheckpointError> {
    let default = clamped(fields, architecture.defaults.activation)?;
    let Some(name) = fields.text(architecture.activation)? else {
        return Ok(default);
    };
    let mut names = ActivationFunction::NAMES.iter();
    let found = names.find(|(known, _)| *known == name);
    let (_, function) = found.ok_or_else(|| {
        let names = ActivationFunction::NAMES.map(|(name, _)| format!("\"{name}\""));
        fields.error(
            architecture.activation,
            format!("one of {}", names.join(", ")),
        )
    })?;
    // The field of a clamped SwiGLU names the function that is clamped.
    match (default, function) {
        (ActivationFunction::ClampedSwiglu { .. }, ActivationFunction::Silu) => Ok(default),
        (ActivationFunction::ClampedSwiglu { .. }, _) => {
            Err(fields.error(architecture.activation, "\"silu\""))
        }
        _ => Ok(*function),
    }
}

/// A function with the constants that a configuration gives.
fn clamped(
    fields: Fields,
    function: ActivationFunction,
) -> Result<ActivationFunction, CheckpointError> {
    let ActivationFunction::ClampedSwiglu { alpha, limit } = function else {
        return Ok(function);
    };
    let number = |name| fields.positive(name, MAX_FACTOR);
    Ok(ActivationFunction::ClampedSwiglu {
        alpha: number("swiglu_alpha")?.unwrap_or(alpha),
        limit: number("swiglu_limit")?.unwrap_or(limit),
    })
}

/// Factors and caps. Null stands for the default of a factor, and for no cap.
fn factors(
    fields: Fields,
    architecture: &Architecture,
    hidden_size: usize,
    head_dim: usize,
) -> Result<Factors, CheckpointError> {
    let mut factors = Factors::plain(head_dim);
    for &(factor, source) in architecture.factors {
        let value = match source {
            Source::Field(name, default) => match fields.positive(name, MAX_FACTOR)? {
                None if !fields.has_key(name) || !factor.is_cap() => default,
                value => value,
            },
            Source::InverseRoot(name, default) => {
                let value = fields.positive(name, MAX_FACTOR)?.unwrap_or(default);
                Some(1.0 / value.sqrt())
            }
            Source::RootOfWidth => Some((hidden_size as f64).sqrt()),
        };
        factors.set(factor, value);
    }
    Ok(factors)
}

fn key_value_heads(
    fields: Fields,
    architecture: &Architecture,
    heads: usize,
) -> Result<usize, CheckpointError> {
    let name = "num_key_value_heads";
    let default = architecture.defaults.num_key_value_heads;
    let default = default.filter(|_| !fields.has_key(name));
    let key_value_heads = fields.size(name, MAX_HEADS)?.or(default).unwrap_or(heads);
    if !heads.is_multiple_of(key_value_heads) {
        let expected = format!("a divisor of num_attention_heads = {heads}");
        return Err(fields.error(name, expected));
    }
    Ok(key_value_heads)
}

fn head_dim(
    fields: Fields,
    architecture: &Architecture,
    hidden: usize,
    heads: usize,
) -> Result<usize, CheckpointError> {
    let default = architecture
        .defaults
        .head_dim
        .filter(|_| !fields.has_key("head_dim"));
    let head_dim = match fields.size("head_dim", MAX_HEAD_DIM)?.or(default) {
        Some(head_dim) => head_dim,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            let expected = format!("a divisor of hidden_size = {hidden}, as head_dim is not given");
            return Err(fields.error("num_attention_heads", expected));
        }
    };
    // Rotary embedding turns pairs.
    if !head_dim.is_multiple_of(2) {
        let expected =
            format!("an even number (hidden_size / num_attention_heads = {hidden} / {heads})");
        return Err(fields.error("head_dim", expected));
    }
    Ok(head_dim)
}

/// `dtype` (transformers 5) or `torch_dtype` (4); both only if they agree.
fn dtype(fields: Fields) -> Result<Option<FloatType>, CheckpointError> {
    let read = |name: &str| -> Result<Option<FloatType>, CheckpointError> {
        let Some(text) = fields.text(name)? else {
            return Ok(None);
        };
        let plain = text.strip_prefix("torch.").unwrap_or(text);
        let known = FloatType::ALL
            .into_iter()
            .find(|dtype| dtype.name() == plain);
        known.map(Some).ok_or_else(|| {
            fields.error(
                name,
                format!("one of {}", FloatType::ALL.map(FloatType::name).join(", ")),
            )
        })
    };
    match (read("dtype")?, read("torch_dtype")?) {
        (Some(new), Some(old)) if new != old => {
            Err(fields.error("torch_dtype", "the same as `dtype`"))
        }
        (new, old) => Ok(new.or(old)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::description::{RopeParameters, RopeScaling};

    fn parse(config: Value) -> (ModelConfig, Option<FloatType>) {
        let json = config.to_string();
        let parsed = ModelConfig::parse(json.as_bytes(), Path::new("config.json")).unwrap();
        (parsed.config, parsed.dtype)
    }

    /// The fields of a first-generation config; all others have their defaults.
    fn bare() -> Value {
        json!({"architectures": ["LlamaForCausalLM"], "vocab_size": 32000, "hidden_size": 4096,
               "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32})
    }

    #[test]
    fn absent_fields_have_the_defaults_of_transformers() {
        let (config, dtype) = parse(bare());
        assert_eq!((config.head_dim, config.num_key_value_heads), (128, 32));
        assert_eq!((config.norm_eps, config.ropes[0].theta), (1e-6, 10_000.0));
        assert_eq!(
            (config.max_position_embeddings, &config.ropes[0].scaling),
            (2048, &None)
        );
        assert_eq!(
            (config.bos_token_id, &*config.eos_token_ids),
            (Some(1), &[2][..])
        );
        assert!(!config.tie_word_embeddings && config.biases.is_empty());
        assert_eq!(dtype, None);
    }

    #[test]
    fn llama_3_2_in_the_spellings_of_transformers_4_and_5() {
        let mut four = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 128000,
            "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu",
            "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192,
            "max_position_embeddings": 131072, "mlp_bias": false, "num_attention_heads": 32,
            "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1,
            "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": true,
            "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 128256,
            "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        });
        let (config, dtype) = parse(four.clone());
        assert_eq!(dtype, Some(FloatType::Bf16));
        assert_eq!(config.eos_token_ids, [128001, 128008, 128009]);
        let scaling = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        assert_eq!(
            (config.ropes[0].theta, &config.ropes[0].scaling),
            (500_000.0, &Some(scaling))
        );

        let fields = four.as_object_mut().unwrap();
        let theta = fields.remove("rope_theta").unwrap();
        let mut parameters = fields.remove("rope_scaling").unwrap();
        parameters["rope_theta"] = theta;
        fields.insert("rope_parameters".to_owned(), parameters);
        let dtype = fields.remove("torch_dtype").unwrap();
        fields.insert("dtype".to_owned(), dtype);
        assert_eq!(parse(four), (config, Some(FloatType::Bf16)));
    }

    #[test]
    fn linear_and_default_rope() {
        let mut config = bare();
        config["rope_scaling"] = json!({"type": "linear", "factor": 2});
        assert_eq!(
            parse(config.clone()).0.ropes[0].scaling,
            Some(RopeScaling::Linear { factor: 2.0 })
        );
        config["rope_scaling"] = Value::Null;
        config["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 5e5});
        let (config, _) = parse(config);
        let plain = RopeParameters {
            theta: 5e5,
            features: 128,
            scaling: None,
        };
        assert_eq!(config.ropes, [plain]);
    }
}
