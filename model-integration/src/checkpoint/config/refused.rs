//! Fields that change results in some architecture, and that the model's own does not have. Such a
//! field is refused unless its value changes nothing.

use serde_json::Value;

use super::Fields;
use crate::checkpoint::CheckpointError;
use crate::description::ModelConfig;

/// The values of a field that change nothing.
#[derive(Clone, Copy)]
enum Neutral {
    /// Null, false, zero, nothing in a list.
    No,
    /// This number.
    Number(f64),
    /// The factor that a Llama has.
    InverseRootOfHead,
    /// The size of which a Llama's factor is the reciprocal root.
    Head,
    /// Null, a window as long as the longest sequence, or one that a flag turns off.
    NoWindow,
    /// A list of ones.
    Ones,
    /// A type for each layer that agrees with its window.
    Types,
}

use Neutral::{Head, InverseRootOfHead, No, NoWindow, Number, Ones, Types};

/// The fields, and what they are.
#[rustfmt::skip]
const FIELDS: [(&str, Neutral, &str); 44] = [
    ("attention_bias", No, "such biases"),
    ("mlp_bias", No, "such biases"),
    ("use_bias", No, "such biases"),
    ("qkv_bias", No, "such biases"),
    ("lm_head_bias", No, "bias of the head"),
    ("use_mrope", No, "rotation by several positions"),
    ("attention_out_bias", No, "such biases"),
    ("attn_logit_softcapping", No, "soft cap of attention"),
    ("final_logit_softcapping", No, "soft cap of logits"),
    ("query_pre_attn_scalar", Head, "such factor of queries"),
    ("attention_multiplier", InverseRootOfHead, "such factor of queries"),
    ("embedding_multiplier", Number(1.0), "factor of embeddings"),
    ("residual_multiplier", Number(1.0), "factor of layers"),
    ("logits_scaling", Number(1.0), "divisor of logits"),
    ("logit_scale", Number(1.0), "factor of logits"),
    ("scale_emb", Number(1.0), "factor of embeddings"),
    ("scale_depth", No, "factor of layers"),
    ("dim_model_base", No, "divisor of logits"),
    ("lm_head_multiplier", Number(1.0), "factor of logits"),
    ("key_multiplier", Number(1.0), "factor of keys"),
    ("attention_in_multiplier", Number(1.0), "factor of attention"),
    ("attention_out_multiplier", Number(1.0), "factor of attention"),
    ("sliding_window", NoWindow, "window"),
    ("attention_chunk_size", NoWindow, "chunks of attention"),
    ("layer_types", Types, "layers of several types"),
    ("no_rope_layers", Ones, "layers without rotation"),
    ("rope_local_base_freq", No, "second base of rotations"),
    ("rotary_pct", Number(1.0), "rotation in part"),
    ("rope_interleave", No, "rotation of neighbouring features"),
    ("use_qk_norm", No, "norms of queries and keys"),
    ("qk_norm", No, "norms of queries and keys"),
    ("qk_layernorm", No, "norms of queries and keys"),
    ("clip_qkv", No, "limit of queries, keys and values"),
    ("alibi", No, "ALiBi"),
    ("attn_temperature_tuning", No, "scale of queries by position"),
    ("use_bidirectional_attention", No, "attention to later tokens"),
    ("parallel_attn", No, "halves of layers side by side"),
    ("use_parallel_residual", No, "halves of layers side by side"),
    ("num_local_experts", No, "experts"),
    ("num_experts", No, "experts"),
    ("n_routed_experts", No, "experts"),
    ("n_shared_experts", No, "experts"),
    ("shared_expert_intermediate_size", No, "shared expert"),
    ("swiglu_limit", No, "limit of the MLP's function"),
];

/// Checks that the fields which the architecture does not have change nothing.
///
/// # Errors
/// `Field` with the first that would.
pub(super) fn check(fields: Fields, config: &ModelConfig) -> Result<(), CheckpointError> {
    // `mlx-lm` writes it beside a copy in `quantization_config`.
    if fields.object("quantization")?.is_some() {
        let expected = "nothing: these are weights quantised by MLX, which are not read; give the \
            model that they were made from, or a copy by mlx_lm.convert --dequantize";
        return Err(fields.error("quantization", expected));
    }
    let architecture = config.architecture;
    for (name, neutral, what) in FIELDS {
        let Some(value) = fields.get(name).filter(|_| !architecture.reads(name)) else {
            continue;
        };
        if !neutral.holds(value, fields, config) {
            let plain = neutral.plain(value, config);
            let model_type = architecture.model_type;
            return Err(fields.error(name, format!("{plain} (a {model_type} has no {what})")));
        }
    }
    Ok(())
}

impl Neutral {
    /// Whether a value changes nothing.
    fn holds(self, value: &Value, fields: Fields, config: &ModelConfig) -> bool {
        let number = value.as_f64();
        let is_near = |expected: f64| {
            number.is_some_and(|number| (number - expected).abs() <= 1e-9 * expected.abs())
        };
        let list = value.as_array();
        match self {
            No => value == false || number == Some(0.0) || list.is_some_and(Vec::is_empty),
            Number(expected) => is_near(expected),
            Head => is_near(config.head_dim as f64),
            InverseRootOfHead => is_near(1.0 / (config.head_dim as f64).sqrt()),
            NoWindow => {
                fields.get("use_sliding_window") == Some(&Value::Bool(false))
                    || number.is_some_and(|window| window >= config.max_position_embeddings as f64)
            }
            Ones => list.is_some_and(|list| list.iter().all(|one| one == 1 || one == true)),
            Types => list.is_some_and(|list| {
                let kind = |has_window| match has_window {
                    true => "sliding_attention",
                    false => "full_attention",
                };
                let layers = config
                    .layers
                    .iter()
                    .map(|layer| kind(layer.window.is_some()));
                list.len() == config.layers.len() && list.iter().zip(layers).all(|(a, b)| a == b)
            }),
        }
    }

    /// Such a value in words, of the type of the one that was found.
    fn plain(self, found: &Value, config: &ModelConfig) -> String {
        match self {
            No if found.is_boolean() => "false".to_owned(),
            No | NoWindow => "null".to_owned(),
            Number(number) => format!("{number}"),
            Head => format!("{}", config.head_dim),
            InverseRootOfHead => format!("1 / sqrt({})", config.head_dim),
            Ones => "ones alone".to_owned(),
            Types => "nothing, or the types that layers have".to_owned(),
        }
    }
}
