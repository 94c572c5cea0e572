//! The metadata of a GGUF file as a `config.json`.

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::{Entry, Gguf};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::weight_file::WeightFile;
use crate::config::Projection;
use crate::description::architecture::{ARCHITECTURES, Architecture, Condition, Module, Rotations};
use crate::description::kinds::NormKind;
use crate::description::parameters::{Role, gguf_outer_name};

const ROPE_TYPE: &str = "rope.scaling.type";
const ARCHITECTURE: &str = "general.architecture";
/// Divisors of rotary frequencies for all lengths, `[head_dim / 2]`.
pub const FREQUENCIES: &str = "rope_freqs.weight";
/// Those for lengths up to those of the training.
pub const SHORT_FREQUENCIES: &str = "rope_factors_short.weight";
/// Those for longer ones.
pub const LONG_FREQUENCIES: &str = "rope_factors_long.weight";

/// Fields of a `config.json`, and the keys of the same numbers. Zero stands for no number.
pub const NUMBERS: [(&str, &str); 7] = [
    ("sliding_window", "attention.sliding_window"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
    ("embedding_multiplier", "embedding_scale"),
    ("residual_multiplier", "residual_scale"),
    ("attention_multiplier", "attention.scale"),
    ("logits_scaling", "logit_scale"),
];

/// llama.cpp's base of rotary frequencies where a file has none.
const THETA: f64 = 10_000.0;

/// Keys of what no architecture here has, and the value that means none.
const REFUSED: [(&str, Value); 5] = [
    ("attention.causal", Value::Bool(true)),
    ("attention.clamp_kqv", Value::Null),
    ("attention.max_alibi_bias", Value::Null),
    ("use_parallel_residual", Value::Bool(false)),
    ("nextn_predict_layers", Value::Null),
];

/// The key of a norm's epsilon.
pub const fn norm_eps(architecture: &Architecture) -> &'static str {
    match architecture.norm {
        NormKind::Layer => "attention.layer_norm_epsilon",
        _ => "attention.layer_norm_rms_epsilon",
    }
}

/// The metadata of a model whose architecture is known.
struct Source<'a> {
    gguf: &'a Gguf,
    /// Before the dot of most keys.
    prefix: &'static str,
}

/// The config of the model.
///
/// # Errors
/// `MissingField` and `Field` for absent metadata and unsupported architectures. The values are
/// checked when the config is parsed.
pub(in crate::checkpoint) fn config_json(gguf: &Gguf) -> Result<Value, CheckpointError> {
    let (prefix, architecture) = architecture(gguf)?;
    let source = Source { gguf, prefix };
    source.check_supported()?;
    let find = |role, part: &str| gguf.find(&format!("{}.{part}", gguf_outer_name(role)));
    let rows = |(file, index): (&WeightFile, usize)| {
        let (_, info, _) = &file.tensors()[index];
        Value::from(info.shape[0])
    };
    let vocabulary = find(Role::Embedding, "weight").map(rows);

    let mut config = Map::new();
    let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
    set("model_type", json!(architecture.model_type));
    set("architectures", json!([architecture.class]));
    let vocabulary = vocabulary.or(source.size("vocab_size")?);
    set("vocab_size", vocabulary.unwrap_or(Value::Null));
    let is_tied = find(Role::Head, "weight").is_none();
    set("tie_word_embeddings", is_tied.into());
    for (bias, projections) in architecture.biases {
        if let Condition::If(field, _) = bias {
            set(field, source.has_bias(architecture, projections).into());
        }
    }
    for (name, own) in [
        ("hidden_size", "embedding_length"),
        ("intermediate_size", "feed_forward_length"),
        ("num_hidden_layers", "block_count"),
        ("num_attention_heads", "attention.head_count"),
        ("max_position_embeddings", "context_length"),
        (architecture.norm_eps, norm_eps(architecture)),
    ] {
        let value = source.size(own)?;
        set(name, value.ok_or_else(|| source.wrong(own, "a number"))?);
    }
    for (name, own) in [
        ("num_key_value_heads", "attention.head_count_kv"),
        ("head_dim", "attention.key_length"),
    ] {
        // Without it a rule holds, not a default of transformers.
        set(name, source.size(own)?.unwrap_or(Value::Null));
    }
    let theta = source.size("rope.freq_base")?;
    set("rope_theta", theta.unwrap_or(json!(THETA)));
    for (name, own) in [
        ("rope_local_base_freq", "rope.freq_base_swa"),
        ("sliding_window_pattern", "attention.sliding_window_pattern"),
    ] {
        let rotates_by_window = architecture.rotations == Rotations::ByWindow;
        match source.size(own)? {
            None => {}
            Some(value) if rotates_by_window && value.is_number() => drop(set(name, value)),
            Some(_) => {
                let expected = match rotates_by_window {
                    true => "a number".to_owned(),
                    false => format!("nothing (a {} has no {name})", architecture.model_type),
                };
                return Err(source.wrong(own, &expected));
            }
        }
    }
    for (name, own) in NUMBERS {
        let is_zero = |value: &Value| value.as_f64() == Some(0.0);
        let value = source.size(own)?.filter(|value| !is_zero(value));
        match (value, architecture.reads(name)) {
            (Some(value), true) => set(name, value),
            (Some(_), false) => {
                let expected = format!("nothing (a {} has no {name})", architecture.model_type);
                return Err(source.wrong(own, &expected));
            }
            // The file has no window; a default of transformers would be one.
            (None, true) if name == "sliding_window" => set(name, Value::Null),
            (None, _) => None,
        };
    }
    if architecture.reads("query_pre_attn_scalar") {
        set("query_pre_attn_scalar", source.query_scalar()?);
    }
    for (name, ids) in super::tokenizer::special_ids(gguf) {
        set(name, ids);
    }
    set("rope_scaling", source.rope_scaling()?);
    Ok(Value::Object(config))
}

/// The tensors that the config was made of.
pub(super) fn tensors(gguf: &Gguf) -> &'static [&'static str] {
    let source = architecture(gguf).map(|(prefix, _)| Source { gguf, prefix });
    match source.and_then(|source| gguf.text(&source.key(ROPE_TYPE))) {
        Ok(Some("longrope")) => &[SHORT_FREQUENCIES, LONG_FREQUENCIES],
        _ => &[FREQUENCIES],
    }
}

/// The architecture, and the prefix of its metadata.
fn architecture(gguf: &Gguf) -> Result<(&'static str, &'static Architecture), CheckpointError> {
    let read = || {
        let all = ARCHITECTURES.into_iter();
        all.filter_map(|one| Some((one.gguf?.name, one)))
    };
    let found = gguf.text(ARCHITECTURE)?;
    let known = read().find(|(name, _)| found == Some(name));
    known.ok_or_else(|| {
        let names = read().map(|(name, _)| format!("\"{name}\""));
        let mut names: Vec<String> = names.collect();
        // A Mistral's files are a Llama's.
        names.dedup();
        gguf.wrong(ARCHITECTURE, &names.join(" or "))
    })
}

impl Source<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn wrong(&self, name: &str, expected: &str) -> CheckpointError {
        self.gguf.wrong(&self.key(name), expected)
    }

    /// A number; an array with one for each layer must have one value.
    fn size(&self, name: &str) -> Result<Option<Value>, CheckpointError> {
        let key = self.key(name);
        match self.gguf.metadata.get(&key) {
            None => Ok(None),
            Some(Entry::Value(value)) => Ok(Some(value.clone())),
            Some(Entry::Array(_)) => {
                let numbers = self.gguf.numbers(&key)?.unwrap_or_default();
                match numbers.split_first() {
                    Some((first, others)) if others.iter().all(|other| other == first) => {
                        Ok(Some(json!(*first as i64)))
                    }
                    _ => Err(self.wrong(name, "one number, or the same for every layer")),
                }
            }
        }
    }

    fn number(&self, name: &str) -> Result<Option<f64>, CheckpointError> {
        match self.gguf.value(&self.key(name)) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(name, "a number")),
            },
        }
    }

    /// The size of which a Gemma's factor of queries is the reciprocal root. Files do not have it;
    /// llama.cpp knows the two models where it is not that of a head.
    fn query_scalar(&self) -> Result<Value, CheckpointError> {
        const LAYERS_OF_27B: [u64; 2] = [46, 62];
        let size = |name| Ok::<_, CheckpointError>(self.size(name)?.and_then(|x| x.as_u64()));
        let of_width = size("embedding_length")?.zip(size("attention.head_count")?);
        let of_width = of_width.and_then(|(width, heads)| width.checked_div(heads));
        let is_27b = size("block_count")?.is_some_and(|layers| LAYERS_OF_27B.contains(&layers));
        let of_head = size("attention.key_length")?.filter(|_| !is_27b);
        Ok(json!(of_head.or(of_width)))
    }

    /// Refuses features that the forward pass lacks.
    fn check_supported(&self) -> Result<(), CheckpointError> {
        if self
            .number("expert_count")?
            .is_some_and(|count| count != 0.0)
        {
            let expected = "0 (mixtures of experts are not supported)";
            return Err(self.wrong("expert_count", expected));
        }
        for (name, none) in REFUSED {
            let is_none = |value: &Value| value.as_f64() == Some(0.0) || *value == none;
            if self.size(name)?.is_some_and(|value| !is_none(&value)) {
                let expected = match none {
                    Value::Bool(none) => none.to_string(),
                    _ => "0, or nothing".to_owned(),
                };
                return Err(self.wrong(name, &expected));
            }
        }
        let size = |name| -> Result<Option<u64>, CheckpointError> {
            Ok(self.size(name)?.and_then(|value| value.as_u64()))
        };
        let head_dim = match size("attention.key_length")? {
            Some(head_dim) => Some(head_dim),
            None => {
                let heads = size("attention.head_count")?;
                let hidden = size("embedding_length")?;
                hidden
                    .zip(heads)
                    .and_then(|(hidden, heads)| hidden.checked_div(heads))
            }
        };
        for other in ["rope.dimension_count", "attention.value_length"] {
            if let (Some(head_dim), Some(found)) = (head_dim, size(other)?)
                && head_dim != found
            {
                return Err(self.wrong(other, &format!("the head size, {head_dim}")));
            }
        }
        Ok(())
    }

    /// Whether any layer has one of these biases; llama.cpp adds those that are there.
    fn has_bias(&self, architecture: &Architecture, projections: &[Projection]) -> bool {
        let is_one = |role: Role| projections.iter().any(|&one| Role::Projection(one) == role);
        let modules = architecture.modules().filter(|module| is_one(module.0));
        let suffixes = modules.map(|Module(_, _, name)| format!(".{name}.bias"));
        let suffixes: Vec<String> = suffixes.collect();
        let files = self.gguf.files.iter();
        let mut names = files.flat_map(|file| file.tensors().iter().map(|(name, ..)| name));
        names.any(|name| {
            let in_layer = name.trim_start_matches("blk.");
            let in_layer = in_layer.trim_start_matches(|letter: char| letter.is_ascii_digit());
            name.starts_with("blk.") && suffixes.iter().any(|suffix| suffix == in_layer)
        })
    }

    /// The scaling of rotary frequencies: by one factor for all of them, whose type is linear
    /// unless it is named, and by a divisor for each.
    fn rope_scaling(&self) -> Result<Value, CheckpointError> {
        const FACTOR: &str = "rope.scaling.factor";
        /// The name of the factor before types.
        const OLD_FACTOR: &str = "rope.scale_linear";
        let kind = self.gguf.text(&self.key(ROPE_TYPE))?;
        let given = match self.number(FACTOR)? {
            Some(factor) => Some((FACTOR, factor)),
            None => self.number(OLD_FACTOR)?.map(|factor| (OLD_FACTOR, factor)),
        };
        // Zero is no scaling.
        let given = given.filter(|&(_, factor)| factor != 0.0);
        if let Some((name, _)) = given.filter(|&(_, factor)| factor < 1.0 || !factor.is_finite()) {
            return Err(self.wrong(name, "a number of at least 1"));
        }
        let factor = match (kind, given) {
            (Some("none"), _) => 1.0,
            (Some("longrope"), _) => return self.long_rope(),
            (None, None) => 1.0,
            (None | Some("linear"), Some((_, factor))) => factor,
            (Some("linear"), None) => return Err(self.wrong(FACTOR, "a number")),
            (Some(_), _) => {
                let expected = "\"none\", \"linear\" or \"longrope\"";
                return Err(self.wrong(ROPE_TYPE, expected));
            }
        };
        let attention_factor = self.attention_factor()?;
        let divisors = match self.divisors(FREQUENCIES)? {
            Some(divisors) => divisors,
            None if attention_factor == 1.0 && factor == 1.0 => return Ok(Value::Null),
            None if attention_factor == 1.0 => {
                return Ok(json!({"rope_type": "linear", "factor": factor}));
            }
            None => {
                return Err(
                    self.wrong("rope.scaling.attn_factor", "1, unless the type is longrope")
                );
            }
        };
        // The same divisors for all lengths.
        let divisors: Vec<f64> = divisors
            .into_iter()
            .map(|divisor| divisor * factor)
            .collect();
        Ok(json!({
            "rope_type": "longrope", "short_factor": divisors, "long_factor": divisors,
            "attention_factor": attention_factor,
        }))
    }

    fn attention_factor(&self) -> Result<f64, CheckpointError> {
        Ok(self.number("rope.scaling.attn_factor")?.unwrap_or(1.0))
    }

    fn long_rope(&self) -> Result<Value, CheckpointError> {
        let required = |name: &str| {
            let divisors = self.divisors(name)?;
            divisors.ok_or_else(|| self.gguf.wrong(name, "a tensor, as the type is longrope"))
        };
        let mut scaling = json!({
            "rope_type": "longrope", "short_factor": required(SHORT_FREQUENCIES)?,
            "long_factor": required(LONG_FREQUENCIES)?,
            "attention_factor": self.attention_factor()?,
        });
        if let Some(length) = self.size("rope.scaling.original_context_length")? {
            scaling["original_max_position_embeddings"] = length;
        }
        Ok(scaling)
    }

    /// A tensor of divisors.
    fn divisors(&self, name: &str) -> Result<Option<Vec<f64>>, CheckpointError> {
        let Some((file, index)) = self.gguf.find(name) else {
            return Ok(None);
        };
        let (_, info, range) = &file.tensors()[index];
        if info.dtype != Dtype::F32 {
            return Err(CheckpointError::Dtype {
                file: file.path().to_owned(),
                tensor: name.to_owned(),
                dtype: info.dtype.to_string(),
            });
        }
        let (divisors, _) = file.bytes()[range.clone()].as_chunks::<4>();
        let divisors = divisors.iter().map(|&x| f64::from(f32::from_le_bytes(x)));
        Ok(Some(divisors.collect()))
    }
}
