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

use crate::scratch::Scratch;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const WEIGHTS: &str = "model.safetensors";
const SHARD: &str = "model-00001-of-00001.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The bf16 weights of a model with the shape that [`config`] has.
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

fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 1024,
        "hidden_size": 4,
        "intermediate_size": 6,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "hidden_act": "silu",
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
        "tie_word_embeddings": false,
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
        "torch_dtype": "bfloat16",
    })
}

/// Words apart by spaces, `<s>` in front.
fn tokenizer() -> Value {
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"},
        "added_tokens": [{"id": 1, "content": "<s>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                     {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "<unk>",
            "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "the": 3, "cat": 4, "sat": 5}},
    })
}

/// Byte-pair encoding with byte fallback on marked words, as in Llama 2.
fn byte_fallback_tokenizer() -> Value {
    let mut json = tokenizer();
    json["normalizer"] = json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u{2581}"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]});
    json["pre_tokenizer"] = Value::Null;
    json["decoder"] = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"Regex": "\u{2581}+"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
    json["model"] = json!({"type": "BPE", "dropout": null, "unk_token": "<unk>",
        "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
        "byte_fallback": true, "ignore_merges": false,
        "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "<0x0A>": 3, "\u{2581}": 4, "t": 5, "h": 6,
            "e": 7, "\u{2581}t": 8, "he": 9, "\u{2581}the": 10},
        "merges": ["\u{2581} t", "h e", "\u{2581}t he"]});
    json
}

/// Word pieces, with every normaliser and pre-tokeniser that takes settings.
fn word_piece_tokenizer() -> Value {
    let mut json = tokenizer();
    json["normalizer"] = json!({"type": "Sequence", "normalizers": [
        {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        {"type": "Strip", "strip_left": true, "strip_right": false},
        {"type": "StripAccents"}, {"type": "Nmt"}, {"type": "NFKD"},
        {"type": "Replace", "pattern": {"Regex": "[ab]+"}, "content": "t"}]});
    json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": true},
        {"type": "Punctuation", "behavior": "Isolated"},
        {"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": false},
        {"type": "CharDelimiterSplit", "delimiter": "|"},
        {"type": "UnicodeScripts"},
        {"type": "FixedLength", "length": 5},
        {"type": "BertPreTokenizer"}]});
    json["post_processor"] =
        json!({"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]});
    json["decoder"] = json!({"type": "Sequence", "decoders": [
        {"type": "WordPiece", "prefix": "##", "cleanup": true},
        {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": true}]});
    json["model"] = json!({"type": "WordPiece", "unk_token": "<unk>",
        "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
        "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "t": 3, "##he": 4, "c": 5}});
    json
}

/// Pieces with scores, on marked words.
fn unigram_tokenizer() -> Value {
    let mut json = tokenizer();
    json["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "\u{2581}",
        "prepend_scheme": "always", "split": true});
    json["post_processor"] = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
        {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": true,
            "add_prefix_space": true}]});
    json["decoder"] = json!({"type": "Metaspace", "replacement": "\u{2581}",
        "prepend_scheme": "always", "split": true});
    json["model"] = json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false,
        "vocab": [["<unk>", 0.0], ["<s>", 0.0], ["</s>", 0.0], ["\u{2581}", -2.5], ["the", -3.0],
            ["t", -4.0], ["he", -4.5]]});
    json
}

fn bytes(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}

/// Opens the valid directory with one file replaced and touches all of it.
fn open_with(file: &str, data: &[u8]) -> Result<Checkpoint, CheckpointError> {
    thread_local!(static DIRECTORIES: [Scratch; 2] = [directory(WEIGHTS), directory(SHARD)]);
    DIRECTORIES.with(|[single, sharded]| {
        let (directory, valid) = match file {
            CONFIG => (single, bytes(&config())),
            TOKENIZER => (single, bytes(&tokenizer())),
            TOKENIZER_CONFIG => (single, b"{}".to_vec()),
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
    scratch.write(CONFIG, &bytes(&config()));
    scratch.write(TOKENIZER, &bytes(&tokenizer()));
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

/// A `tokenizer.json`: built, and made to encode and decode.
pub fn tokenizer_json(data: &[u8]) -> bool {
    open_with(TOKENIZER, data).is_ok()
}

/// A `tokenizer_config.json`.
pub fn tokenizer_config_json(data: &[u8]) -> bool {
    open_with(TOKENIZER_CONFIG, data).is_ok()
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

/// Valid configs.
pub fn config_seeds() -> Vec<Vec<u8>> {
    let mut new_spelling = config();
    new_spelling["rope_scaling"] = Value::Null;
    new_spelling["rope_theta"] = Value::Null;
    new_spelling["torch_dtype"] = Value::Null;
    new_spelling["dtype"] = json!("float32");
    new_spelling["rope_parameters"] =
        json!({"rope_type": "linear", "factor": 2, "rope_theta": 5e5});
    vec![bytes(&config()), bytes(&new_spelling)]
}

/// Valid tokenizers of every kind of model.
pub fn tokenizer_seeds() -> Vec<Vec<u8>> {
    vec![
        bytes(&tokenizer()),
        bytes(&byte_fallback_tokenizer()),
        bytes(&word_piece_tokenizer()),
        bytes(&unigram_tokenizer()),
        include_bytes!("../../../model-integration/embedded/tokenizer.json").to_vec(),
    ]
}

/// Valid settings.
pub fn tokenizer_config_seeds() -> Vec<Vec<u8>> {
    vec![bytes(&json!({
        "add_bos_token": true,
        "bos_token": "<s>",
        "eos_token": {"__type": "AddedToken", "content": "</s>"},
        "model_max_length": 1e30,
    }))]
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
