//! Broken and hostile safetensors files, and weights that do not fit the config.

use std::fs;

use mxlab_kernels::format::FloatType;
use serde_json::json;

use super::mutation::{Bytes, Case, Disk, Model, case, file, remove, replace_by_directory, set};
use crate::checkpoint::tiny::{Files, TinyModel, container};

const INDEX: &str = "model.safetensors.index.json";

pub const CASES: &[Case] = &[
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
        &["model.safetensors: found a header of 18446744073709551615 bytes, expected at most"],
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
        Bytes(|f| header(f, " ")),
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
        "no tensors",
        Bytes(|f| header(f, "{}")),
        &[
            "model.safetensors: tensor `model.embed_tokens.weight` is missing; expected shape [16, \
             8]",
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

/// Replaces the weights by a file with this header and no data.
fn header(files: &mut Files, header: &str) {
    set(
        files,
        "model.safetensors",
        &container(header.as_bytes(), &[]),
    );
}

/// Stores the weights as `dtype` and puts `element` at index 5 of one of them.
fn poison(model: &mut TinyModel, dtype: FloatType, element: &[u8]) {
    model.fill(dtype);
    let data = &mut model.tensor("model.layers.1.mlp.up_proj.weight").data;
    data[5 * element.len()..6 * element.len()].copy_from_slice(element);
}

/// Eight tensors that each fit 64 bits and together reach the last possible offset.
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
