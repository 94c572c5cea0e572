//! What a `config.json` comes to: the sizes of a model and the constants of its forward pass.

use mxlab_kernels::format::FloatType;

use super::Architecture;

/// The shape of a model and the constants of its forward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// What sets its checkpoints apart.
    pub architecture: &'static Architecture,
    /// Rows of the embedding and of the output head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width between up/gate and down projection.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head, even. `num_attention_heads * head_dim` need not be
    /// `hidden_size`.
    pub head_dim: usize,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Tokens that a token attends to, itself included, where not all before it. Only sequences
    /// that it does not cut are run.
    pub sliding_window: Option<usize>,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are stretched, if they are.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the output head is the embedding. A `lm_head.weight` in the file is then
    /// ignored.
    pub tie_word_embeddings: bool,
    /// Whether those projections have a bias that have one by
    /// [`Bias::AttentionBias`](super::architecture::Bias).
    pub attention_bias: bool,
    /// Whether those projections have a bias that have one by
    /// [`Bias::MlpBias`](super::architecture::Bias).
    pub mlp_bias: bool,
    /// Begin-of-text token.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text; may be none.
    pub eos_token_ids: Vec<u32>,
    /// Type in which the model was trained and wants to be computed. Where the config does
    /// not say, the type in which the embedding is stored.
    pub dtype: FloatType,
}

/// How rotary frequencies are stretched for sequences longer than those trained on.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Positions are divided by `factor`.
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// Llama 3.1's rule: wavelengths longer than `original_max_position_embeddings /
    /// low_freq_factor` are stretched by `factor`, those shorter than
    /// `original_max_position_embeddings / high_freq_factor` are kept, with a linear
    /// blend between.
    Llama3 {
        /// At least 1.
        factor: f64,
        /// Below `high_freq_factor`.
        low_freq_factor: f64,
        /// Above `low_freq_factor`.
        high_freq_factor: f64,
        /// Positions that the unscaled model was trained on.
        original_max_position_embeddings: usize,
    },
    /// LongRoPE: each frequency has a divisor of its own, another one in sequences longer than
    /// those that the unscaled model was trained on; cosines and sines have a factor.
    Long {
        /// Of sequences up to `original_max_position_embeddings`; `head_dim / 2` divisors.
        short_factor: Vec<f64>,
        /// Of longer ones.
        long_factor: Vec<f64>,
        /// Of cosines and sines.
        attention_factor: f64,
        /// Positions that the unscaled model was trained on.
        original_max_position_embeddings: usize,
    },
}
