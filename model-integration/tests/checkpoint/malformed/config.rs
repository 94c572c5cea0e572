//! Broken and unsupported config.json.

use serde_json::json;

use super::mutation::{
    Bytes, Case, Disk, Model, case, drop_field, halve, remove, replace_by_directory, replace_text,
    set,
};

pub const CASES: &[Case] = &[
    case(
        "config absent",
        Bytes(|f| remove(f, "config.json")),
        &["config.json: no such file"],
    ),
    case(
        "config empty",
        Bytes(|f| set(f, "config.json", b"")),
        &["config.json: the file is empty"],
    ),
    case(
        "config cut",
        Bytes(|f| halve(f, "config.json")),
        &["config.json: not valid JSON", "column"],
    ),
    case(
        "config not UTF-8",
        Bytes(|f| set(f, "config.json", b"{\"a\": \"\xff\"}")),
        &["config.json: not valid JSON"],
    ),
    case(
        "config with NaN",
        Bytes(|f| set(f, "config.json", b"{\"rope_theta\": NaN}")),
        &["config.json: not valid JSON"],
    ),
    case(
        "config nested too deep",
        Bytes(|f| set(f, "config.json", &[b'['; 100_000])),
        &["config.json: not valid JSON", "recursion limit"],
    ),
    case(
        "config is a list",
        Bytes(|f| set(f, "config.json", b"[1]")),
        &["config.json", "expected a JSON object"],
    ),
    case(
        "config of 5 MB",
        Bytes(|f| set(f, "config.json", &[b' '; 5 << 20])),
        &["config.json: 5242880 bytes; expected at most"],
    ),
    case(
        "config is a directory",
        Disk(|d| replace_by_directory(&d.join("config.json"))),
        &["config.json: not a regular file"],
    ),
    case(
        "another architecture",
        Model(|m| m.config["model_type"] = json!("gpt_neo")),
        &["config.json: `model_type` is \"gpt_neo\"; expected \"llama\", "],
    ),
    case(
        "no architecture",
        Model(|m| {
            drop_field(m, "model_type");
            drop_field(m, "architectures")
        }),
        &["config.json: `model_type` is missing; expected \"llama\""],
    ),
    case(
        "not a causal model",
        Model(|m| m.config["architectures"] = json!(["LlamaForSequenceClassification"])),
        &["`architectures`", "LlamaForCausalLM"],
    ),
    case(
        "another activation",
        Model(|m| m.config["hidden_act"] = json!("xielu")),
        &["`hidden_act` is \"xielu\"; expected one of \"silu\", "],
    ),
    case(
        "quantised weights",
        Model(|m| m.config["quantization_config"] = json!({"quant_method": "eetq"})),
        &["`quantization_config.quant_method` is \"eetq\"; expected \"compressed-tensors\", "],
    ),
    case(
        "size absent",
        Model(|m| drop_field(m, "hidden_size")),
        &["`hidden_size` is missing; expected an integer"],
    ),
    case(
        "size zero",
        Model(|m| m.config["num_hidden_layers"] = json!(0)),
        &["`num_hidden_layers` is 0; expected an integer from 1"],
    ),
    case(
        "size negative",
        Model(|m| m.config["vocab_size"] = json!(-1)),
        &["`vocab_size` is -1; expected an integer"],
    ),
    case(
        "size a string",
        Model(|m| m.config["vocab_size"] = json!("16")),
        &["`vocab_size` is \"16\"; expected an integer"],
    ),
    case(
        "size not whole",
        Model(|m| m.config["intermediate_size"] = json!(12.5)),
        &["`intermediate_size` is 12.5; expected an integer"],
    ),
    case(
        "size absurd",
        Model(|m| m.config["hidden_size"] = json!(1_u64 << 60)),
        &["`hidden_size` is 1152921504606846976; expected"],
    ),
    case(
        "size beyond 64 bits",
        Bytes(|f| {
            replace_text(
                f,
                "config.json",
                "\"vocab_size\":16",
                "\"vocab_size\":99999999999999999999",
            )
        }),
        &["`vocab_size`", "expected an integer"],
    ),
    case(
        "heads not grouped evenly",
        Model(|m| m.config["num_key_value_heads"] = json!(3)),
        &["`num_key_value_heads` is 3; expected a divisor of num_attention_heads = 2"],
    ),
    case(
        "hidden not divisible by heads",
        Model(|m| {
            m.config["num_attention_heads"] = json!(3);
            m.config["num_key_value_heads"] = json!(3)
        }),
        &["`num_attention_heads` is 3; expected a divisor of hidden_size = 8"],
    ),
    case(
        "odd head_dim",
        Model(|m| m.config["head_dim"] = json!(3)),
        &["`head_dim` is 3; expected an even number"],
    ),
    case(
        "no positions",
        Model(|m| m.config["max_position_embeddings"] = json!(0)),
        &["`max_position_embeddings` is 0"],
    ),
    case(
        "eps zero",
        Model(|m| m.config["rms_norm_eps"] = json!(0.0)),
        &["`rms_norm_eps` is 0.0; expected a number above 0"],
    ),
    case(
        "eps huge",
        Model(|m| m.config["rms_norm_eps"] = json!(1e30)),
        &["`rms_norm_eps` is 1e+30; expected a number above 0 and at most 1e0"],
    ),
    case(
        "theta negative",
        Model(|m| m.config["rope_theta"] = json!(-1.0)),
        &["`rope_theta` is -1.0; expected a number above 0"],
    ),
    case(
        "flag a string",
        Model(|m| m.config["tie_word_embeddings"] = json!("yes")),
        &["`tie_word_embeddings` is \"yes\"; expected true or false"],
    ),
    case(
        "weights quantised by MLX",
        Model(|m| m.config["quantization"] = json!({"group_size": 64, "bits": 4})),
        &[
            "`quantization` is",
            "quantised by MLX",
            "mlx_lm.convert --dequantize",
        ],
    ),
    case(
        "bos a string",
        Model(|m| m.config["bos_token_id"] = json!("<s>")),
        &["`bos_token_id` is \"<s>\"; expected a token id"],
    ),
    case(
        "end tokens of generation a string",
        Bytes(|f| set(f, "generation_config.json", b"{\"eos_token_id\": \"</s>\"}")),
        &["generation_config.json: `eos_token_id` is \"</s>\"; expected a token id"],
    ),
    case(
        "settings of generation cut",
        Bytes(|f| set(f, "generation_config.json", b"{\"eos_token_id\": [2,")),
        &["generation_config.json: not valid JSON"],
    ),
    case(
        "eos list with a string",
        Model(|m| m.config["eos_token_id"] = json!([2, "</s>"])),
        &["`eos_token_id` is [2,\"</s>\"]; expected a token id"],
    ),
    case(
        "dtype unknown",
        Model(|m| m.config["torch_dtype"] = json!("float8_e4m3fn")),
        &["`torch_dtype` is \"float8_e4m3fn\"; expected one of float32, bfloat16, float16"],
    ),
    case(
        "two dtypes",
        Model(|m| m.config["dtype"] = json!("float16")),
        &["`torch_dtype` is \"float32\"; expected the same as `dtype`"],
    ),
    case(
        "rope type unknown",
        Model(|m| m.config["rope_scaling"] = json!({"rope_type": "ntk", "factor": 4.0})),
        &[
            "`rope_scaling.rope_type` is \"ntk\"; expected \"default\", \"linear\", \"dynamic\", \
             \"yarn\", \"llama3\" or \"longrope\"",
        ],
    ),
    case(
        "rope type absent",
        Model(|m| m.config["rope_scaling"] = json!({"factor": 4.0})),
        &["`rope_scaling.type` is missing"],
    ),
    case(
        "rope scaling a number",
        Model(|m| m.config["rope_scaling"] = json!(8)),
        &["`rope_scaling` is 8; expected an object or null"],
    ),
    case(
        "rope factor below 1",
        Model(|m| m.config["rope_scaling"] = json!({"type": "linear", "factor": 0.5})),
        &["`rope_scaling.factor` is 0.5; expected a number from 1"],
    ),
    case(
        "rope factors in the wrong order",
        Model(|m| {
            m.config["rope_scaling"] = json!({
                "rope_type": "llama3",
                "factor": 8,
                "low_freq_factor": 4,
                "high_freq_factor": 1,
                "original_max_position_embeddings": 32,
            })
        }),
        &["`rope_scaling.low_freq_factor` is 4; expected above 0 and below high_freq_factor = 1"],
    ),
    case(
        "rope original length absent",
        Model(|m| {
            m.config["rope_scaling"] = json!({
                "rope_type": "llama3",
                "factor": 8,
                "low_freq_factor": 1,
                "high_freq_factor": 4,
            })
        }),
        &["`rope_scaling.original_max_position_embeddings` is missing"],
    ),
    case(
        "two rope scalings",
        Model(|m| {
            m.config["rope_scaling"] = json!({"type": "linear", "factor": 2});
            m.config["rope_parameters"] = json!({"rope_type": "default"})
        }),
        &[
            "`rope_scaling`",
            "expected null, as `rope_parameters` is given",
        ],
    ),
    case(
        "two thetas",
        Model(|m| m.config["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 5e5})),
        &["`rope_parameters.rope_theta` is 500000.0; expected the top-level rope_theta = 10000"],
    ),
    case(
        "partial rotation",
        Model(|m| m.config["partial_rotary_factor"] = json!(0.5)),
        &["`partial_rotary_factor` is 0.5; expected 1"],
    ),
];
