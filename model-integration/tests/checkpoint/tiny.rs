//! A valid Llama of a few kilobytes in memory, to be written as it is or broken first.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use mxlab::checkpoint::{Checkpoint, CheckpointError};
use mxlab_kernels::format::FloatType;
use serde_json::{Map, Value, json};

/// File name -> content.
pub type Files = BTreeMap<String, Vec<u8>>;

pub const VOCABULARY: [&str; 12] = [
    "<unk>", "<s>", "</s>", "the", "cat", "sat", "on", "mat", "dog", "ran", "to", "house",
];

#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

/// The contents of a model directory, before they become files.
pub struct TinyModel {
    pub config: Value,
    pub tokenizer: Value,
    pub tokenizer_config: Value,
    pub tensors: Vec<Tensor>,
}

impl TinyModel {
    /// Two layers, hidden size 8, two query heads of 4, one key/value head, an untied head, and 16
    /// rows of embedding for 12 tokens.
    pub fn new(dtype: FloatType) -> Self {
        let mut model = Self {
            config: json!({
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "vocab_size": 16,
                "hidden_size": 8,
                "intermediate_size": 12,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "hidden_act": "silu",
                "max_position_embeddings": 64,
                "rms_norm_eps": 1e-5,
                "rope_theta": 10000.0,
                "rope_scaling": null,
                "tie_word_embeddings": false,
                "attention_bias": false,
                "mlp_bias": false,
                "bos_token_id": 1,
                "eos_token_id": 2,
                "torch_dtype": dtype.name(),
            }),
            tokenizer: tokenizer(),
            tokenizer_config: json!({
                "add_bos_token": true,
                "bos_token": "<s>",
                "eos_token": {"__type": "AddedToken", "content": "</s>"},
                "model_max_length": 1000000000000000019884624838656_f64,
            }),
            tensors: Vec::new(),
        };
        model.fill(dtype);
        model
    }

    /// Gives the model exactly the tensors of its config.
    pub fn fill(&mut self, dtype: FloatType) {
        let (hidden, inner, vocabulary) = (8, 12, 16);
        let mut shapes = vec![(
            "model.embed_tokens.weight".to_owned(),
            vec![vocabulary, hidden],
        )];
        for layer in 0..2 {
            let mut add = |name: &str, shape: &[usize]| {
                shapes.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
            };
            add("input_layernorm.weight", &[hidden]);
            add("post_attention_layernorm.weight", &[hidden]);
            let attention = [("q", 8, 8), ("k", 4, 8), ("v", 4, 8), ("o", 8, 8)];
            for (projection, outputs, inputs) in attention {
                add(
                    &format!("self_attn.{projection}_proj.weight"),
                    &[outputs, inputs],
                );
                if self.config["attention_bias"] == true {
                    add(&format!("self_attn.{projection}_proj.bias"), &[outputs]);
                }
            }
            for (projection, outputs, inputs) in [
                ("gate", inner, hidden),
                ("up", inner, hidden),
                ("down", hidden, inner),
            ] {
                add(&format!("mlp.{projection}_proj.weight"), &[outputs, inputs]);
                if self.config["mlp_bias"] == true {
                    add(&format!("mlp.{projection}_proj.bias"), &[outputs]);
                }
            }
        }
        shapes.push(("model.norm.weight".to_owned(), vec![hidden]));
        if self.config["tie_word_embeddings"] == false {
            shapes.push(("lm_head.weight".to_owned(), vec![vocabulary, hidden]));
        }
        self.tensors = shapes
            .into_iter()
            .map(|(name, shape)| {
                let data = (0..shape.iter().product())
                    .flat_map(|index| store(dtype, value(&name, index)))
                    .collect();
                Tensor {
                    name,
                    dtype: code(dtype).to_owned(),
                    shape,
                    data,
                }
            })
            .collect();
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors
            .iter_mut()
            .find(|tensor| tensor.name == name)
            .unwrap_or_else(|| panic!("the tiny model has no {name}"))
    }

    pub fn remove_tensor(&mut self, name: &str) {
        self.tensors.retain(|tensor| tensor.name != name);
    }

    /// The files of the directory, with weights in one file.
    pub fn files(&self) -> Files {
        let mut files = self.files_without_weights();
        files.insert("model.safetensors".to_owned(), safetensors(&self.tensors));
        files
    }

    /// The files of the directory, with weights in two shards and an index.
    pub fn sharded_files(&self) -> Files {
        const SHARDS: [&str; 2] = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        let mut files = self.files_without_weights();
        let halves = self.tensors.split_at(self.tensors.len() / 2);
        let mut weight_map = Map::new();
        for (shard, tensors) in SHARDS.into_iter().zip([halves.0, halves.1]) {
            files.insert(shard.to_owned(), safetensors(tensors));
            for tensor in tensors {
                weight_map.insert(tensor.name.clone(), shard.into());
            }
        }
        let index = json!({"metadata": {"total_size": 0}, "weight_map": weight_map});
        files.insert(
            "model.safetensors.index.json".to_owned(),
            json_bytes(&index),
        );
        files
    }

    fn files_without_weights(&self) -> Files {
        Files::from([
            ("config.json".to_owned(), json_bytes(&self.config)),
            ("tokenizer.json".to_owned(), json_bytes(&self.tokenizer)),
            (
                "tokenizer_config.json".to_owned(),
                json_bytes(&self.tokenizer_config),
            ),
        ])
    }
}

/// The weight at `index` of the tensor `name`: exact in every dtype, different by name.
pub fn value(name: &str, index: usize) -> f32 {
    let seed: usize = name.bytes().map(usize::from).sum();
    ((seed + 7 * index) % 31) as f32 / 16.0 - 1.0
}

/// The name of a dtype in a safetensors header.
fn code(dtype: FloatType) -> &'static str {
    match dtype {
        FloatType::F32 => "F32",
        FloatType::Bf16 => "BF16",
        FloatType::F16 => "F16",
    }
}

fn store(dtype: FloatType, x: f32) -> Vec<u8> {
    match dtype {
        FloatType::F32 => x.to_le_bytes().to_vec(),
        FloatType::Bf16 => bf16::from_f32(x).to_le_bytes().to_vec(),
        FloatType::F16 => f16::from_f32(x).to_le_bytes().to_vec(),
    }
}

/// Words separated by spaces, with `<s>` in front.
fn tokenizer() -> Value {
    let vocabulary: Map<String, Value> = VOCABULARY
        .iter()
        .enumerate()
        .map(|(id, token)| ((*token).to_owned(), id.into()))
        .collect();
    let special: Vec<Value> = VOCABULARY[..3]
        .iter()
        .enumerate()
        .map(|(id, token)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    json!({
        "version": "1.0",
        "truncation": {
            "direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0,
        },
        "padding": null,
        "added_tokens": special,
        "normalizer": null,
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
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    })
}

/// The parts of a Llama 2 tokenizer: BPE with byte fallback on `\u{2581}`-marked words.
pub fn bpe_tokenizer() -> Value {
    let pieces = [
        "<unk>",
        "<s>",
        "</s>",
        "<0x0A>",
        "\u{2581}",
        "t",
        "h",
        "e",
        "c",
        "a",
        "\u{2581}t",
        "he",
        "\u{2581}the",
    ];
    let vocabulary: Map<String, Value> = (0..)
        .zip(pieces)
        .map(|(id, piece): (u32, _)| (piece.to_owned(), id.into()))
        .collect();
    let mut json = tokenizer();
    json["normalizer"] = json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u{2581}"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]});
    json["pre_tokenizer"] = Value::Null;
    json["decoder"] = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
    json["model"] = json!({"type": "BPE", "dropout": null, "unk_token": "<unk>",
        "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
        "byte_fallback": true, "vocab": vocabulary,
        "merges": ["\u{2581} t", "h e", "\u{2581}t he"]});
    json
}

pub fn json_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A well-formed safetensors file of `tensors`, in their order.
pub fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let mut header = Map::new();
    let mut data = Vec::new();
    for tensor in tensors {
        let begin = data.len();
        data.extend(&tensor.data);
        let offsets = [begin, data.len()];
        let entry = json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets});
        header.insert(tensor.name.clone(), entry);
    }
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    container(Value::Object(header).to_string().as_bytes(), &data)
}

/// Any header and any data with the right header length in front.
pub fn container(header: &[u8], data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [length.as_slice(), header, data].concat()
}

pub fn write(dir: &Path, files: &Files) {
    for (name, content) in files {
        fs::write(dir.join(name), content).unwrap();
    }
}

/// Uses everything in a model: headers, every weight, the tokenizer.
pub fn use_model(dir: &Path) -> Result<(), CheckpointError> {
    let checkpoint = Checkpoint::open(dir)?;
    for parameter in checkpoint.parameters().stored() {
        let view = checkpoint.tensor(parameter)?;
        view.read_f32(0..view.len(), &mut vec![0.0; view.len()]);
    }
    let tokenizer = checkpoint.tokenizer()?;
    let ids = tokenizer.encode("the cat sat on the mat", true)?;
    tokenizer.decode(&ids, true)?;
    checkpoint.fingerprint();
    Ok(())
}
