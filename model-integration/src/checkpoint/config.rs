//! Reads `config.json` of a supported architecture, and checks every field.
//!
//! Fields and defaults are those of `LlamaConfig` and `Phi3Config` in Hugging Face transformers, as
//! version 4 (`torch_dtype`, `rope_scaling`, `rope_theta`) or version 5 (`dtype`,
//! `rope_parameters`) writes them.

use std::path::Path;

use mxlab_kernels::format::FloatType;
use serde_json::{Value, json};

use super::encoding::Encoding;
use super::fields::{Fields, parse_object};
use super::{CheckpointError, rope_scaling};
use crate::description::architecture::{ARCHITECTURES, Bias};
use crate::description::{Architecture, ModelConfig, RopeScaling};

// Bounds far above any Llama: products of two of them stay below 2^63, and a corrupt config gets an
// error of its own instead of a failed allocation.
const MAX_VOCABULARY: usize = 1 << 24;
const MAX_WIDTH: usize = 1 << 22;
const MAX_LAYERS: usize = 1 << 12;
const MAX_HEADS: usize = 1 << 14;
const MAX_HEAD_DIM: usize = 1 << 14;
const MAX_POSITIONS: usize = 1 << 30;

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
    /// `Json`, `MissingField` and `Field`, for anything that is not a supported Llama.
    pub(super) fn parse(json: &[u8], file: &Path) -> Result<Parsed, CheckpointError> {
        let object = parse_object(json, file)?;
        let fields = Fields::new(file, &object);
        let architecture = architecture(fields)?;
        check_supported(fields, architecture)?;
        let defaults = &architecture.defaults;

        let vocab_size = fields.required_size("vocab_size", MAX_VOCABULARY)?;
        let hidden_size = fields.required_size("hidden_size", MAX_WIDTH)?;
        let num_attention_heads = fields.required_size("num_attention_heads", MAX_HEADS)?;
        let head_dim = head_dim(fields, hidden_size, num_attention_heads)?;
        let max_position_embeddings = fields
            .size("max_position_embeddings", MAX_POSITIONS)?
            .unwrap_or(defaults.max_position_embeddings);
        let (rope_theta, rope_scaling) =
            rope_scaling::parse(fields, architecture, head_dim, max_position_embeddings)?;
        let dtype = dtype(fields)?;
        let config = Self {
            architecture,
            vocab_size,
            hidden_size,
            intermediate_size: fields.required_size("intermediate_size", MAX_WIDTH)?,
            num_hidden_layers: fields.required_size("num_hidden_layers", MAX_LAYERS)?,
            num_attention_heads,
            num_key_value_heads: key_value_heads(fields, num_attention_heads)?,
            head_dim,
            max_position_embeddings,
            sliding_window: match architecture.has_sliding_window {
                false => None,
                true => fields.size("sliding_window", MAX_POSITIONS)?,
            },
            rms_norm_eps: fields
                .positive("rms_norm_eps", 1.0)?
                .unwrap_or(defaults.rms_norm_eps),
            rope_theta,
            rope_scaling,
            tie_word_embeddings: fields.flag("tie_word_embeddings", false)?,
            attention_bias: fields.flag("attention_bias", false)?,
            mlp_bias: fields.flag("mlp_bias", false)?,
            bos_token_id: bos_token_id(fields, vocab_size)?,
            eos_token_ids: eos_token_ids(fields, Some(defaults.eos_token_id), vocab_size)?,
            dtype: dtype.unwrap_or(FloatType::F32),
        };
        Ok(Parsed {
            config,
            dtype,
            encoding: Encoding::parse(fields)?,
        })
    }

    /// Adds the end tokens of a `generation_config.json`; `file` is for messages.
    ///
    /// # Errors
    /// `Json` and `Field`.
    pub(super) fn add_end_tokens(
        &mut self,
        json: &[u8],
        file: &Path,
    ) -> Result<(), CheckpointError> {
        let object = parse_object(json, file)?;
        for id in eos_token_ids(Fields::new(file, &object), None, self.vocab_size)? {
            if !self.eos_token_ids.contains(&id) {
                self.eos_token_ids.push(id);
            }
        }
        Ok(())
    }

    /// The config as a `config.json` that this crate and transformers can read.
    pub fn to_json(&self) -> Value {
        let mut config = json!({
            "architectures": [self.architecture.class],
            "model_type": self.architecture.model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": self.rope_scaling.as_ref().map(RopeScaling::to_json),
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": match self.eos_token_ids.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                several => json!(several),
            },
            "torch_dtype": self.dtype.name(),
        });
        if let Some(window) = self.sliding_window {
            config["sliding_window"] = window.into();
        }
        config
    }
}

/// By `model_type`, or if that is absent by `architectures`. The two must not contradict each
/// other.
fn architecture(fields: Fields) -> Result<&'static Architecture, CheckpointError> {
    let classes = fields.get("architectures");
    let has_class = |architecture: &&Architecture| {
        classes.and_then(Value::as_array).is_some_and(|classes| {
            let mut classes = classes.iter();
            classes.any(|class| class == architecture.class)
        })
    };
    let mut all = ARCHITECTURES.into_iter();
    let found = match fields.text("model_type")? {
        Some(name) => all.find(|architecture| architecture.model_type == name),
        None => all.find(has_class),
    };
    let found = found.ok_or_else(|| {
        let known = ARCHITECTURES.map(|one| format!("\"{}\" ({})", one.model_type, one.models));
        fields.error("model_type", known.join(" or "))
    })?;
    if classes.is_some() && !has_class(&found) {
        let expected = format!("a list with \"{}\"", found.class);
        return Err(fields.error("architectures", expected));
    }
    Ok(found)
}

/// Refuses features that the forward pass lacks, since ignoring them would be silently wrong.
fn check_supported(fields: Fields, architecture: &Architecture) -> Result<(), CheckpointError> {
    for (name, when) in Bias::FIELDS {
        let has_it = architecture.biases.iter().any(|(bias, _)| *bias == when);
        if !has_it && fields.flag(name, false)? {
            let expected = format!("false (a {} has no such biases)", architecture.model_type);
            return Err(fields.error(name, expected));
        }
    }
    // `mlx-lm` writes it beside a copy in `quantization_config`.
    if fields.object("quantization")?.is_some() {
        let expected = "nothing: these are weights quantised by MLX, which are not read; give the \
            model that they were made from, or a copy by mlx_lm.convert --dequantize";
        return Err(fields.error("quantization", expected));
    }
    // Two names of one function.
    let is_silu = |act| ["silu", "swish"].contains(&act);
    if fields.text("hidden_act")?.is_some_and(|act| !is_silu(act)) {
        return Err(fields.error("hidden_act", "\"silu\""));
    }
    Ok(())
}

fn key_value_heads(fields: Fields, heads: usize) -> Result<usize, CheckpointError> {
    let key_value_heads = fields
        .size("num_key_value_heads", MAX_HEADS)?
        .unwrap_or(heads);
    if !heads.is_multiple_of(key_value_heads) {
        let expected = format!("a divisor of num_attention_heads = {heads}");
        return Err(fields.error("num_key_value_heads", expected));
    }
    Ok(key_value_heads)
}

fn head_dim(fields: Fields, hidden: usize, heads: usize) -> Result<usize, CheckpointError> {
    let head_dim = match fields.size("head_dim", MAX_HEAD_DIM)? {
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

/// A token id. Outside the vocabulary there is none: transformers writes -1, and models whose
/// vocabulary was cut keep ids that no text has.
fn token_id(value: &Value, vocab_size: usize) -> Option<Option<u32>> {
    let id = value.as_i64()?;
    let id = u32::try_from(id).ok();
    Some(id.filter(|&id| (id as usize) < vocab_size))
}

/// Null means none; transformers' default for an absent key is 1.
fn bos_token_id(fields: Fields, vocab_size: usize) -> Result<Option<u32>, CheckpointError> {
    match fields.get("bos_token_id") {
        Some(value) => token_id(value, vocab_size)
            .ok_or_else(|| fields.error("bos_token_id", "a token id, or null")),
        None if fields.has_key("bos_token_id") => Ok(None),
        None => Ok(Some(1).filter(|_| vocab_size > 1)),
    }
}

/// Null means none; an absent key has the `default`.
fn eos_token_ids(
    fields: Fields,
    default: Option<u32>,
    vocab_size: usize,
) -> Result<Vec<u32>, CheckpointError> {
    let name = "eos_token_id";
    let values = match fields.get(name) {
        Some(Value::Array(values)) => values.as_slice(),
        Some(value) => std::slice::from_ref(value),
        None if fields.has_key(name) => &[],
        None => {
            let default = default.filter(|&id| vocab_size > id as usize);
            return Ok(default.into_iter().collect());
        }
    };
    let ids = values.iter().map(|value| token_id(value, vocab_size));
    let ids: Option<Vec<Option<u32>>> = ids.collect();
    let ids = ids.ok_or_else(|| fields.error(name, "a token id, a list of such, or null"))?;
    Ok(ids.into_iter().flatten().collect())
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
    use super::*;

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
        assert_eq!((config.rms_norm_eps, config.rope_theta), (1e-6, 10_000.0));
        assert_eq!(
            (config.max_position_embeddings, config.rope_scaling),
            (2048, None)
        );
        assert_eq!(
            (config.bos_token_id, config.eos_token_ids),
            (Some(1), vec![2])
        );
        assert!(!config.tie_word_embeddings && !config.attention_bias && !config.mlp_bias);
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
            (config.rope_theta, &config.rope_scaling),
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
            parse(config.clone()).0.rope_scaling,
            Some(RopeScaling::Linear { factor: 2.0 })
        );
        config["rope_scaling"] = Value::Null;
        config["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 5e5});
        let (config, _) = parse(config);
        assert_eq!((config.rope_theta, config.rope_scaling), (5e5, None));
    }
}
