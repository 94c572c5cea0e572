//! The metadata of a GGUF file as a `config.json`.

use serde_json::{Map, Value, json};

use super::CheckpointError;
use super::gguf::Gguf;
use crate::description::architecture::{ARCHITECTURES, Bias};
use crate::description::parameters::{Role, gguf_module_name};

/// Divisors of scaled rotary frequencies, `[head_dim / 2]`.
const FREQUENCIES: &str = "rope_freqs.weight";

/// The config of the model.
///
/// # Errors
/// `MissingField` and `Field` for absent metadata and unsupported architectures. The values are
/// checked when the config is parsed.
pub(super) fn config_json(gguf: &Gguf) -> Result<Value, CheckpointError> {
    let metadata = &gguf.metadata;
    let file = gguf.file.path();
    let wrong = |key: &str, expected: &str| {
        let (file, field, expected) = (file.to_owned(), key.to_owned(), expected.to_owned());
        match metadata.get(key) {
            None => CheckpointError::MissingField {
                file,
                field,
                expected,
            },
            Some(found) => CheckpointError::Field {
                file,
                field,
                expected,
                found: found.to_string(),
            },
        }
    };
    const ARCHITECTURE: &str = "general.architecture";
    let read = || {
        ARCHITECTURES
            .into_iter()
            .filter_map(|one| Some((one.gguf?.name, one)))
    };
    let found = metadata.get(ARCHITECTURE);
    let Some((prefix, architecture)) = read().find(|(name, _)| found == Some(&json!(name))) else {
        let names: Vec<String> = read().map(|(name, _)| format!("\"{name}\"")).collect();
        return Err(wrong(ARCHITECTURE, &names.join(" or ")));
    };
    let key = |name: &str| format!("{prefix}.{name}");
    let optional = |name: &str| metadata.get(&key(name)).cloned();
    let required = |name: &str| optional(name).ok_or_else(|| wrong(&key(name), "a number"));
    let is = |name: &str, value: u64| {
        metadata
            .get(&key(name))
            .is_none_or(|found| found.as_u64() == Some(value))
    };
    if !is("expert_count", 0) {
        let expected = "0 (mixtures of experts are not supported)";
        return Err(wrong(&key("expert_count"), expected));
    }

    let find = |name: &str| gguf.file.tensors().iter().find(|(own, ..)| own == name);
    let name = |layer, role, part| format!("{}.{part}", gguf_module_name(layer, role));
    let embedding = find(&name(None, Role::Embedding, "weight"));
    let embedding = embedding.map(|(_, info, _)| info.shape[0]);
    let vocabulary = embedding
        .map(Value::from)
        .or_else(|| optional("vocab_size"));
    let mut config = Map::new();
    let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
    set("model_type", json!(architecture.model_type));
    set("architectures", json!([architecture.class]));
    set("vocab_size", vocabulary.unwrap_or(Value::Null));
    let head = find(&name(None, Role::Head, "weight"));
    set("tie_word_embeddings", head.is_none().into());
    for (field, bias) in Bias::FIELDS {
        let mut biases = architecture.biases.iter();
        if let Some((_, [first, ..])) = biases.find(|(when, _)| *when == bias) {
            let bias = name(Some(0), Role::Projection(*first), "bias");
            set(field, find(&bias).is_some().into());
        }
    }
    for (name, own) in [
        ("hidden_size", "embedding_length"),
        ("intermediate_size", "feed_forward_length"),
        ("num_hidden_layers", "block_count"),
        ("num_attention_heads", "attention.head_count"),
        ("max_position_embeddings", "context_length"),
        ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ] {
        set(name, required(own)?);
    }
    for (name, own) in [
        ("num_key_value_heads", "attention.head_count_kv"),
        ("head_dim", "attention.key_length"),
        ("rope_theta", "rope.freq_base"),
    ] {
        if let Some(value) = optional(own) {
            set(name, value);
        }
    }
    for name in ["bos", "eos"] {
        let id = metadata.get(&format!("tokenizer.ggml.{name}_token_id"));
        set(
            &format!("{name}_token_id"),
            id.cloned().unwrap_or(Value::Null),
        );
    }
    let head_dim =
        (optional("attention.key_length").and_then(|value| value.as_u64())).or_else(|| {
            let (hidden, heads) = (
                required("embedding_length"),
                required("attention.head_count"),
            );
            hidden.ok()?.as_u64()?.checked_div(heads.ok()?.as_u64()?)
        });
    if let Some(head_dim) = head_dim
        && let Some(other) = ["rope.dimension_count", "attention.value_length"]
            .into_iter()
            .find(|name| !is(name, head_dim))
    {
        let expected = format!("the head size, {head_dim}");
        return Err(wrong(&key(other), &expected));
    }
    let rope = match find(FREQUENCIES) {
        Some((_, info, range)) if info.dtype == safetensors::Dtype::F32 => {
            let (divisors, _) = gguf.file.bytes()[range.clone()].as_chunks::<4>();
            let divisors: Vec<f32> = divisors.iter().map(|&x| f32::from_le_bytes(x)).collect();
            // The same factor for all lengths.
            json!({
                "rope_type": "longrope", "short_factor": divisors, "long_factor": divisors,
                "attention_factor": 1.0,
            })
        }
        Some(_) => return Err(wrong(FREQUENCIES, "F32")),
        None => match optional("rope.scaling.type")
            .as_ref()
            .and_then(Value::as_str)
        {
            None | Some("none") => Value::Null,
            Some("linear") => {
                json!({"rope_type": "linear", "factor": required("rope.scaling.factor")?})
            }
            Some(_) => {
                let expected = "\"none\" or \"linear\"";
                return Err(wrong(&key("rope.scaling.type"), expected));
            }
        },
    };
    set("rope_scaling", rope);
    Ok(Value::Object(config))
}
