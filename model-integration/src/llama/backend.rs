//! The operations a Llama is made of. An engine implements these; the model is written once
//! above them.

use mxlab_kernels::format::BlockFormat;

use super::RopeTable;

/// A batch of token sequences, padded on the right to one length.
///
/// Padding needs no mask of its own: attention is causal, so no real position sees it.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Token ids, `[sequences, length]` row-major.
    pub tokens: Vec<u32>,
    /// Number of sequences.
    pub sequences: usize,
    /// Positions per sequence, padding included.
    pub length: usize,
}

impl Batch {
    /// Lays `sequences` out side by side, filling the shorter ones up with `padding`.
    pub fn pad<'a>(sequences: impl IntoIterator<Item = &'a [u32]>, padding: u32) -> Self {
        let rows: Vec<&[u32]> = sequences.into_iter().collect();
        let length = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let mut tokens = Vec::with_capacity(rows.len() * length);
        for row in &rows {
            tokens.extend_from_slice(row);
            tokens.resize(tokens.len() + length - row.len(), padding);
        }
        Self {
            tokens,
            sequences: rows.len(),
            length,
        }
    }
}

/// The shape of one attention: grouped-query, causal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Number of sequences in the batch.
    pub sequences: usize,
    /// Positions per sequence.
    pub length: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Features per head.
    pub head_dim: usize,
}

/// The operations of a Llama. Activations are `[tokens, features]`, sequence after sequence.
pub trait Backend {
    /// An activation matrix.
    type Activation: Clone;
    /// A weight matrix `[out, in]` in whatever form it is stored: dense or packed.
    type Matrix;
    /// A norm's gain or a bias.
    type Vector;
    /// What can go wrong.
    type Error;

    /// Rows of the embedding table, one per token.
    fn embed(&self, table: &Self::Matrix, tokens: &[u32]) -> Result<Self::Activation, Self::Error>;

    /// `x / rms(x) * gain` along the features.
    fn rms_norm(
        &self,
        x: &Self::Activation,
        gain: &Self::Vector,
        eps: f64,
    ) -> Result<Self::Activation, Self::Error>;

    /// Quantises and dequantises keys or values in blocks along each head's `head_dim` features.
    fn quantize_heads(
        &self,
        x: &Self::Activation,
        head_dim: usize,
        length: usize,
        format: &BlockFormat,
    ) -> Result<Self::Activation, Self::Error>;

    /// Quantises and dequantises the input of a projection in blocks along all its features.
    /// `length` is the positions per sequence.
    fn quantize_features(
        &self,
        x: &Self::Activation,
        length: usize,
        format: &BlockFormat,
    ) -> Result<Self::Activation, Self::Error>;

    /// `x weight^T + bias`.
    fn linear(
        &self,
        x: &Self::Activation,
        weight: &Self::Matrix,
        bias: Option<&Self::Vector>,
    ) -> Result<Self::Activation, Self::Error>;

    /// Rotates `heads` heads of every token by its position in its sequence.
    fn rope(
        &self,
        x: &Self::Activation,
        table: &RopeTable,
        heads: usize,
        length: usize,
    ) -> Result<Self::Activation, Self::Error>;

    /// Causal softmax attention; `[tokens, heads * head_dim]`.
    fn attention(
        &self,
        query: &Self::Activation,
        key: &Self::Activation,
        value: &Self::Activation,
        shape: AttentionShape,
    ) -> Result<Self::Activation, Self::Error>;

    /// `silu(gate) * up`.
    fn swiglu(
        &self,
        gate: &Self::Activation,
        up: &Self::Activation,
    ) -> Result<Self::Activation, Self::Error>;

    /// `a + b`: the residual stream.
    fn add(
        &self,
        a: &Self::Activation,
        b: &Self::Activation,
    ) -> Result<Self::Activation, Self::Error>;

    /// The given rows of `x`, in that order.
    fn select(&self, x: &Self::Activation, rows: &[u32]) -> Result<Self::Activation, Self::Error>;
}
