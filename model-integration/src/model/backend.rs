//! The operations that a model consists of. Engines implement them; the model is written once on
//! top of them.

use mxlab_kernels::format::{BlockFormat, Hadamard};

use super::context::Reach;
use super::ops::Chosen;
use super::rope::Rotation;
use crate::description::Routing;
use crate::description::kinds::{ActivationFunction, NormKind};

/// Tokens of any number of sequences, one sequence after another. Row `i` of an activation belongs
/// to token `i`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// The sequences of these tokens, in order.
    pub sequences: Vec<Sequence>,
    /// How far every whole sequence reaches, if rotary frequencies depend on it: see
    /// [`super::context`].
    pub reach: Reach,
}

/// Consecutive tokens of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Its place in the cache.
    pub slot: usize,
    /// Number of positions before these tokens; the cache holds their keys and values.
    pub past: usize,
    /// Number of these tokens.
    pub length: usize,
}

impl Sequence {
    /// Position after the last of these tokens.
    pub fn end(&self) -> usize {
        self.past + self.length
    }
}

impl Batch {
    /// Whole sequences, in slots 0, 1 and so on.
    pub fn whole<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut batch = Self::default();
        for (slot, tokens) in sequences.into_iter().enumerate() {
            batch.push(slot, 0, tokens);
        }
        batch
    }

    /// Adds tokens of the sequence in `slot`, whose first `past` positions are in the cache.
    pub fn push(&mut self, slot: usize, past: usize, tokens: &[u32]) {
        let length = tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.sequences.push(Sequence { slot, past, length });
    }

    /// The position of every token in its sequence.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.sequences
            .iter()
            .flat_map(|sequence| sequence.past..sequence.end())
    }

    /// The row of each sequence's last token.
    pub fn ends(&self) -> Vec<u32> {
        let ends = self.sequences.iter().scan(0, |end, sequence| {
            *end += sequence.length as u32;
            Some(*end - 1)
        });
        ends.collect()
    }

    /// Only the given tokens, at their positions in their sequences.
    pub fn select(&self, rows: &[u32]) -> Self {
        let of_tokens: Vec<Sequence> = self
            .sequences
            .iter()
            .flat_map(|&Sequence { slot, past, length }| {
                (past..past + length).map(move |past| Sequence {
                    slot,
                    past,
                    length: 1,
                })
            })
            .collect();
        Self {
            tokens: rows.iter().map(|&row| self.tokens[row as usize]).collect(),
            sequences: rows.iter().map(|&row| of_tokens[row as usize]).collect(),
            reach: self.reach,
        }
    }
}

/// A norm along the features. If there are more features than gains, every run of as many is
/// normalised by itself.
pub struct Norm<V> {
    /// Its formula.
    pub kind: NormKind,
    /// Gains.
    pub gain: V,
    /// Biases of a layer norm.
    pub bias: Option<V>,
    /// Added to the mean square.
    pub eps: f64,
}

/// A function of single values. Each step is rounded to the type of the model's arithmetic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Map {
    /// The product with a factor.
    Times(f32),
    /// The quotient by a divisor.
    Over(f32),
    /// `c tanh(x / c)`, in three steps.
    SoftCap(f32),
}

/// Parameters of a layer's attention, which is grouped-query and causal.
pub struct Attention<'a, V> {
    /// The layer, from 0.
    pub layer: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Features per head.
    pub head_dim: usize,
    /// The rotation of queries and keys; `None` for none.
    pub rope: Option<Rotation<'a>>,
    /// How many keys a query sees at most, its own included; `None` for all.
    pub window: Option<usize>,
    /// Multiplies products of queries and keys.
    pub scale: f32,
    /// The soft cap of scaled products.
    pub cap: Option<f32>,
    /// For each query head a score without a key, which takes its share of the weights.
    pub sinks: Option<&'a V>,
    /// Format of the keys in the cache; `None` for unquantised.
    pub keys: Option<&'a BlockFormat>,
    /// Format of the values in the cache; `None` for unquantised.
    pub values: Option<&'a BlockFormat>,
    /// Positions at the beginning of a sequence whose keys and values stay as they are.
    pub kv_first: usize,
    /// Keys that a query sees last, its own included, as they are; 0 for none.
    pub key_recent: usize,
    /// The rotation of each head of queries and keys, after the rotary one; `None` for none.
    pub key_rotation: Option<&'a Hadamard>,
}

/// The operations of a model. Activations are `[tokens, features]`.
///
/// Operations whose result is an input of projections return it as `input` prescribes. Each token
/// is quantised on its own, in blocks along all its features. The seed of stochastic rounding is
/// the position of the token in its sequence.
pub trait Backend {
    /// An activation matrix.
    type Activation;
    /// A weight matrix `[out, in]`, dense or packed.
    type Matrix;
    /// Matrices with a common input, and their biases, stored so that one product computes all of
    /// them; [`std::convert::Infallible`] for backends without stacks.
    type Stack;
    /// The format of the input of projections; unquantised by default.
    type Input: Default + PartialEq;
    /// A norm's gain or a bias.
    type Vector;
    /// Keys and values of the positions before a batch.
    type Cache;
    /// The backend's errors.
    type Error;

    /// Whether a row's results have the same bits in a batch of any size. The last layer then
    /// computes only the rows that are asked for, behind its attention.
    fn selects_early(&self) -> bool {
        false
    }

    /// Rows of the embedding table, one per token.
    fn embed(&self, table: &Self::Matrix, tokens: &[u32]) -> Result<Self::Activation, Self::Error>;

    /// A norm, in the format `input`.
    fn norm(
        &self,
        x: &Self::Activation,
        norm: &Norm<Self::Vector>,
        batch: &Batch,
        input: &Self::Input,
    ) -> Result<Self::Activation, Self::Error>;

    /// `x` itself, in the format `input`.
    fn as_input(
        &self,
        x: &Self::Activation,
        batch: &Batch,
        input: &Self::Input,
    ) -> Result<Self::Activation, Self::Error>;

    /// `x weight^T + bias`, rounded; then `residual` is added, if given, and the sum is rounded
    /// again.
    fn linear(
        &self,
        x: &Self::Activation,
        weight: &Self::Matrix,
        bias: Option<&Self::Vector>,
        residual: Option<&Self::Activation>,
    ) -> Result<Self::Activation, Self::Error>;

    /// [`Backend::linear`] for each of the N matrices of a stack.
    fn linear_stack<const N: usize>(
        &self,
        x: &Self::Activation,
        stack: &Self::Stack,
    ) -> Result<[Self::Activation; N], Self::Error>;

    /// [`Backend::gate`] by SiLU of the products with gate and up, which form the stack. `name` is
    /// their name for [`Backend::watch`].
    fn linear_swiglu(
        &self,
        x: &Self::Activation,
        stack: &Self::Stack,
        batch: &Batch,
        input: &Self::Input,
        name: impl Fn(usize) -> String,
    ) -> Result<Self::Activation, Self::Error>;

    /// Rotates queries and keys by their positions, quantises keys and values along each head and
    /// appends them to `cache`. Then computes causal softmax attention of every query to its
    /// sequence: `[tokens, heads * head_dim]`, in the format `input`.
    fn attend(
        &self,
        query_key_value: [Self::Activation; 3],
        attention: Attention<Self::Vector>,
        cache: &mut Self::Cache,
        batch: &Batch,
        input: &Self::Input,
    ) -> Result<Self::Activation, Self::Error>;

    /// `function(gate) * up`, in the format `input`.
    fn gate(
        &self,
        gate_up: [Self::Activation; 2],
        function: ActivationFunction,
        batch: &Batch,
        input: &Self::Input,
    ) -> Result<Self::Activation, Self::Error>;

    /// `function(x)`, in the format `input`.
    fn activate(
        &self,
        x: Self::Activation,
        function: ActivationFunction,
        batch: &Batch,
        input: &Self::Input,
    ) -> Result<Self::Activation, Self::Error>;

    /// A function of every value.
    fn map(&self, x: Self::Activation, map: Map) -> Result<Self::Activation, Self::Error>;

    /// `x + residual`.
    fn add(
        &self,
        x: Self::Activation,
        residual: &Self::Activation,
    ) -> Result<Self::Activation, Self::Error>;

    /// `residual + factor * norm(x)`, in as many steps as there are norm and factor.
    ///
    /// # Errors
    /// Any error of the steps.
    fn add_normed(
        &self,
        mut x: Self::Activation,
        norm: Option<&Norm<Self::Vector>>,
        factor: f32,
        residual: &Self::Activation,
        batch: &Batch,
    ) -> Result<Self::Activation, Self::Error> {
        if let Some(norm) = norm {
            x = self.norm(&x, norm, batch, &Self::Input::default())?;
        }
        if factor != 1.0 {
            x = self.map(x, Map::Times(factor))?;
        }
        self.add(x, residual)
    }

    /// `x + bias` for every token.
    fn add_bias(
        &self,
        x: Self::Activation,
        bias: &Self::Vector,
    ) -> Result<Self::Activation, Self::Error>;

    /// The tokens of each expert, and their weights, by scores `[tokens, experts]`.
    fn route(
        &self,
        scores: &Self::Activation,
        routing: Routing,
    ) -> Result<Vec<Chosen>, Self::Error>;

    /// The sum of weighted rows `[tokens, features]`, in the order of the outputs; each has the
    /// rows that it is chosen for.
    fn mix(
        &self,
        tokens: usize,
        outputs: Vec<(Chosen, Self::Activation)>,
    ) -> Result<Self::Activation, Self::Error>;

    /// Inspects the output of the part of the model called `what`. A backend in watching mode fails
    /// at the first value that is not finite.
    ///
    /// # Errors
    /// Naming the part, the row and the feature.
    fn watch(
        &self,
        _x: &Self::Activation,
        _what: impl FnOnce() -> String,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The given rows of `x`, in that order.
    fn select(&self, x: &Self::Activation, rows: &[u32]) -> Result<Self::Activation, Self::Error>;
}
