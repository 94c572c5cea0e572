//! Mixtures of experts as data: the modules in place of an MLP, and how tokens choose among them.

use super::{Condition, Module};
use crate::config::Projection;

/// The experts of an architecture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Experts {
    /// The modules of a layer in place of the MLP; `{}` in a name stands for an expert's number.
    pub modules: &'static [Module],
    /// Whether the router has a bias.
    pub router_has_bias: bool,
    /// Tensors that stack all experts. A row of one projection follows that of another.
    pub stacks: &'static [(&'static str, &'static [Projection])],
    /// Names of the field with the number of experts.
    pub count: &'static [&'static str],
    /// `num_experts_per_tok` where it is absent.
    pub per_token: usize,
    /// The field of the width of an expert's MLP.
    pub width: &'static str,
    /// How scores become weights.
    pub routing: RoutingRule,
    /// Whether `mlp_only_layers` and `decoder_sparse_step` name layers with an MLP instead.
    pub has_plain_layers: bool,
}

/// How a router's scores become the weights of the chosen experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutingRule {
    /// Softmax of all scores, of which the largest are chosen.
    SoftmaxFirst {
        /// Whether they are divided by their sum.
        normalised: Condition,
        /// Whether weights are rounded to the type of the model's arithmetic.
        rounded: bool,
    },
    /// The largest scores are chosen, and softmax is taken of them.
    TopFirst,
}
