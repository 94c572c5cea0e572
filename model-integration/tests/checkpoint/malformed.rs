//! The corpus of malformed model directories. Each is a valid model with one thing wrong,
//! and must fail with a message that names the file and what is wrong in it.

use std::fs;
use std::path::Path;

use mxlab_kernels::format::FloatType;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::tiny::{Files, TinyModel, container, json_bytes, safetensors, use_model, write};

/// What is done to a valid model.
enum Mutation {
    /// To its contents, before they become files.
    Model(fn(&mut TinyModel)),
    /// To the bytes of its files.
    Files(fn(&mut Files)),
    /// To the bytes of its files, weights in two shards.
    Shards(fn(&mut Files)),
    /// To the files on the disk.
    Disk(fn(&Path)),
}
use Mutation::{Disk, Files as Bytes, Model, Shards};

struct Case {
    name: &'static str,
    mutation: Mutation,
    /// All of these occur in the message.
    expect: &'static [&'static str],
}

const fn case(name: &'static str, mutation: Mutation, expect: &'static [&'static str]) -> Case {
    Case {
        name,
        mutation,
        expect,
    }
}

const INDEX: &str = "model.safetensors.index.json";
const SHARD_1: &str = "model-00001-of-00002.safetensors";
const SHARD_2: &str = "model-00002-of-00002.safetensors";

const CONFIG: &[Case] = &[
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
        &["config.json: 5242880 bytes; at most"],
    ),
    case(
        "config is a directory",
        Disk(|d| replace_by_directory(&d.join("config.json"))),
        &["config.json: not a regular file"],
    ),
    case(
        "another architecture",
        Model(|m| m.config["model_type"] = json!("mistral")),
        &["config.json: `model_type` is \"mistral\"; expected \"llama\""],
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
        Model(|m| m.config["hidden_act"] = json!("gelu")),
        &["`hidden_act` is \"gelu\"; expected \"silu\""],
    ),
    case(
        "quantised weights",
        Model(|m| m.config["quantization_config"] = json!({"quant_method": "gptq"})),
        &["`quantization_config`", "plain F32, BF16 or F16"],
    ),
    case(
        "sliced projections",
        Model(|m| m.config["pretraining_tp"] = json!(2)),
        &["`pretraining_tp` is 2; expected 1"],
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
        "bos outside the vocabulary",
        Model(|m| m.config["bos_token_id"] = json!(16)),
        &["`bos_token_id` is 16; expected a token id below vocab_size = 16"],
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
        Model(|m| m.config["rope_scaling"] = json!({"rope_type": "yarn", "factor": 4.0})),
        &["`rope_scaling.rope_type` is \"yarn\"; expected \"default\", \"linear\" or \"llama3\""],
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
        Model(
            |m| m.config["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1, "original_max_position_embeddings": 32}),
        ),
        &["`rope_scaling.low_freq_factor` is 4; expected above 0 and below high_freq_factor = 1"],
    ),
    case(
        "rope original length absent",
        Model(
            |m| m.config["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}),
        ),
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

const WEIGHTS: &[Case] = &[
    case(
        "no weights",
        Bytes(|f| remove(f, "model.safetensors")),
        &["model.safetensors: no such file", INDEX],
    ),
    case(
        "weights empty",
        Bytes(|f| set(f, "model.safetensors", b"")),
        &["model.safetensors: the file is empty"],
    ),
    case(
        "weights are a directory",
        Disk(|d| replace_by_directory(&d.join("model.safetensors"))),
        &["model.safetensors: not a regular file"],
    ),
    #[cfg(unix)]
    case(
        "weights are a socket",
        Disk(|d| {
            fs::remove_file(d.join("model.safetensors")).unwrap();
            std::os::unix::net::UnixListener::bind(d.join("model.safetensors")).unwrap();
        }),
        &["model.safetensors: not a regular file"],
    ),
    #[cfg(unix)]
    case(
        "weights are a link to themselves",
        Disk(|d| {
            fs::remove_file(d.join("model.safetensors")).unwrap();
            std::os::unix::fs::symlink("model.safetensors", d.join("model.safetensors")).unwrap();
        }),
        &["model.safetensors: ", "symbolic link"],
    ),
    case(
        "no header length",
        Bytes(|f| set(f, "model.safetensors", &[1, 2, 3])),
        &["model.safetensors: 3 bytes", "8-byte header length"],
    ),
    case(
        "header length of 2^64 - 1",
        Bytes(|f| set(f, "model.safetensors", &[0xff; 64])),
        &["model.safetensors: header length 18446744073709551615; at most"],
    ),
    case(
        "header longer than the file",
        Bytes(|f| {
            set(
                f,
                "model.safetensors",
                &[64, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'],
            )
        }),
        &["model.safetensors: header length 64, but only 2 bytes follow"],
    ),
    case(
        "header empty",
        Bytes(|f| header(f, "")),
        &["model.safetensors: malformed header"],
    ),
    case(
        "header not UTF-8",
        Bytes(|f| set(f, "model.safetensors", &container(b"{\"\xff\": 1}", &[]))),
        &["model.safetensors: the header is not UTF-8"],
    ),
    case(
        "header not JSON",
        Bytes(|f| header(f, "{\"a\": ")),
        &["model.safetensors: malformed header"],
    ),
    case(
        "header a list",
        Bytes(|f| header(f, "[]")),
        &[
            "model.safetensors: malformed header",
            "expected an object of tensor descriptions",
        ],
    ),
    case(
        "header nested too deep",
        Bytes(|f| header(f, &format!("{{\"a\": {}", "[".repeat(100_000)))),
        &["model.safetensors: malformed header"],
    ),
    case(
        "tensor without a shape",
        Bytes(|f| header(f, r#"{"w": {"dtype": "F32", "data_offsets": [0, 4]}}"#)),
        &["model.safetensors: malformed header", "shape"],
    ),
    case(
        "negative size",
        Bytes(|f| {
            header(
                f,
                r#"{"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}"#,
            )
        }),
        &["model.safetensors: malformed header", "-1"],
    ),
    case(
        "dtype that does not exist",
        Bytes(|f| {
            header(
                f,
                r#"{"w": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}"#,
            )
        }),
        &["model.safetensors: malformed header", "F33"],
    ),
    case(
        "offset beyond 64 bits",
        Bytes(|f| {
            header(
                f,
                r#"{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 99999999999999999999]}}"#,
            )
        }),
        &["model.safetensors: malformed header"],
    ),
    case(
        "offsets beyond the file",
        Bytes(|f| {
            header(
                f,
                r#"{"w": {"dtype": "U8", "shape": [4294967296], "data_offsets": [0, 4294967296]}}"#,
            )
        }),
        &["model.safetensors: the header describes 4294967296 bytes of tensors, the file has 0"],
    ),
    case(
        "offsets backwards",
        Bytes(|f| {
            header(
                f,
                r#"{"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}"#,
            )
        }),
        &["model.safetensors: tensor `w`: data_offsets [4, 0]"],
    ),
    case(
        "offsets overlap",
        Bytes(|f| {
            header(
                f,
                r#"{"v": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}"#,
            )
        }),
        &[
            "tensor `w`: data_offsets [4, 12] overlap",
            "expected to start at 8",
        ],
    ),
    case(
        "one place for two tensors",
        Bytes(|f| {
            header(
                f,
                r#"{"v": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#,
            )
        }),
        &["model.safetensors: tensor `", "data_offsets [0, 8] overlap"],
    ),
    case(
        "offsets leave a hole",
        Bytes(|f| {
            header(
                f,
                r#"{"w": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}}"#,
            )
        }),
        &["tensor `w`: data_offsets [8, 12] overlap or leave a hole"],
    ),
    case(
        "offsets too short for the shape",
        Bytes(|f| {
            header(
                f,
                r#"{"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 4]}}"#,
            )
        }),
        &["tensor `w`: data_offsets [0, 4] do not span BF16 [2, 3]"],
    ),
    case(
        "shape overflows",
        Bytes(|f| {
            header(
                f,
                r#"{"w": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}"#,
            )
        }),
        &["tensor `w`", "do not span F32 [4294967296, 4294967296]"],
    ),
    case(
        "tensors up to 2^64",
        Bytes(|f| header(f, &tensors_to_the_end_of_the_address_space())),
        &["model.safetensors: the header describes 18446744073709551608 bytes"],
    ),
    case(
        "a name twice",
        Bytes(|f| {
            header(
                f,
                r#"{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}"#,
            )
        }),
        &["tensor `w` occurs twice", "model.safetensors"],
    ),
    case(
        "metadata not text",
        Bytes(|f| header(f, r#"{"__metadata__": {"format": 1}}"#)),
        &["model.safetensors: malformed header"],
    ),
    case(
        "weights cut",
        Bytes(|f| {
            let bytes = file(f, "model.safetensors");
            bytes.truncate(bytes.len() - 1)
        }),
        &[
            "model.safetensors: the header describes",
            "truncated or corrupt",
        ],
    ),
    case(
        "bytes behind the weights",
        Bytes(|f| file(f, "model.safetensors").push(0)),
        &[
            "model.safetensors: the header describes",
            "truncated or corrupt",
        ],
    ),
    case(
        "pickled weights",
        Bytes(|f| {
            set(
                f,
                "model.safetensors",
                b"PK\x03\x04\x00\x00\x08\x08archive/data.pkl",
            )
        }),
        &["model.safetensors: header length"],
    ),
    case(
        "page of a web site",
        Bytes(|f| set(f, "model.safetensors", b"<!DOCTYPE html><html></html>")),
        &["model.safetensors: header length"],
    ),
    case(
        "no tensors",
        Bytes(|f| header(f, "{}")),
        &[
            "model.safetensors: tensor `model.embed_tokens.weight` is missing; expected shape [16, 8]",
        ],
    ),
    case(
        "layer without a norm",
        Model(|m| m.remove_tensor("model.layers.1.input_layernorm.weight")),
        &["tensor `model.layers.1.input_layernorm.weight` is missing; expected shape [8]"],
    ),
    case(
        "head neither tied nor there",
        Model(|m| m.remove_tensor("lm_head.weight")),
        &["tensor `lm_head.weight` is missing; expected shape [16, 8]"],
    ),
    case(
        "bias promised and absent",
        Model(|m| m.config["attention_bias"] = json!(true)),
        &["tensor `model.layers.0.self_attn.q_proj.bias` is missing; expected shape [8]"],
    ),
    case(
        "one layer too few",
        Model(|m| m.config["num_hidden_layers"] = json!(3)),
        &["tensor `model.layers.2.input_layernorm.weight` is missing"],
    ),
    case(
        "another vocabulary",
        Model(|m| m.config["vocab_size"] = json!(20)),
        &["tensor `model.embed_tokens.weight` has shape [16, 8]; expected [20, 8]"],
    ),
    case(
        "matrix transposed",
        Model(|m| m.tensor("model.layers.0.mlp.down_proj.weight").shape = vec![12, 8]),
        &["tensor `model.layers.0.mlp.down_proj.weight` has shape [12, 8]; expected [8, 12]"],
    ),
    case(
        "norm with two axes",
        Model(|m| m.tensor("model.norm.weight").shape = vec![1, 8]),
        &["tensor `model.norm.weight` has shape [1, 8]; expected [8]"],
    ),
    case(
        "integer weights",
        Model(|m| m.tensor("model.norm.weight").dtype = "I32".to_owned()),
        &["tensor `model.norm.weight` has dtype I32; expected F32, BF16 or F16"],
    ),
    case(
        "eight-bit weights",
        Model(|m| {
            let w = m.tensor("model.norm.weight");
            w.dtype = "F8_E4M3".to_owned();
            w.data.truncate(8)
        }),
        &["tensor `model.norm.weight` has dtype F8_E4M3"],
    ),
    case(
        "f64 weights",
        Model(|m| {
            let w = m.tensor("model.norm.weight");
            w.dtype = "F64".to_owned();
            w.data.resize(64, 0)
        }),
        &["tensor `model.norm.weight` has dtype F64"],
    ),
    case(
        "NaN in f32",
        Model(|m| poison(m, FloatType::F32, &f32::NAN.to_le_bytes())),
        &["model.safetensors: tensor `model.layers.1.mlp.up_proj.weight` is NaN at flat index 5"],
    ),
    case(
        "infinity in f32",
        Model(|m| poison(m, FloatType::F32, &f32::INFINITY.to_le_bytes())),
        &["tensor `model.layers.1.mlp.up_proj.weight` is inf at flat index 5"],
    ),
    case(
        "NaN in bf16",
        Model(|m| poison(m, FloatType::Bf16, &[0xc0, 0x7f])),
        &["tensor `model.layers.1.mlp.up_proj.weight` is NaN at flat index 5"],
    ),
    case(
        "minus infinity in f16",
        Model(|m| poison(m, FloatType::F16, &[0x00, 0xfc])),
        &["tensor `model.layers.1.mlp.up_proj.weight` is -inf at flat index 5"],
    ),
];

const SHARDED: &[Case] = &[
    case(
        "shard absent",
        Shards(|f| remove(f, SHARD_2)),
        &[INDEX, "shard `model-00002-of-00002.safetensors` is missing"],
    ),
    case(
        "shard empty",
        Shards(|f| set(f, SHARD_2, b"")),
        &[SHARD_2, "the file is empty"],
    ),
    case(
        "shard cut",
        Shards(|f| halve(f, SHARD_1)),
        &[SHARD_1, "truncated"],
    ),
    case(
        "shards swapped",
        Shards(|f| {
            let a = f[SHARD_1].clone();
            let b = f.insert(SHARD_2.to_owned(), a).unwrap();
            set(f, SHARD_1, &b)
        }),
        &[
            INDEX,
            "`weight_map` places tensor",
            "which does not contain it",
        ],
    ),
    case(
        "shards equal",
        Shards(|f| {
            let a = f[SHARD_1].clone();
            set(f, SHARD_2, &a)
        }),
        &["occurs twice: in ", SHARD_1, SHARD_2],
    ),
    case(
        "index empty",
        Shards(|f| set(f, INDEX, b"")),
        &[INDEX, "the file is empty"],
    ),
    case(
        "index cut",
        Shards(|f| halve(f, INDEX)),
        &[INDEX, "not valid JSON"],
    ),
    case(
        "index without a map",
        Shards(|f| set(f, INDEX, b"{\"metadata\": {}}")),
        &[INDEX, "`weight_map` is missing"],
    ),
    case(
        "index with a list",
        Shards(|f| set(f, INDEX, b"{\"weight_map\": []}")),
        &[INDEX, "`weight_map` is []; expected an object"],
    ),
    case(
        "index with an empty map",
        Shards(|f| set(f, INDEX, b"{\"weight_map\": {}}")),
        &[INDEX, "at least one tensor"],
    ),
    case(
        "shard a number",
        Shards(|f| index(f, json!(1))),
        &[INDEX, "`weight_map`", "expected an object of tensor name"],
    ),
    case(
        "shard above the directory",
        Shards(|f| index(f, json!("../other/model.safetensors"))),
        &[
            INDEX,
            "`weight_map.model.norm.weight` is `../other/model.safetensors`; a shard is a file inside",
        ],
    ),
    case(
        "shard above after a step down",
        Shards(|f| index(f, json!("a/../../x.safetensors"))),
        &[INDEX, "a shard is a file inside"],
    ),
    case(
        "shard at an absolute path",
        Shards(|f| index(f, json!("/etc/passwd"))),
        &[INDEX, "`/etc/passwd`; a shard is a file inside"],
    ),
    case(
        "shard without a name",
        Shards(|f| index(f, json!(""))),
        &[INDEX, "a shard is a file inside"],
    ),
    case(
        "shard that is the directory",
        Shards(|f| index(f, json!("."))),
        &[INDEX, "a shard is a file inside"],
    ),
    case(
        "shard with a zero byte",
        Shards(|f| index(f, json!("a\0b"))),
        &[INDEX, "a shard is a file inside"],
    ),
    case(
        "tensor the shards lack",
        Shards(|f| {
            let mut index: Value = serde_json::from_slice(&f[INDEX]).unwrap();
            index["weight_map"]["extra.weight"] = json!(SHARD_1);
            set(f, INDEX, &json_bytes(&index));
        }),
        &[
            INDEX,
            "places tensor `extra.weight` in `model-00001-of-00002.safetensors`",
        ],
    ),
];

const TOKENIZER: &[Case] = &[
    case(
        "tokenizer absent",
        Bytes(|f| remove(f, "tokenizer.json")),
        &["tokenizer.json: no such file"],
    ),
    case(
        "tokenizer empty",
        Bytes(|f| set(f, "tokenizer.json", b"")),
        &["tokenizer.json: the file is empty"],
    ),
    case(
        "tokenizer cut",
        Bytes(|f| halve(f, "tokenizer.json")),
        &["tokenizer.json: not a usable tokenizer"],
    ),
    case(
        "tokenizer of another kind",
        Bytes(|f| set(f, "tokenizer.json", b"{}")),
        &["tokenizer.json: not a usable tokenizer"],
    ),
    case(
        "tokenizer without tokens",
        Model(|m| {
            m.tokenizer["model"]["vocab"] = json!({});
            m.tokenizer["added_tokens"] = json!([]);
            m.tokenizer["post_processor"] = Value::Null
        }),
        &["tokenizer.json: not a usable tokenizer: its vocabulary is empty"],
    ),
    case(
        "token beyond the embedding",
        Model(|m| m.tokenizer["model"]["vocab"]["house"] = json!(16)),
        &["tokenizer.json: token `house` has id 16, but config.json says vocab_size 16"],
    ),
    case(
        "added token beyond the embedding",
        Model(|m| {
            m.tokenizer["added_tokens"][2]["content"] = json!("<pad>");
            m.tokenizer["model"]["vocab"]["<pad>"] = json!(4_000_000_000_u32);
            m.tokenizer["added_tokens"][2]["id"] = json!(4_000_000_000_u32);
        }),
        &["tokenizer.json: token `<pad>` has id 4000000000"],
    ),
    case(
        "post-processor with a token it does not define",
        Model(|m| m.tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"] = json!("<x>")),
        &["tokenizer.json: not a usable tokenizer: post_processor.single uses `<x>`"],
    ),
    case(
        "post-processor of a second text",
        Model(|m| m.tokenizer["post_processor"]["single"][1]["Sequence"]["id"] = json!("B")),
        &["post_processor.single uses sequence `B`; expected `A`"],
    ),
    case(
        "post-processor that drops the text",
        Model(|m| {
            m.tokenizer["post_processor"]["single"]
                .as_array_mut()
                .unwrap()
                .pop();
        }),
        &["post_processor.single drops the text"],
    ),
    case(
        "decoder unknown",
        Model(|m| m.tokenizer["decoder"] = json!({"type": "Magic"})),
        &["tokenizer.json: not a usable tokenizer"],
    ),
    case(
        "post-processor beyond the embedding",
        Model(|m| m.tokenizer["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([99])),
        &["tokenizer.json: encoding failed: token id 99 is not below vocab_size 16"],
    ),
    case(
        "special token unknown",
        Model(|m| m.tokenizer_config["bos_token"] = json!("<bos>")),
        &["tokenizer_config.json: `bos_token` is `<bos>`, which tokenizer.json does not contain"],
    ),
    case(
        "special token a number",
        Model(|m| m.tokenizer_config["eos_token"] = json!(2)),
        &["tokenizer_config.json: `eos_token` is 2; expected a string"],
    ),
    case(
        "length limit negative",
        Model(|m| m.tokenizer_config["model_max_length"] = json!(-5)),
        &["tokenizer_config.json: `model_max_length` is -5"],
    ),
    case(
        "tokenizer settings cut",
        Bytes(|f| halve(f, "tokenizer_config.json")),
        &["tokenizer_config.json: not valid JSON"],
    ),
];

const DIRECTORY: &[Case] = &[
    case(
        "directory absent",
        Disk(|d| fs::remove_dir_all(d).unwrap()),
        &["no such directory"],
    ),
    case(
        "directory is a file",
        Disk(|d| {
            fs::remove_dir_all(d).unwrap();
            fs::write(d, b"x").unwrap()
        }),
        &["not a directory"],
    ),
    case(
        "directory empty",
        Bytes(|f| f.clear()),
        &["config.json: no such file"],
    ),
];

#[test]
fn every_malformed_model_is_refused_with_its_message() {
    let cases = || {
        [CONFIG, WEIGHTS, SHARDED, TOKENIZER, DIRECTORY]
            .into_iter()
            .flatten()
    };
    let mut wrong = Vec::new();
    for Case {
        name,
        mutation,
        expect,
    } in cases()
    {
        let message = refusal(mutation);
        if !expect.iter().all(|part| message.contains(part)) {
            wrong.push(format!("{name}: expected {expect:?}, got: {message}"));
        }
    }
    println!("{} malformed models", cases().count());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The message with which a mutated model is refused.
fn refusal(mutation: &Mutation) -> String {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("model");
    fs::create_dir(&dir).unwrap();
    let mut model = TinyModel::new(FloatType::F32);
    if let Model(mutate) = mutation {
        mutate(&mut model);
    }
    let mut files = match mutation {
        Shards(_) => model.sharded_files(),
        _ => model.files(),
    };
    if let Bytes(mutate) | Shards(mutate) = mutation {
        mutate(&mut files);
    }
    write(&dir, &files);
    if let Disk(mutate) = mutation {
        mutate(&dir);
    }
    match use_model(&dir) {
        Ok(()) => "(no error)".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Without the right to read a file, the message says so. Root may read everything.
#[test]
#[cfg(unix)]
fn a_forbidden_file_is_named() {
    use std::os::unix::fs::PermissionsExt;
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let dir = tempdir().unwrap();
        write(dir.path(), &TinyModel::new(FloatType::F32).files());
        let file = dir.path().join(name);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::File::open(&file).is_ok() {
            println!("not run: this user may read any file");
            return;
        }
        let message = use_model(dir.path()).unwrap_err().to_string();
        assert!(
            message.contains(name) && message.contains("denied"),
            "{message}"
        );
    }
}

fn file<'a>(files: &'a mut Files, name: &str) -> &'a mut Vec<u8> {
    files.get_mut(name).unwrap()
}

fn set(files: &mut Files, name: &str, content: &[u8]) {
    files.insert(name.to_owned(), content.to_owned());
}

fn remove(files: &mut Files, name: &str) {
    files.remove(name).unwrap();
}

fn halve(files: &mut Files, name: &str) {
    let content = file(files, name);
    content.truncate(content.len() / 2);
}

fn replace_text(files: &mut Files, name: &str, old: &str, new: &str) {
    let content = file(files, name);
    let text = str::from_utf8(content).unwrap();
    assert!(text.contains(old), "{text}");
    *content = text.replace(old, new).into_bytes();
}

/// Makes the weights a file of this header and no data.
fn header(files: &mut Files, header: &str) {
    set(
        files,
        "model.safetensors",
        &container(header.as_bytes(), &[]),
    );
}

/// Places `model.norm.weight` in another shard.
fn index(files: &mut Files, shard: Value) {
    let index = json!({"weight_map": {"model.norm.weight": shard}});
    set(files, INDEX, &json_bytes(&index));
}

fn drop_field(model: &mut TinyModel, field: &str) {
    model.config.as_object_mut().unwrap().remove(field).unwrap();
}

fn replace_by_directory(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

/// Stores the weights as `dtype` and puts `element` at index 5 of one of them.
fn poison(model: &mut TinyModel, dtype: FloatType, element: &[u8]) {
    model.fill(dtype);
    let data = &mut model.tensor("model.layers.1.mlp.up_proj.weight").data;
    data[5 * element.len()..6 * element.len()].copy_from_slice(element);
    assert!(!safetensors(&model.tensors).is_empty());
}

/// Eight tensors that each fit 64 bits and together end at the last offsets there are.
fn tensors_to_the_end_of_the_address_space() -> String {
    const EACH: u64 = (1 << 61) - 1;
    let entries: Vec<String> = (0..8)
        .map(|i| {
            let (begin, end) = (i * EACH, (i + 1) * EACH);
            format!(
                r#""w{i}": {{"dtype": "U8", "shape": [{EACH}], "data_offsets": [{begin}, {end}]}}"#
            )
        })
        .collect();
    format!("{{{}}}", entries.join(", "))
}
