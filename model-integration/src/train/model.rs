//! The embedded model as trainable variables: its shape, initial weights and files.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};
use mxlab_harness::record::write_atomic;
use mxlab_kernels::format::FloatType;
use rand::Rng;
use tokenizers::Tokenizer;

use super::autograd::Autograd;
use super::tokenizer::{BOS_ID, EOS_ID};
use crate::checkpoint::write::{NamedTensor, save_bf16};
use crate::description::kinds::ActivationFunction;
use crate::description::parameters::{Parameter, Parameters, Role, parameters};
use crate::description::{Factors, LayerKind, ModelConfig, RopeParameters, architecture};
use crate::model::assemble::{Source, assemble};
use crate::model::{Linear, Llama, Rope};

/// Size of the vocabulary.
pub const VOCABULARY: usize = 896;

/// Its layers, and the width of its heads.
const LAYERS: usize = 10;
const HEAD_DIM: usize = 64;

/// The shape of the embedded model: narrow and deep, so that quantisation errors accumulate over
/// many layers, as in a large model.
pub fn shape() -> ModelConfig {
    ModelConfig {
        architecture: &architecture::LLAMA,
        vocab_size: VOCABULARY,
        hidden_size: 128,
        intermediate_size: 512,
        num_hidden_layers: LAYERS,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: HEAD_DIM,
        max_position_embeddings: 512,
        layers: vec![LayerKind::PLAIN; LAYERS],
        ropes: vec![RopeParameters {
            theta: 10_000.0,
            features: HEAD_DIM,
            scaling: None,
        }],
        norm_eps: 1e-5,
        activation: ActivationFunction::Silu,
        factors: Factors::plain(HEAD_DIM),
        tie_word_embeddings: true,
        experts: None,
        biases: Vec::new(),
        bos_token_id: Some(BOS_ID),
        eos_token_ids: vec![EOS_ID],
        dtype: FloatType::Bf16,
    }
}

/// A model in training: its parameters, and a variable for each.
pub struct Weights {
    parameters: Parameters,
    /// The variables, in the order of the parameters.
    pub variables: Vec<Var>,
}

impl Weights {
    /// Gains are one, matrices are normal: see [`Parameter::first_deviation`].
    ///
    /// # Errors
    /// If a tensor cannot be created.
    pub fn initialise(config: &ModelConfig, rng: &mut impl Rng) -> Result<Self> {
        let parameters = parameters(config);
        let mut variables = Vec::new();
        for parameter in parameters.stored() {
            let count = parameter.elements();
            let values: Vec<f32> = match parameter.first_deviation {
                None => vec![1.0; count],
                Some(deviation) => (0..count)
                    .map(|_| (normal(rng) * deviation) as f32)
                    .collect(),
            };
            let shape = parameter.shape.as_slice();
            variables.push(Var::from_vec(values, shape, &Device::Cpu)?);
        }
        Ok(Self {
            parameters,
            variables,
        })
    }

    /// The model with these weights.
    ///
    /// # Errors
    /// If a weight is missing.
    pub fn assemble(&self, config: &ModelConfig) -> Result<Llama<Autograd>> {
        let rope = Rope::new(config, config.max_position_embeddings);
        assemble(self, config, &self.parameters, rope)
    }

    /// Writes a Hugging Face model directory, with weights rounded to bf16.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(
        &self,
        directory: &Path,
        config: &ModelConfig,
        tokenizer: &Tokenizer,
    ) -> Result<()> {
        let values: Vec<Vec<f32>> = self
            .variables
            .iter()
            .map(|variable| variable.flatten_all()?.to_vec1())
            .collect::<candle_core::Result<_>>()?;
        let views = self.parameters.stored().zip(&values);
        let views: Vec<NamedTensor> = views
            .map(|(parameter, values)| NamedTensor {
                name: &parameter.name,
                shape: &parameter.shape,
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

impl Source<Autograd> for Weights {
    type Error = anyhow::Error;

    fn embedding(&self, parameters: &Parameters) -> Result<Tensor> {
        self.vector(parameters.weight(None, Role::Embedding))
    }

    fn head(&self, parameters: &Parameters) -> Result<Option<Tensor>> {
        let head = parameters.weight(None, Role::Head);
        let head = Some(head).filter(|head| head.tied_to.is_none());
        head.map(|head| self.vector(head)).transpose()
    }

    fn vector(&self, parameter: &Parameter) -> Result<Tensor> {
        let mut stored = self.parameters.stored().zip(&self.variables);
        let found = stored.find(|(stored, _)| *stored == parameter);
        let (_, variable) = found.with_context(|| format!("no variable `{}`", parameter.name))?;
        Ok(variable.as_tensor().clone())
    }

    fn linear(&self, weight: &Parameter, bias: Option<&Parameter>) -> Result<Linear<Autograd>> {
        Ok(Linear {
            weight: self.vector(weight)?,
            bias: bias.map(|bias| self.vector(bias)).transpose()?,
            bias_is_apart: false,
            input: (),
        })
    }
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
