//! The operations that a Llama consists of. Engines implement them; the model is written once on
//! top of them.

use mxlab_kernels::format::BlockFormat;

use super::RopeTable;

/// Tokens of any number of sequences, one sequence after another. Row `i` of an activation belongs
/// to token `i`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// The sequences of these tokens, in order.
    pub sequences: Vec<Sequence>,
    /// Whether every whole sequence is longer than those of the model's training, if that makes a
    /// difference: see [`super::context`].
    pub is_long: bool,
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
            is_long: self.is_long,
        }
    }
}

/// Parameters of a layer's attention, which is grouped-query and causal, with rotated queries and
/// keys.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// The layer, from 0.
    pub layer: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Features per head.
    pub head_dim: usize,
    /// Angles of the rotation.
    pub rope: &'a RopeTable,
    /// Format of the keys in the cache; `None` for unquantised.
    pub keys: Option<&'a BlockFormat>,
    /// Format of the values in the cache; `None` for unquantised.
    pub values: Option<&'a BlockFormat>,
}

/// The operations of a Llama. Activations are `[tokens, features]`.
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

    /// Rows of the embedding table, one per token.
    fn embed(&self, table: &Self::Matrix, tokens: &[u32]) -> Result<Self::Activation, Self::Error>;

    /// `x / rms(x) * gain` along the features, in the format `input`.
    fn rms_norm(
        &self,
        x: &Self::Activation,
        gain: &Self::Vector,
        eps: f64,
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

    /// [`Backend::swiglu`] of the products with gate and up, which form the stack. `name` is their
    /// name for [`Backend::watch`].
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
        attention: Attention,
        cache: &mut Self::Cache,
        batch: &Batch,
        input: &Self::Input,
    ) -> Result<Self::Activation, Self::Error>;

    /// `silu(gate) * up`, in the format `input`.
    fn swiglu(
        &self,
        gate_up: [Self::Activation; 2],
        batch: &Batch,
        input: &Self::Input,
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
