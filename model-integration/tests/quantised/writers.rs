//! Writes a model with packed projections in every supported encoding.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use mxlab::checkpoint::Checkpoint;
use mxlab_kernels::cpu;
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor, ggml_mxfp4_blocks};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::{Value, json};

use crate::gguf::writer::{self, File, Meta};

/// The encoding of packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    CompressedTensors,
    Blocks,
    Own,
    Gguf,
}

impl Encoding {
    pub const ALL: [Self; 4] = [Self::CompressedTensors, Self::Blocks, Self::Own, Self::Gguf];
}

pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
    /// Codes and scales of a projection.
    pub packed: Option<PackedTensor>,
}

/// A tensor of a safetensors file.
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub struct Model {
    config: Value,
    tokenizer: Vec<u8>,
    heads: [usize; 2],
    pub tensors: Vec<Tensor>,
}

impl Model {
    /// A checkpoint with all projections packed.
    pub fn of(checkpoint: &Checkpoint, format: BlockFormat) -> Self {
        let shape = checkpoint.config();
        let tensors = checkpoint.parameters().stored().map(|parameter| {
            let (name, shape) = (parameter.name.clone(), parameter.shape.clone());
            let view = checkpoint.tensor(parameter).expect(&name);
            let mut values = vec![0.0; view.len()];
            view.read_f32(0..view.len(), &mut values);
            let packed = name.contains("_proj.weight").then(|| {
                let packed = cpu::quantize(&values, shape[0], shape[1], &format, FloatType::Bf16);
                let packed = packed.expect("codes");
                cpu::dequantize(&packed, &mut values).expect("values");
                packed
            });
            Tensor {
                name,
                shape,
                values,
                packed,
            }
        });
        Self {
            config: serde_json::from_slice(checkpoint.config_json()).expect("JSON"),
            tokenizer: checkpoint.tokenizer_json().to_vec(),
            heads: [shape.num_attention_heads, shape.num_key_value_heads],
            tensors: tensors.collect(),
        }
    }

    pub fn tensor(&self, name: &str) -> &Tensor {
        let mut tensors = self.tensors.iter();
        tensors.find(|tensor| tensor.name == name).expect(name)
    }

    /// Writes the model into `folder` and returns the path to open.
    pub fn write(&self, folder: &Path, encoding: Encoding) -> PathBuf {
        fs::write(folder.join("tokenizer.json"), &self.tokenizer).expect("writable");
        if encoding == Encoding::Gguf {
            let path = folder.join("model.gguf");
            fs::write(&path, self.gguf()).expect("writable");
            return path;
        }
        self.write_safetensors(folder, encoding, |_, _| {});
        folder.to_owned()
    }

    /// The same, with changes to config and tensors.
    pub fn write_safetensors(
        &self,
        folder: &Path,
        encoding: Encoding,
        change: impl FnOnce(&mut Value, &mut HashMap<String, Stored>),
    ) {
        fs::write(folder.join("tokenizer.json"), &self.tokenizer).expect("writable");
        let mut config = self.config.clone();
        let mut tensors = HashMap::new();
        let mut metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        match encoding {
            Encoding::CompressedTensors => {
                config["quantization_config"] = json!({
                    "quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized",
                    "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": null,
                        "weights": {"num_bits": 4, "type": "float", "group_size": 32,
                                    "strategy": "group", "symmetric": true, "dynamic": false}}},
                    "ignore": ["lm_head"], "kv_cache_scheme": null,
                });
            }
            Encoding::Blocks => config["quantization_config"] = json!({"quant_method": "mxfp4"}),
            Encoding::Own | Encoding::Gguf => {}
        }
        for Tensor {
            name,
            shape,
            values,
            packed,
        } in &self.tensors
        {
            let mut add = |name: String, dtype, shape: &[usize], bytes: Vec<u8>| {
                let shape = shape.to_vec();
                tensors.insert(
                    name,
                    Stored {
                        dtype,
                        shape,
                        bytes,
                    },
                );
            };
            let Some(packed) = packed else {
                add(name.clone(), Dtype::BF16, shape, bf16(values));
                continue;
            };
            let (codes, scales) = (packed.codes().to_vec(), packed.scales().to_vec());
            let (rows, blocks) = (shape[0], shape[1] / 32);
            match encoding {
                Encoding::CompressedTensors => {
                    add(
                        format!("{name}_packed"),
                        Dtype::U8,
                        &[rows, 16 * blocks],
                        codes,
                    );
                    add(format!("{name}_scale"), Dtype::U8, &[rows, blocks], scales);
                }
                Encoding::Blocks => {
                    add(
                        format!("{name}_blocks"),
                        Dtype::U8,
                        &[rows, blocks, 16],
                        codes,
                    );
                    add(format!("{name}_scales"), Dtype::U8, &[rows, blocks], scales);
                }
                Encoding::Own | Encoding::Gguf => {
                    add(
                        format!("{name}.codes"),
                        Dtype::U8,
                        &[rows, 16 * blocks],
                        codes,
                    );
                    add(
                        format!("{name}.scales"),
                        Dtype::U8,
                        &[rows, blocks, 1],
                        scales,
                    );
                    let format = serde_json::to_string(packed.format()).expect("JSON");
                    metadata.insert("mxlab.format".to_owned(), format);
                }
            }
        }
        change(&mut config, &mut tensors);
        fs::write(folder.join("config.json"), config.to_string()).expect("writable");
        let views = tensors.iter().map(
            |(
                name,
                Stored {
                    dtype,
                    shape,
                    bytes,
                },
            )| {
                let view = TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor");
                (name, view)
            },
        );
        let bytes = serialize(views, Some(metadata)).expect("a file");
        fs::write(folder.join("model.safetensors"), bytes).expect("writable");
    }

    /// A GGUF file of version 3 as llama.cpp's converter writes it, with the halves of each query
    /// and key head interleaved.
    pub fn gguf(&self) -> Vec<u8> {
        let number = |name: &str| self.config[name].as_u64().expect(name) as u32;
        let mut file = File::default();
        file.set("general.architecture", Meta::Text("llama".to_owned()));
        for (name, own) in [
            ("llama.embedding_length", "hidden_size"),
            ("llama.feed_forward_length", "intermediate_size"),
            ("llama.block_count", "num_hidden_layers"),
            ("llama.attention.head_count", "num_attention_heads"),
            ("llama.attention.head_count_kv", "num_key_value_heads"),
            ("llama.rope.dimension_count", "head_dim"),
            ("llama.context_length", "max_position_embeddings"),
            ("tokenizer.ggml.bos_token_id", "bos_token_id"),
            ("tokenizer.ggml.eos_token_id", "eos_token_id"),
        ] {
            file.set(name, Meta::U32(number(own)));
        }
        for (name, own) in [
            ("llama.attention.layer_norm_rms_epsilon", "rms_norm_eps"),
            ("llama.rope.freq_base", "rope_theta"),
        ] {
            let value = self.config[own].as_f64().expect(own) as f32;
            file.set(name, Meta::F32(value));
        }
        for tensor in &self.tensors {
            let cols: usize = tensor.shape[1..].iter().product();
            let order = self.stored_order(&tensor.name, tensor.shape[0]);
            let (kind, bytes) = match &tensor.packed {
                Some(packed) => {
                    let blocks = ggml_mxfp4_blocks(packed).expect("blocks");
                    let rows = blocks.chunks_exact(blocks.len() / tensor.shape[0]);
                    let rows: Vec<&[u8]> = rows.collect();
                    (
                        39,
                        order.iter().flat_map(|&row| rows[row].to_vec()).collect(),
                    )
                }
                None => {
                    let rows = order
                        .iter()
                        .flat_map(|&row| &tensor.values[row * cols..][..cols]);
                    let values: Vec<f32> = rows.copied().collect();
                    (30, bf16(&values))
                }
            };
            let name = gguf_name(&tensor.name);
            file.tensors
                .push(writer::Tensor(name, kind, tensor.shape.clone(), bytes));
        }
        file.bytes()
    }

    /// The model's row for each row of the file.
    fn stored_order(&self, name: &str, rows: usize) -> Vec<usize> {
        let heads = match name {
            _ if name.contains("q_proj") => self.heads[0],
            _ if name.contains("k_proj") => self.heads[1],
            _ => return (0..rows).collect(),
        };
        let half = rows / heads / 2;
        let order = (0..heads).flat_map(|head| {
            let pairs = (0..half).flat_map(move |pair| [pair, pair + half]);
            pairs.map(move |row| 2 * head * half + row)
        });
        order.collect()
    }
}

fn gguf_name(name: &str) -> String {
    let replacements = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.", "attn_"),
        ("mlp.", "ffn_"),
        ("_proj", ""),
    ];
    let replace = |name: String, (of_llama, own): (&str, &str)| name.replace(of_llama, own);
    replacements.into_iter().fold(name.to_owned(), replace)
}

fn bf16(values: &[f32]) -> Vec<u8> {
    let bits = values
        .iter()
        .map(|&x| half::bf16::from_f32(x).to_le_bytes());
    bits.flatten().collect()
}
