//! The sizes of a model and the constants of its forward pass, as `config.json` gives them.

use mxlab_kernels::format::FloatType;

use super::Architecture;

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
    /// Attention window in tokens, the current one included; `None` for no window. Only sequences
    /// that fit the window are run.
    pub sliding_window: Option<usize>,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Scaling of the rotary frequencies, if any.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the output head is the embedding. A `lm_head.weight` in the file is then ignored.
    pub tie_word_embeddings: bool,
    /// Whether the projections with [`Bias::AttentionBias`](super::architecture::Bias) have a bias.
    pub attention_bias: bool,
    /// Whether the projections with [`Bias::MlpBias`](super::architecture::Bias) have a bias.
    pub mlp_bias: bool,
    /// Begin-of-text token.
    pub bos_token_id: Option<u32>,
    /// End-of-text tokens; may be empty.
    pub eos_token_ids: Vec<u32>,
    /// Type in which the model was trained and should be computed; by default the type of the
    /// stored embedding.
    pub dtype: FloatType,
}

/// Scaling of the rotary frequencies for sequences longer than those of the training.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Positions are divided by `factor`.
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// The base grows with sequences beyond `max_position_embeddings`. No longer sequences are run,
    /// so nothing is scaled.
    Dynamic {
        /// At least 1.
        factor: f64,
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
        /// Divisors for sequences up to `original_max_position_embeddings`; `head_dim / 2` of them.
        short_factor: Vec<f64>,
        /// Divisors for longer sequences.
        long_factor: Vec<f64>,
        /// Factor of cosines and sines.
        attention_factor: f64,
        /// Longest sequence of the training before scaling.
        original_max_position_embeddings: usize,
    },
}
