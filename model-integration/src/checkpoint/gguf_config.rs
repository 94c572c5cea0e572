//! What a GGUF file of a Llama says, in the words of a `config.json`, and its names of tensors.

use serde_json::{Map, Value, json};

use super::gguf::Gguf;
use super::{CheckpointError, layout};

/// Divisors of the rotary frequencies, `[head_dim / 2]`, where they are stretched.
const FREQUENCIES: &str = "rope_freqs.weight";

/// Embedding, final norm and head, then the modules of a layer: a Llama's name, and the file's.
const NAMES: [(&str, &str); 3] = [
    (layout::EMBEDDING, "token_embd.weight"),
    (layout::FINAL_NORM, "output_norm.weight"),
    (layout::HEAD, "output.weight"),
];
const MODULES: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// The file's name of a tensor of a Llama.
pub(super) fn tensor_name(name: &str) -> String {
    if let Some((_, own)) = NAMES.iter().find(|(of_llama, _)| *of_llama == name) {
        return (*own).to_owned();
    }
    let parts = || {
        let (layer, module) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let (module, tensor) = module.rsplit_once('.')?;
        let (_, own) = MODULES.iter().find(|(of_llama, _)| *of_llama == module)?;
        Some(format!("blk.{layer}.{own}.{tensor}"))
    };
    parts().unwrap_or_else(|| name.to_owned())
}

/// Whether llama.cpp stores the two halves of each head of this tensor in turns, for a rotation of
/// neighbours.
pub(super) fn is_in_turns(name: &str) -> bool {
    name.contains("self_attn.q_proj.") || name.contains("self_attn.k_proj.")
}

/// The config of the model.
///
/// # Errors
/// `MissingField` and `Field` for metadata that are absent or are not those of a Llama; the values
/// themselves are left to whoever reads the config.
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
    let key = |name: &str| format!("llama.{name}");
    let optional = |name: &str| metadata.get(&key(name)).cloned();
    let required = |name: &str| optional(name).ok_or_else(|| wrong(&key(name), "a number"));
    let is = |name: &str, value: u64| {
        metadata
            .get(name)
            .is_none_or(|found| found.as_u64() == Some(value))
    };
    if metadata.get("general.architecture") != Some(&json!("llama")) {
        return Err(wrong("general.architecture", "\"llama\""));
    }
    if !is("llama.expert_count", 0) {
        return Err(wrong(
            "llama.expert_count",
            "0 (a model of experts is not read)",
        ));
    }

    let find = |name: &str| gguf.file.tensors().iter().find(|(own, ..)| own == name);
    let embedding = find("token_embd.weight").map(|(_, info, _)| info.shape[0]);
    let vocabulary = embedding
        .map(Value::from)
        .or_else(|| optional("vocab_size"));
    let mut config = Map::new();
    let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
    set("model_type", json!("llama"));
    set("architectures", json!(["LlamaForCausalLM"]));
    set("vocab_size", vocabulary.unwrap_or(Value::Null));
    set(
        "tie_word_embeddings",
        find("output.weight").is_none().into(),
    );
    let has_bias = |name: &str| Value::from(find(name).is_some());
    set("attention_bias", has_bias("blk.0.attn_q.bias"));
    set("mlp_bias", has_bias("blk.0.ffn_gate.bias"));
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
        && !(is("llama.rope.dimension_count", head_dim)
            && is("llama.attention.value_length", head_dim))
    {
        let field = match is("llama.rope.dimension_count", head_dim) {
            true => "llama.attention.value_length",
            false => "llama.rope.dimension_count",
        };
        return Err(wrong(field, &format!("the size of a head, {head_dim}")));
    }
    let rope = match find(FREQUENCIES) {
        Some((_, info, range)) if info.dtype == safetensors::Dtype::F32 => {
            let (divisors, _) = gguf.file.bytes()[range.clone()].as_chunks::<4>();
            let divisors: Vec<f32> = divisors.iter().map(|&x| f32::from_le_bytes(x)).collect();
            // The same of all lengths.
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
            Some(_) => return Err(wrong("llama.rope.scaling.type", "\"none\" or \"linear\"")),
        },
    };
    set("rope_scaling", rope);
    Ok(Value::Object(config))
}
