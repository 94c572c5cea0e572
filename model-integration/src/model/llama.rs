//! What a model consists of, once over [`Backend`]. A [`Layer`] without a part does not compute it.

use mxlab_kernels::format::{BlockFormat, Hadamard};

use super::{Backend, Norm, Rope};
use crate::description::kinds::ActivationFunction;
use crate::description::{Architecture, Factors, LayerKind, Routing};

/// A projection: weight, bias and input format.
pub struct Linear<B: Backend> {
    /// Weight `[out, in]`, quantised already.
    pub weight: B::Matrix,
    /// Bias `[out]`, if the model has one.
    pub bias: Option<B::Vector>,
    /// Whether the product is rounded before the bias is added, as stacks of experts have it.
    pub bias_is_apart: bool,
    /// Format of its input.
    pub input: B::Input,
}

impl<B: Backend> Linear<B> {
    /// The product with `x`, and `residual` if it is given.
    pub(super) fn product(
        &self,
        backend: &B,
        x: &B::Activation,
        residual: Option<&B::Activation>,
    ) -> Result<B::Activation, B::Error> {
        match &self.bias {
            Some(bias) if self.bias_is_apart => {
                let product = backend.linear(x, &self.weight, None, None)?;
                let out = backend.add_bias(product, bias)?;
                match residual {
                    None => Ok(out),
                    Some(residual) => backend.add(out, residual),
                }
            }
            bias => backend.linear(x, &self.weight, bias.as_ref(), residual),
        }
    }
}

/// Projections with a common input.
pub enum Projections<B: Backend, const N: usize> {
    /// One product each.
    Separate([Linear<B>; N]),
    /// One product for all.
    Fused {
        /// Weights and biases, quantised already.
        stack: B::Stack,
        /// Format of their input.
        input: B::Input,
    },
}

/// The MLP of a layer.
pub enum Mlp<B: Backend> {
    /// `down(function(gate(x)) * up(x))`.
    Gated {
        /// Gate and up projections.
        gate_up: Projections<B, 2>,
        /// Down projection.
        down: Linear<B>,
    },
    /// `down(function(up(x)))`.
    Plain {
        /// Up projection.
        up: Linear<B>,
        /// Down projection.
        down: Linear<B>,
    },
    /// A weighted sum over MLPs with gates, of which each token chooses some.
    Experts {
        /// The scores of experts.
        router: Linear<B>,
        /// How tokens choose by them.
        routing: Routing,
        /// The experts.
        experts: Vec<Expert<B>>,
    },
}

/// An expert.
pub struct Expert<B: Backend> {
    /// Gate and up projections.
    pub gate_up: Projections<B, 2>,
    /// Down projection.
    pub down: Linear<B>,
}

/// One decoder block.
pub struct Layer<B: Backend> {
    /// Window and rotation of its attention.
    pub kind: LayerKind,
    /// The norm before attention.
    pub input_norm: Option<Norm<B::Vector>>,
    /// Query, key and value projections.
    pub qkv: Projections<B, 3>,
    /// The norms of queries and keys.
    pub head_norms: Option<[Norm<B::Vector>; 2]>,
    /// For each query head a score without a key.
    pub sinks: Option<B::Vector>,
    /// Output projection.
    pub o: Linear<B>,
    /// The norm of the attention's output.
    pub after_attention: Option<Norm<B::Vector>>,
    /// Format of the keys in the cache.
    pub keys: Option<BlockFormat>,
    /// Format of the values in the cache.
    pub values: Option<BlockFormat>,
    /// The norm before the MLP.
    pub mlp_norm: Option<Norm<B::Vector>>,
    /// The MLP.
    pub mlp: Mlp<B>,
    /// The norm of the MLP's output.
    pub after_mlp: Option<Norm<B::Vector>>,
}

/// A model: parameters and shape, ready to run on one backend.
pub struct Llama<B: Backend> {
    /// The architecture, for the names of parts.
    pub architecture: &'static Architecture,
    /// Embedding table `[vocab, hidden]`.
    pub embedding: B::Matrix,
    /// Decoder blocks.
    pub layers: Vec<Layer<B>>,
    /// The last norm.
    pub norm: Norm<B::Vector>,
    /// Output head `[vocab, hidden]`; `None` if it is the embedding table.
    pub head: Option<B::Matrix>,
    /// Format of the head's input.
    pub head_input: B::Input,
    /// Rotary tables up to the longest sequence.
    pub rope: Rope,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Features per head.
    pub head_dim: usize,
    /// Positions at the beginning of a sequence whose keys and values stay as they are.
    pub kv_first: usize,
    /// Keys that a query sees last, its own included, as they are.
    pub key_recent: usize,
    /// The rotation of each head of queries and keys where keys have a format.
    pub key_rotation: Option<Hadamard>,
    /// The function of MLPs.
    pub activation: ActivationFunction,
    /// Factors and caps.
    pub factors: Factors,
}
