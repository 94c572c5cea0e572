//! Architectures that are not supported, fields that an architecture does not have, and fields of
//! the supported ones with values out of range.

use serde_json::{Value, json};

use super::mutation::{Case, Model, case};
use crate::checkpoint::tiny::TinyModel;

/// Makes it a model of another architecture with more fields; its tensors stay a Llama's.
fn become_of(model: &mut TinyModel, model_type: &str, class: &str, fields: Value) {
    model.config["model_type"] = json!(model_type);
    model.config["architectures"] = json!([class]);
    for (name, value) in fields.as_object().expect("fields") {
        model.config[name] = value.clone();
    }
}

fn gemma2(model: &mut TinyModel, fields: Value) {
    become_of(model, "gemma2", "Gemma2ForCausalLM", fields);
}

fn qwen2(model: &mut TinyModel, fields: Value) {
    become_of(model, "qwen2", "Qwen2ForCausalLM", fields);
}

fn mixtral(model: &mut TinyModel, fields: Value) {
    become_of(model, "mixtral", "MixtralForCausalLM", fields);
}

pub const CASES: &[Case] = &[
    case(
        "a relative",
        Model(|m| become_of(m, "cohere", "CohereForCausalLM", json!({}))),
        &[
            "`model_type` is \"cohere\"; expected \"llama\", \"mistral\", ",
            "the nearest is \"llama\"; what a cohere has besides: attention and MLP side by side",
        ],
    ),
    case(
        "a resembling name",
        Model(|m| become_of(m, "qwen3_audio", "X", json!({}))),
        &["the nearest name is \"qwen3\" (Qwen3, with norms of queries and keys)"],
    ),
    case(
        "a cap in a Llama",
        Model(|m| m.config["attn_logit_softcapping"] = json!(50.0)),
        &["`attn_logit_softcapping` is 50.0; expected null (a llama has no soft cap of attention)"],
    ),
    case(
        "a window in a Llama",
        Model(|m| m.config["sliding_window"] = json!(16)),
        &["`sliding_window` is 16; expected null (a llama has no window)"],
    ),
    case(
        "a factor in a Llama",
        Model(|m| m.config["residual_multiplier"] = json!(0.22)),
        &["`residual_multiplier` is 0.22; expected 1 (a llama has no factor of layers)"],
    ),
    case(
        "experts in a Llama",
        Model(|m| m.config["num_local_experts"] = json!(8)),
        &["`num_local_experts` is 8; expected null (a llama has no experts)"],
    ),
    case(
        "types of layers in a Llama",
        Model(|m| m.config["layer_types"] = json!(["full_attention", "sliding_attention"])),
        &[
            "`layer_types` is [",
            "a llama has no layers of several types",
        ],
    ),
    case(
        "a rotation for each type of layer in a Llama",
        Model(|m| {
            m.config["rope_parameters"] = json!({"full_attention": {"rope_type": "default"}});
        }),
        &[
            "`rope_parameters.full_attention`",
            "all layers of a llama rotate alike",
        ],
    ),
    case(
        "a window of zero",
        Model(|m| gemma2(m, json!({"sliding_window": 0}))),
        &["`sliding_window` is 0; expected an integer from 1"],
    ),
    case(
        "a cap of zero",
        Model(|m| gemma2(m, json!({"attn_logit_softcapping": 0.0}))),
        &["`attn_logit_softcapping` is 0.0; expected a number above 0"],
    ),
    case(
        "types without a window",
        Model(|m| gemma2(m, json!({"sliding_window": null}))),
        &["`sliding_window` is missing; expected an integer, as layers have a window"],
    ),
    case(
        "types and a window that is turned off",
        Model(|m| {
            qwen2(
                m,
                json!({
                    "use_sliding_window": false, "sliding_window": 16,
                    "layer_types": ["sliding_attention", "full_attention"],
                }),
            );
        }),
        &["`use_sliding_window` is false; expected true, as layer_types has layers of `sliding_"],
    ),
    case(
        "an unknown type of layer",
        Model(|m| {
            qwen2(
                m,
                json!({"layer_types": ["full_attention", "linear_attention"]}),
            )
        }),
        &["`layer_types`", "(not \"linear_attention\")"],
    ),
    case(
        "too few types of layers",
        Model(|m| qwen2(m, json!({"layer_types": ["full_attention"]}))),
        &["`layer_types` is [\"full_attention\"]; expected a list of 2 types"],
    ),
    case(
        "rotations of some layers",
        Model(|m| {
            let fields = json!({"no_rope_layers": [1, 2]});
            become_of(m, "smollm3", "SmolLM3ForCausalLM", fields);
        }),
        &["`no_rope_layers` is [1,2]; expected a list of 2 numbers, 0 (no rotation) or 1"],
    ),
    case(
        "more experts for a token than there are",
        Model(|m| mixtral(m, json!({"num_local_experts": 2, "num_experts_per_tok": 3}))),
        &["`num_experts_per_tok` is 3; expected at most the number of experts, 2"],
    ),
    case(
        "no number of experts",
        Model(|m| mixtral(m, json!({}))),
        &["`num_local_experts` is missing"],
    ),
    case(
        "experts without tensors",
        Model(|m| mixtral(m, json!({"num_local_experts": 2}))),
        &["`model.layers.0.block_sparse_moe.gate.weight` is missing; expected shape [2, 8]"],
    ),
    case(
        "a slow limit of YaRN above the fast one",
        Model(|m| {
            m.config["rope_scaling"] = json!({"type": "yarn", "factor": 4, "beta_slow": 40});
        }),
        &["`rope_scaling.beta_slow` is 40; expected at most beta_fast = 32"],
    ),
];
