//! The embedded model as trainable variables: its shape, its first weights, its files.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};
use mxlab_harness::record::write_atomic;
use mxlab_kernels::format::FloatType;
use rand::Rng;
use tokenizers::Tokenizer;

use super::autograd::Autograd;
use super::tokenizer::{BOS_ID, EOS_ID};
use crate::checkpoint::layout::{EMBEDDING, FINAL_NORM, initial_deviation, layer_tensor, tensors};
use crate::checkpoint::write::{NamedTensor, save_bf16};
use crate::checkpoint::{Architecture, LlamaConfig};
use crate::model::{Layer, Linear, Llama, Projections, Rope};

/// Tokens of the vocabulary.
pub const VOCABULARY: usize = 896;

/// The shape of the embedded model: narrow and deep, so that what quantisation does to a layer
/// adds up over many, as in a large model.
pub fn shape() -> LlamaConfig {
    LlamaConfig {
        architecture: Architecture::Llama,
        vocab_size: VOCABULARY,
        hidden_size: 128,
        intermediate_size: 512,
        num_hidden_layers: 10,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 64,
        max_position_embeddings: 512,
        sliding_window: None,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        tie_word_embeddings: true,
        attention_bias: false,
        mlp_bias: false,
        bos_token_id: Some(BOS_ID),
        eos_token_ids: vec![EOS_ID],
        dtype: FloatType::Bf16,
    }
}

/// The weights of a model in training, under their names in a checkpoint.
pub struct Parameters {
    names: Vec<String>,
    /// The variables, in the order of the names.
    pub variables: Vec<Var>,
}

impl Parameters {
    /// Gains start at one, matrices are normal: see [`initial_deviation`].
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn initialise(config: &LlamaConfig, rng: &mut impl Rng) -> Result<Self> {
        let mut parameters = Self {
            names: Vec::new(),
            variables: Vec::new(),
        };
        for (name, shape) in tensors(config) {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = match initial_deviation(config, &name, &shape) {
                None => vec![1.0; count],
                Some(deviation) => (0..count)
                    .map(|_| (normal(rng) * deviation) as f32)
                    .collect(),
            };
            let variable = Var::from_vec(values, shape, &Device::Cpu)?;
            parameters.variables.push(variable);
            parameters.names.push(name);
        }
        Ok(parameters)
    }

    /// The model that these weights make.
    ///
    /// # Errors
    /// When a weight that `config` asks for is not there.
    pub fn assemble(&self, config: &LlamaConfig) -> Result<Llama<Autograd>> {
        let layers = (0..config.num_hidden_layers)
            .map(|layer| self.layer(layer))
            .collect::<Result<_>>()?;
        Ok(Llama {
            embedding: self.tensor(EMBEDDING)?,
            layers,
            norm: self.tensor(FINAL_NORM)?,
            head: None,
            rope: Rope::new(
                config.max_position_embeddings,
                config.head_dim,
                config.rope_theta,
                config.rope_scaling.as_ref(),
            ),
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            eps: config.rms_norm_eps,
        })
    }

    fn layer(&self, layer: usize) -> Result<Layer<Autograd>> {
        let tensor = |name: &str| self.tensor(&layer_tensor(layer, &format!("{name}.weight")));
        let linear = |name: &str| -> Result<Linear<Autograd>> {
            Ok(Linear {
                weight: tensor(name)?,
                bias: None,
                input: (),
            })
        };
        Ok(Layer {
            input_norm: tensor("input_layernorm")?,
            qkv: Projections::Apart([
                linear("self_attn.q_proj")?,
                linear("self_attn.k_proj")?,
                linear("self_attn.v_proj")?,
            ]),
            o: linear("self_attn.o_proj")?,
            keys: None,
            values: None,
            post_attention_norm: tensor("post_attention_layernorm")?,
            gate_up: Projections::Apart([linear("mlp.gate_proj")?, linear("mlp.up_proj")?]),
            down: linear("mlp.down_proj")?,
        })
    }

    fn tensor(&self, name: &str) -> Result<Tensor> {
        let index = self.names.iter().position(|known| known == name);
        let index = index.with_context(|| format!("no parameter `{name}`"))?;
        Ok(self.variables[index].as_tensor().clone())
    }

    /// Writes a Hugging Face model directory, weights rounded to bf16.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(
        &self,
        directory: &Path,
        config: &LlamaConfig,
        tokenizer: &Tokenizer,
    ) -> Result<()> {
        let values: Vec<Vec<f32>> = self
            .variables
            .iter()
            .map(|variable| variable.flatten_all()?.to_vec1())
            .collect::<candle_core::Result<_>>()?;
        let views: Vec<NamedTensor> = self
            .names
            .iter()
            .zip(&self.variables)
            .zip(&values)
            .map(|((name, variable), values)| NamedTensor {
                name,
                shape: variable.dims(),
                values,
            })
            .collect();
        save_bf16(&directory.join("model.safetensors"), &views)?;
        let json = serde_json::to_string_pretty(&config.to_json())? + "\n";
        write_atomic(&directory.join("config.json"), json.as_bytes())?;
        let json = tokenizer
            .to_string(false)
            .map_err(|error| anyhow::anyhow!("the tokenizer has no JSON form: {error}"))?;
        write_atomic(&directory.join("tokenizer.json"), json.as_bytes())?;
        Ok(())
    }
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
