//! Files of another kind than their names say, and directories of other layouts: each is named,
//! with what to do.

use super::mutation::{Bytes, Case, Disk, Shards, case, file, remove, set};
use crate::checkpoint::tiny::Files;

const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\n\
    oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 1234567\n";
const LFS_WORDS: &[&str] = &["Git LFS pointer", "1234567 bytes", "git lfs pull"];
const WEIGHTS: &str = "model.safetensors";

/// A model with another file in place of its weights.
fn instead(files: &mut Files, names: &[&str]) {
    remove(files, WEIGHTS);
    for name in names {
        set(files, name, b"content");
    }
}

pub const CASES: &[Case] = &[
    case(
        "pointer for weights",
        Bytes(|f| set(f, WEIGHTS, LFS)),
        LFS_WORDS,
    ),
    case(
        "pointer for a tokenizer",
        Bytes(|f| set(f, "tokenizer.json", LFS)),
        LFS_WORDS,
    ),
    case(
        "pointer for a config",
        Bytes(|f| set(f, "config.json", LFS)),
        LFS_WORDS,
    ),
    case(
        "pointer for an index",
        Shards(|f| set(f, "model.safetensors.index.json", LFS)),
        LFS_WORDS,
    ),
    case(
        "pointer for a shard",
        Shards(|f| set(f, "model-00002-of-00002.safetensors", LFS)),
        LFS_WORDS,
    ),
    case(
        "page of a web site",
        Bytes(|f| {
            set(
                f,
                WEIGHTS,
                b"\n<!DOCTYPE html><html><title>Log in</title></html>",
            )
        }),
        &["model.safetensors: a page of HTML (`Log in`)", "HF_TOKEN"],
    ),
    case(
        "page for a tokenizer",
        Bytes(|f| set(f, "tokenizer.json", b"<html></html>")),
        &["tokenizer.json: a page of HTML, saved in place"],
    ),
    case(
        "message of a server",
        Bytes(|f| set(f, WEIGHTS, b"{\"error\": \"Repository not found\"}")),
        &["text in place of the file: `{\"error\": \"Repository not found\"}`"],
    ),
    case(
        "unfinished download",
        Bytes(|f| file(f, WEIGHTS).fill(0)),
        &["only zeros", "unfinished download"],
    ),
    case(
        "pickled weights",
        Bytes(|f| set(f, WEIGHTS, b"PK\x03\x04\x00\x00\x08\x08archive/data.pkl")),
        &["a zip archive", "torch.save", "convert"],
    ),
    case(
        "GGUF under another name",
        Bytes(|f| set(f, WEIGHTS, b"GGUF\x03\0\0\0")),
        &["a GGUF file", ".gguf"],
    ),
    case(
        "packed weights",
        Bytes(|f| set(f, WEIGHTS, b"\x1f\x8b\x08\0\0\0\0\0\0\x03")),
        &["gzip", "unpack"],
    ),
    case(
        "config in UTF-16",
        Bytes(|f| set(f, "config.json", b"\xff\xfe{\0}\0")),
        &["config.json: text in UTF-16", "UTF-8"],
    ),
    case(
        "weights of PyTorch",
        Bytes(|f| {
            instead(
                f,
                &["pytorch_model-00001-of-00002.bin", "training_args.bin"],
            )
        }),
        &[
            "`pytorch_model-00001-of-00002.bin` is there",
            "safetensors",
            "save_pretrained",
        ],
    ),
    case(
        "original layout of Llama",
        Bytes(|f| {
            f.clear();
            set(f, "params.json", b"{}");
            set(f, "consolidated.00.pth", b"PK")
        }),
        &[
            "`consolidated.00.pth` is there",
            "no config.json",
            "convert_llama_weights_to_hf.py",
        ],
    ),
    case(
        "adapter",
        Bytes(|f| {
            f.clear();
            set(
                f,
                "adapter_config.json",
                b"{\"base_model_name_or_path\": \"some/base\"}",
            );
            set(f, "adapter_model.safetensors", b"x")
        }),
        &[
            "`adapter_config.json`",
            "LoRA",
            "its base model `some/base`",
            "merge_and_unload",
        ],
    ),
    case(
        "ONNX",
        Bytes(|f| instead(f, &["model.onnx"])),
        &["`model.onnx`", "ONNX"],
    ),
    case(
        "TensorFlow",
        Bytes(|f| instead(f, &["tf_model.h5"])),
        &["TensorFlow", "from_tf=True"],
    ),
    case(
        "MLX",
        Bytes(|f| instead(f, &["weights.npz"])),
        &["`weights.npz`", "MLX"],
    ),
    case(
        "download by parts",
        Bytes(|f| instead(f, &["model.safetensors.incomplete"])),
        &["unfinished download"],
    ),
    case(
        "several safetensors files",
        Bytes(|f| instead(f, &["a.safetensors", "b.safetensors"])),
        &["which are the weights: `a.safetensors`, `b.safetensors`?"],
    ),
    case(
        "several GGUF files",
        Bytes(|f| instead(f, &["a-q4_0.gguf", "b-q8_0.gguf", "b.mmproj.gguf"])),
        &["GGUF files: `a-q4_0.gguf`, `b-q8_0.gguf`; give one of them"],
    ),
    case(
        "sentencepiece only",
        Bytes(|f| {
            remove(f, "tokenizer.json");
            set(f, "tokenizer.model", b"x")
        }),
        &["`tokenizer.model` is there", "no tokenizer.json", "convert"],
    ),
    case(
        "directory above the model",
        Disk(|d| {
            let below = d.join("snapshots/0123");
            std::fs::create_dir_all(&below).unwrap();
            std::fs::rename(d.join("config.json"), below.join("config.json")).unwrap()
        }),
        &["no config.json, but in: `snapshots/0123`"],
    ),
];
