//! The sizes of a model and the constants of its forward pass, as `config.json` gives them.

use mxlab_kernels::format::FloatType;

use super::Architecture;
use super::architecture::Factor;
use super::kinds::ActivationFunction;
use crate::config::Projection;

/// The shape of a model and the constants of its forward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The architecture, which determines the names in its checkpoints.
    pub architecture: &'static Architecture,
    /// Rows of the embedding and of the output head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP, between the up and gate projections and the down projection.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head, even. `num_attention_heads * head_dim` may differ from `hidden_size`.
    pub head_dim: usize,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// What each layer's attention sees.
    pub layers: Vec<LayerKind>,
    /// The rotations that layers choose from; at least one.
    pub ropes: Vec<RopeParameters>,
    /// Added to the mean square in norms.
    pub norm_eps: f64,
    /// The function of the MLP.
    pub activation: ActivationFunction,
    /// Factors and caps.
    pub factors: Factors,
    /// Whether the output head is the embedding. A `lm_head.weight` in the file is then ignored.
    pub tie_word_embeddings: bool,
    /// The experts of layers that have them.
    pub experts: Option<ExpertsConfig>,
    /// Projections that have a bias.
    pub biases: Vec<Projection>,
    /// Begin-of-text token.
    pub bos_token_id: Option<u32>,
    /// End-of-text tokens; may be empty.
    pub eos_token_ids: Vec<u32>,
    /// Type in which the model was trained and should be computed; by default the type of the
    /// stored embedding.
    pub dtype: FloatType,
}

/// What a layer's attention sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerKind {
    /// Attention window in tokens, the current one included; `None` for no window.
    pub window: Option<usize>,
    /// Index of its rotation among [`ModelConfig::ropes`]; `None` for no rotation.
    pub rope: Option<usize>,
    /// Whether experts are in place of its MLP.
    pub has_experts: bool,
}

impl LayerKind {
    /// No window, the first rotation, no experts.
    pub const PLAIN: Self = Self {
        window: None,
        rope: Some(0),
        has_experts: false,
    };
}

/// A mixture of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertsConfig {
    /// Number of experts.
    pub count: usize,
    /// Width of an expert's MLP.
    pub intermediate_size: usize,
    /// How tokens choose.
    pub routing: Routing,
}

/// How tokens choose experts by the router's scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Experts of a token.
    pub per_token: usize,
    /// Whether softmax is taken of all scores, rather than of those of the chosen experts.
    pub is_softmax_first: bool,
    /// Whether weights are divided by their sum.
    pub is_normalised: bool,
    /// Whether weights are rounded to the type of the model's arithmetic.
    pub is_rounded: bool,
}

/// Constants by which values are multiplied, divided or limited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// Multiplies embeddings.
    pub embedding: f64,
    /// Multiplies what a layer's halves add to the residual stream.
    pub residual: f64,
    /// Multiplies products of queries and keys.
    pub attention: f64,
    /// Divides logits.
    pub logit_divisor: f64,
    /// The soft cap `c` of scaled products of queries and keys: `c tanh(x / c)`.
    pub attention_cap: Option<f64>,
    /// The soft cap of logits.
    pub logit_cap: Option<f64>,
}

impl Factors {
    /// Those of a Llama.
    pub fn plain(head_dim: usize) -> Self {
        Self {
            embedding: 1.0,
            residual: 1.0,
            attention: 1.0 / (head_dim as f64).sqrt(),
            logit_divisor: 1.0,
            attention_cap: None,
            logit_cap: None,
        }
    }

    /// One of them; `None` for no cap.
    pub const fn get(&self, factor: Factor) -> Option<f64> {
        match factor {
            Factor::Embedding => Some(self.embedding),
            Factor::Residual => Some(self.residual),
            Factor::Attention => Some(self.attention),
            Factor::LogitDivisor => Some(self.logit_divisor),
            Factor::AttentionCap => self.attention_cap,
            Factor::LogitCap => self.logit_cap,
        }
    }

    /// Changes one of them; `None` removes a cap, and leaves a factor.
    pub const fn set(&mut self, factor: Factor, value: Option<f64>) {
        let place = match factor {
            Factor::Embedding => &mut self.embedding,
            Factor::Residual => &mut self.residual,
            Factor::Attention => &mut self.attention,
            Factor::LogitDivisor => &mut self.logit_divisor,
            Factor::AttentionCap => {
                self.attention_cap = value;
                return;
            }
            Factor::LogitCap => {
                self.logit_cap = value;
                return;
            }
        };
        if let Some(value) = value {
            *place = value;
        }
    }
}

/// A rotation of queries and keys by their positions.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeParameters {
    /// Base of the frequencies.
    pub theta: f64,
    /// The first features of a head, which are rotated; others are left as they are.
    pub features: usize,
    /// Scaling of the frequencies, if any.
    pub scaling: Option<RopeScaling>,
}

/// Scaling of the rotary frequencies for sequences longer than those of the training.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Positions are divided by `factor`.
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// The base grows with sequences beyond `max_position_embeddings`.
    Dynamic {
        /// At least 1.
        factor: f64,
    },
    /// YaRN. Frequencies that turn less than `beta_slow` times over the length of the training are
    /// divided by `factor`; those that turn more than `beta_fast` times are kept; between the two
    /// the rule blends linearly. Cosines and sines have a factor.
    Yarn {
        /// At least 1.
        factor: f64,
        /// Factor of cosines and sines.
        attention_factor: f64,
        /// Turns from which on frequencies are kept.
        beta_fast: f64,
        /// Turns up to which frequencies are divided.
        beta_slow: f64,
        /// Whether the limits are rounded to whole frequencies.
        truncate: bool,
        /// Longest sequence of the training before scaling.
        original_max_position_embeddings: usize,
    },
    /// Llama 3.1's rule. Wavelengths longer than `original_max_position_embeddings /
    /// low_freq_factor` are stretched by `factor`; those shorter than
    /// `original_max_position_embeddings / high_freq_factor` are kept; between the two limits the
    /// rule blends linearly.
    Llama3 {
        /// At least 1.
        factor: f64,
        /// Below `high_freq_factor`.
        low_freq_factor: f64,
        /// Above `low_freq_factor`.
        high_freq_factor: f64,
        /// Longest sequence of the training before scaling.
        original_max_position_embeddings: usize,
    },
    /// LongRoPE: each frequency has its own divisor, with a second set for sequences longer than
    /// those of the training; cosines and sines have a factor.
    Long {
        /// Divisors for sequences up to `original_max_position_embeddings`, one a frequency.
        short_factor: Vec<f64>,
        /// Divisors for longer sequences.
        long_factor: Vec<f64>,
        /// Factor of cosines and sines.
        attention_factor: f64,
        /// Longest sequence of the training before scaling.
        original_max_position_embeddings: usize,
    },
}
