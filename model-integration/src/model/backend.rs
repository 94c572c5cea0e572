//! The operations a Llama is made of. An engine implements these; the model is written once
//! above them.

use mxlab_kernels::format::BlockFormat;

use super::RopeTable;

/// Tokens of any number of sequences, one sequence after another. Row `i` of an activation is
/// token `i`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// The sequences that they belong to, in order.
    pub sequences: Vec<Sequence>,
    /// Whether all of them are longer, when they are whole, than those that the model was first
    /// trained on, where that makes a difference: see [`super::context`].
    pub is_long: bool,
}

/// Some consecutive tokens of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Its place in the cache.
    pub slot: usize,
    /// Positions before these tokens: keys and values of them are in the cache.
    pub past: usize,
    /// Number of these tokens.
    pub length: usize,
}

impl Sequence {
    /// Positions up to the end of these tokens.
    pub fn end(&self) -> usize {
        self.past + self.length
    }
}

impl Batch {
    /// Sequences from their beginnings on, in slots 0, 1 and so on.
    pub fn whole<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut batch = Self::default();
        for (slot, tokens) in sequences.into_iter().enumerate() {
            batch.push(slot, 0, tokens);
        }
        batch
    }

    /// Adds tokens of the sequence in `slot`, of which `past` positions are in the cache.
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

    /// The given tokens alone, each where it is in its sequence.
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

/// What the attention of one layer is, beside its operands: grouped-query, causal, with rotated
/// queries and keys.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Number of the layer, from 0.
    pub layer: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Features per head.
    pub head_dim: usize,
    /// Angles of the rotation.
    pub rope: &'a RopeTable,
    /// Format of the keys in the cache, `None` for as they are.
    pub keys: Option<&'a BlockFormat>,
    /// Format of the values in the cache, `None` for as they are.
    pub values: Option<&'a BlockFormat>,
}

/// The operations of a Llama. Activations are `[tokens, features]`.
///
/// An operation that makes the input of projections takes what they want it in. Each token is
/// quantised on its own, in blocks along all its features; a stochastic rounding is seeded by the
/// position of the token in its sequence.
pub trait Backend {
    /// An activation matrix.
    type Activation;
    /// A weight matrix `[out, in]` in whatever form it is stored: dense or packed.
    type Matrix;
    /// Matrices that share an input, with biases, kept so that their products are one;
    /// [`std::convert::Infallible`] where there are none.
    type Stack;
    /// What projections take their input in: quantised somehow, or by default as it is.
    type Input: Default + PartialEq;
    /// A norm's gain or a bias.
    type Vector;
    /// Keys and values of the positions before a batch.
    type Cache;
    /// What can go wrong.
    type Error;

    /// Rows of the embedding table, one per token.
    fn embed(&self, table: &Self::Matrix, tokens: &[u32]) -> Result<Self::Activation, Self::Error>;

    /// `x / rms(x) * gain` along the features, as `input` says.
    fn rms_norm(
        &self,
        x: &Self::Activation,
        gain: &Self::Vector,
        eps: f64,
        batch: &Batch,
        input: &Self::Input,
    ) -> Result<Self::Activation, Self::Error>;

    /// `x weight^T + bias`, rounded; then added to `residual` if there is one, and rounded again.
    fn linear(
        &self,
        x: &Self::Activation,
        weight: &Self::Matrix,
        bias: Option<&Self::Vector>,
        residual: Option<&Self::Activation>,
    ) -> Result<Self::Activation, Self::Error>;

    /// The [`Backend::linear`] of every matrix of a stack of N.
    fn linear_stack<const N: usize>(
        &self,
        x: &Self::Activation,
        stack: &Self::Stack,
    ) -> Result<[Self::Activation; N], Self::Error>;

    /// The [`Backend::swiglu`] of the products with gate and up, which are the stack; `name` says
    /// what the two are called, for [`Backend::watch`].
    fn linear_swiglu(
        &self,
        x: &Self::Activation,
        stack: &Self::Stack,
        batch: &Batch,
        input: &Self::Input,
        name: impl Fn(usize) -> String,
    ) -> Result<Self::Activation, Self::Error>;

    /// Rotates queries and keys by their positions, quantises keys and values along each head and
    /// appends them to `cache`; then the causal softmax attention of every query to all of its
    /// sequence, `[tokens, heads * head_dim]`, as `input` says.
    fn attend(
        &self,
        query_key_value: [Self::Activation; 3],
        attention: Attention,
        cache: &mut Self::Cache,
        batch: &Batch,
        input: &Self::Input,
    ) -> Result<Self::Activation, Self::Error>;

    /// `silu(gate) * up`, as `input` says.
    fn swiglu(
        &self,
        gate_up: [Self::Activation; 2],
        batch: &Batch,
        input: &Self::Input,
    ) -> Result<Self::Activation, Self::Error>;

    /// Looks at what a part of the model gave, whose name `what` says: a backend that is told to
    /// fails at the first value that is not finite.
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
