//! Model directories: a valid one in which one file is the input.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use mxlab::checkpoint::write::{NamedTensor, save_bf16};
use mxlab::checkpoint::{Checkpoint, CheckpointError, TensorFile, synthetic};
use mxlab::description::ModelConfig;
use mxlab::description::parameters::parameters;
use mxlab_kernels::format::FloatType;
use serde_json::{Value, json};

use crate::gguf_writer::{File, Meta};
use crate::scratch::Scratch;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const GENERATION: &str = "generation_config.json";
const WEIGHTS: &str = "model.safetensors";
const SHARD: &str = "model-00001-of-00001.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The bf16 weights of a model with the shape that [`VALID_CONFIG`] has.
static WEIGHTS_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let like = synthetic::open("tiny").expect("a model");
    let config = ModelConfig {
        vocab_size: 1024,
        hidden_size: 4,
        intermediate_size: 6,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 2,
        tie_word_embeddings: false,
        ..like.config().clone()
    };
    let parameters = parameters(&config);
    let values = vec![0.5; config.vocab_size * config.hidden_size];
    let tensors: Vec<NamedTensor> = parameters
        .stored()
        .map(|parameter| NamedTensor {
            name: &parameter.name,
            shape: &parameter.shape,
            values: &values[..parameter.elements()],
        })
        .collect();
    let scratch = Scratch::new();
    let path = scratch.path().join(WEIGHTS);
    save_bf16(&path, &tensors).expect("valid tensors");
    fs::read(path).expect("what was written")
});

/// The valid files of a directory.
const VALID_CONFIG: &[u8] = include_bytes!("../seeds/config.json");
/// Words apart by spaces, `<s>` in front.
const VALID_TOKENIZER: &[u8] = include_bytes!("../seeds/tokenizer.json");

fn bytes(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}

/// Opens the valid directory with one file replaced and touches all of it.
fn open_with(file: &str, data: &[u8]) -> Result<Checkpoint, CheckpointError> {
    thread_local!(static DIRECTORIES: [Scratch; 2] = [directory(WEIGHTS), directory(SHARD)]);
    DIRECTORIES.with(|[single, sharded]| {
        let (directory, valid) = match file {
            CONFIG => (single, VALID_CONFIG.to_vec()),
            TOKENIZER => (single, VALID_TOKENIZER.to_vec()),
            TOKENIZER_CONFIG | SPECIAL_TOKENS | GENERATION => (single, b"{}".to_vec()),
            WEIGHTS => (single, WEIGHTS_BYTES.clone()),
            _ => (sharded, b"{}".to_vec()),
        };
        directory.write(file, data);
        let opened = use_model(directory.path());
        directory.write(file, &valid);
        opened
    })
}

/// A valid model whose weights are in the file of that name.
fn directory(weights: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.write(CONFIG, VALID_CONFIG);
    scratch.write(TOKENIZER, VALID_TOKENIZER);
    scratch.write(weights, &WEIGHTS_BYTES);
    scratch
}

/// Everything that an evaluation reads of a model: headers, every weight, the tokenizer.
fn use_model(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let checkpoint = Checkpoint::open(path)?;
    for parameter in checkpoint.parameters().stored() {
        let view = checkpoint.tensor(parameter)?;
        view.read_f32(0..view.len(), &mut vec![0.0; view.len()]);
    }
    let tokenizer = checkpoint.tokenizer()?;
    for text in [
        "",
        " ",
        "the cat sat",
        "The  caf\u{e9} \u{1f600}\n<s>\u{0}",
        "a\u{301}\u{2581}",
    ] {
        for add_special_tokens in [false, true] {
            let ids = tokenizer.encode(text, add_special_tokens)?;
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            tokenizer.decode(&ids, add_special_tokens)?;
        }
    }
    let every_id: Vec<u32> = (0..1024).collect();
    tokenizer.decode(&every_id, false)?;
    checkpoint.fingerprint();
    Ok(checkpoint)
}

/// A `config.json`. One that opens is printed and read back.
pub fn config_json(data: &[u8]) -> bool {
    let Ok(checkpoint) = open_with(CONFIG, data) else {
        return false;
    };
    let printed = checkpoint.config().to_json();
    let again = open_with(CONFIG, &bytes(&printed)).map(|again| again.config().clone());
    let read: Option<&ModelConfig> = again.as_ref().ok();
    assert_eq!(read, Some(checkpoint.config()), "{again:?}, of {printed}");
    true
}

/// The `quantization_config` of a model whose weights are floats.
pub fn quantization_config(data: &[u8]) -> bool {
    let mut config: Value = serde_json::from_slice(VALID_CONFIG).expect("a valid config");
    let Ok(quantization) = serde_json::from_slice(data) else {
        return false;
    };
    config["quantization_config"] = quantization;
    let Ok(checkpoint) = open_with(CONFIG, &bytes(&config)) else {
        return false;
    };
    for (_, _, weight) in checkpoint.parameters().projections() {
        let input = checkpoint.stored_input(weight);
        assert!(matches!(input, Ok(None)), "weights are floats");
    }
    true
}

/// A `tokenizer.json`: built, and made to encode and decode.
pub fn tokenizer_json(data: &[u8]) -> bool {
    open_with(TOKENIZER, data).is_ok()
}

/// A `tokenizer_config.json`.
pub fn tokenizer_config_json(data: &[u8]) -> bool {
    open_with(TOKENIZER_CONFIG, data).is_ok()
}

/// A `special_tokens_map.json`.
pub fn special_tokens_map_json(data: &[u8]) -> bool {
    open_with(SPECIAL_TOKENS, data).is_ok()
}

/// A `generation_config.json`.
pub fn generation_config_json(data: &[u8]) -> bool {
    open_with(GENERATION, data).is_ok()
}

/// The index of sharded weights, beside one shard.
pub fn weights_index(data: &[u8]) -> bool {
    open_with(INDEX, data).is_ok()
}

/// A safetensors file: as the weights of a model, and by itself, whatever its tensors. Floats that
/// are finite in bf16 are written and read back.
pub fn safetensors(data: &[u8]) -> bool {
    let _ = open_with(WEIGHTS, data);
    thread_local!(static SCRATCH: Scratch = Scratch::new());
    SCRATCH.with(|scratch| {
        let path = scratch.write("any.safetensors", data);
        let Ok(file) = TensorFile::open(&path) else {
            return false;
        };
        let tensors = floats(&file);
        let named: Vec<NamedTensor> = tensors
            .iter()
            .map(|(name, shape, values)| NamedTensor {
                name,
                shape,
                values,
            })
            .collect();
        let copy = scratch.path().join("copy.safetensors");
        if save_bf16(&copy, &named).is_ok() {
            let mut written = floats(&TensorFile::open(&copy).expect("what was written"));
            let mut rounded: Vec<Floats> = tensors
                .into_iter()
                .map(|(name, shape, values)| {
                    let round = |x: f32| FloatType::Bf16.round(x);
                    (name, shape, values.into_iter().map(round).collect())
                })
                .collect();
            let by_name = |a: &Floats, b: &Floats| a.0.cmp(&b.0);
            written.sort_by(by_name);
            rounded.sort_by(by_name);
            assert_eq!(written, rounded);
        }
        true
    })
}

/// Name, shape and values.
type Floats = (String, Vec<usize>, Vec<f32>);

/// The finite float tensors of a file.
fn floats(file: &TensorFile) -> Vec<Floats> {
    let mut found = Vec::new();
    for tensor in file.tensors() {
        let size = tensor.bytes().len();
        if let Ok(Some((view, dtype))) = tensor.floats() {
            assert_eq!(view.len() * dtype.bytes(), size);
            let mut values = vec![0.0; view.len()];
            view.read_f32(0..view.len(), &mut values);
            found.push((tensor.name().to_owned(), tensor.shape().to_vec(), values));
        }
    }
    found
}

/// A GGUF file, with all of its tensors and its tokenizer.
pub fn gguf(data: &[u8]) -> bool {
    thread_local!(static SCRATCH: Scratch = Scratch::new());
    SCRATCH.with(|scratch| use_model(&scratch.write("model.gguf", data)).is_ok())
}

/// Valid files: with a tokenizer of byte-level BPE, and with one of SentencePiece.
pub fn gguf_seeds() -> Vec<Vec<u8>> {
    let small = || File::llama([261, 32], 8, vec![0x11; 261 * 34]);
    let mut pieces = small();
    let Some((_, Meta::Texts(tokens))) =
        (pieces.metadata.iter()).find(|(key, _)| key == "tokenizer.ggml.tokens")
    else {
        panic!("the tokens");
    };
    let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
    pieces.set("tokenizer.ggml.scores", Meta::F32s(scores));
    pieces.set("tokenizer.ggml.model", Meta::Text("llama".to_owned()));
    vec![small().bytes(), pieces.bytes()]
}

/// Valid configs, in the old and the new spelling of the positions' frequencies.
pub fn config_seeds() -> Vec<Vec<u8>> {
    let new_spelling = include_bytes!("../seeds/config_rope_parameters.json");
    vec![VALID_CONFIG.to_vec(), new_spelling.to_vec()]
}

/// A valid config of every writer.
pub fn quantization_seeds() -> Vec<Vec<u8>> {
    let weights = json!({"num_bits": 4, "type": "int", "group_size": 32, "strategy": "group"});
    let inputs = json!({"num_bits": 8, "type": "float", "strategy": "token", "dynamic": true});
    let blocks = json!({
        "num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128],
    });
    let groups = json!({
        "a": {"targets": ["re:.*down_proj$", "lm_head"], "weights": weights,
              "format": "pack-quantized"},
        "b": {"targets": ["Linear"], "weights": blocks, "input_activations": inputs,
              "format": "float-quantized"},
    });
    let tensor = json!({
        "dtype": "fp4", "qscheme": "per_group", "group_size": 32, "scale_format": "e8m0",
        "scale_calculation_mode": "even", "is_dynamic": true,
    });
    let both = json!({"weight": tensor, "input_tensors": tensor});
    let layers = json!({"model.layers.0.mlp.up_proj": {"quant_algo": "NVFP4", "group_size": 16}});
    let configs = [
        json!({"quant_method": "compressed-tensors", "format": "mixed-precision",
               "config_groups": groups, "ignore": ["re:.*gate.*"], "kv_cache_scheme": {}}),
        json!({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head", "*o_proj"]}),
        json!({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION",
               "quantized_layers": layers, "exclude_modules": ["model.layers.1*"]}),
        json!({"quant_method": "quark", "global_quant_config": both, "exclude": ["re:.*head"],
               "layer_quant_config": {"*down_proj": both}}),
        json!({"quant_method": "fp8", "weight_block_size": [128, 128], "fmt": "e4m3",
               "activation_scheme": "dynamic"}),
        json!({"quant_method": "gptq", "bits": 4, "group_size": -1, "checkpoint_format": "gptq_v2"}),
        json!({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "GEMM"}),
        json!({"quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false}),
    ];
    configs.iter().map(bytes).collect()
}

/// Valid tokenizers of every kind of model: words, byte-pair encoding with byte fallback as in
/// Llama 2, word pieces with every normaliser and pre-tokeniser that takes settings, and pieces
/// with scores.
pub fn tokenizer_seeds() -> Vec<Vec<u8>> {
    vec![
        VALID_TOKENIZER.to_vec(),
        include_bytes!("../seeds/tokenizer_byte_fallback.json").to_vec(),
        include_bytes!("../seeds/tokenizer_word_piece.json").to_vec(),
        include_bytes!("../seeds/tokenizer_unigram.json").to_vec(),
        include_bytes!("../../../model-integration/embedded/tokenizer.json").to_vec(),
    ]
}

/// Valid settings.
pub fn tokenizer_config_seeds() -> Vec<Vec<u8>> {
    vec![bytes(&json!({
        "add_bos_token": true,
        "bos_token": "<s>",
        "eos_token": {"__type": "AddedToken", "content": "</s>"},
        "add_eos_token": null,
        "tokenizer_class": "LlamaTokenizerFast",
        "added_tokens_decoder": {"3": {"content": "cat", "special": false, "rstrip": true}},
        "additional_special_tokens": ["<x>", {"content": "<y>", "normalized": true}],
    }))]
}

/// Valid special tokens.
pub fn special_tokens_map_seeds() -> Vec<Vec<u8>> {
    vec![bytes(
        &json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": null}),
    )]
}

/// Valid settings of generation.
pub fn generation_config_seeds() -> Vec<Vec<u8>> {
    vec![bytes(
        &json!({"eos_token_id": [2, -1, 5], "bos_token_id": 1, "temperature": 0.6}),
    )]
}

/// A valid file, and one with every type of tensor that has a size of its own.
pub fn safetensors_seeds() -> Vec<Vec<u8>> {
    let header = json!({
        "__metadata__": {"format": "pt"},
        "f32": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
        "bf16": {"dtype": "BF16", "shape": [2], "data_offsets": [8, 12]},
        "f16": {"dtype": "F16", "shape": [], "data_offsets": [12, 14]},
        "u8": {"dtype": "U8", "shape": [2], "data_offsets": [14, 16]},
        "empty": {"dtype": "I64", "shape": [0, 9], "data_offsets": [16, 16]},
    });
    let header = bytes(&header);
    let length = (header.len() as u64).to_le_bytes();
    let mixed = [&length[..], &header, &[0x3c; 16]].concat();
    vec![mixed, WEIGHTS_BYTES.clone()]
}

/// A valid index.
pub fn weights_index_seeds() -> Vec<Vec<u8>> {
    let scratch = Scratch::new();
    let path = scratch.write(WEIGHTS, &WEIGHTS_BYTES);
    let file = TensorFile::open(&path).expect("valid weights");
    let places = file
        .tensors()
        .map(|tensor| (tensor.name().to_owned(), SHARD.into()));
    let weight_map: serde_json::Map<String, Value> = places.collect();
    vec![bytes(
        &json!({"metadata": {"total_size": 0}, "weight_map": weight_map}),
    )]
}
