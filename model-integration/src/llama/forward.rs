//! The Llama forward pass, written once over [`Backend`].
//!
//! Quantisation points are those of the published MX recipes: the input and the weight of
//! each of the seven projections along the input dimension, K after the rotation and V,
//! both along `head_dim`. Embedding, norms, softmax and the head stay as they are.

use mxlab_kernels::format::BlockFormat;

use super::{AttentionShape, Backend, Batch, RopeTable};

/// A projection: its weight, and the format its input is quantised to.
pub struct Linear<B: Backend> {
    /// Weight `[out, in]`, already in its format.
    pub weight: B::Matrix,
    /// Bias `[out]`, where the model has one.
    pub bias: Option<B::Vector>,
    /// Format of the input, `None` for as it is.
    pub activations: Option<BlockFormat>,
}

/// One decoder block.
pub struct Layer<B: Backend> {
    /// Gain of the norm before attention.
    pub input_norm: B::Vector,
    /// Query projection.
    pub q: Linear<B>,
    /// Key projection.
    pub k: Linear<B>,
    /// Value projection.
    pub v: Linear<B>,
    /// Output projection.
    pub o: Linear<B>,
    /// Format of the keys in the cache.
    pub keys: Option<BlockFormat>,
    /// Format of the values in the cache.
    pub values: Option<BlockFormat>,
    /// Gain of the norm before the MLP.
    pub post_attention_norm: B::Vector,
    /// Gate projection.
    pub gate: Linear<B>,
    /// Up projection.
    pub up: Linear<B>,
    /// Down projection.
    pub down: Linear<B>,
}

/// A Llama: parameters and shape, ready to run on one backend.
pub struct Llama<B: Backend> {
    /// Embedding table `[vocab, hidden]`.
    pub embedding: B::Matrix,
    /// Decoder blocks.
    pub layers: Vec<Layer<B>>,
    /// Gain of the last norm.
    pub norm: B::Vector,
    /// Output head `[vocab, hidden]`; `None` when it is the embedding table.
    pub head: Option<B::Matrix>,
    /// Rotary tables up to the longest sequence.
    pub rope: RopeTable,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Features per head.
    pub head_dim: usize,
    /// Epsilon of every norm.
    pub eps: f64,
}

impl<B: Backend> Llama<B> {
    /// Logits `[rows, vocab]` at the given rows of the token grid (`sequence * length + position`).
    ///
    /// # Errors
    /// Whatever the backend's operations return.
    pub fn logits(
        &self,
        backend: &B,
        batch: &Batch,
        rows: &[u32],
    ) -> Result<B::Activation, B::Error> {
        let mut x = backend.embed(&self.embedding, &batch.tokens)?;
        for layer in &self.layers {
            x = self.attend(backend, layer, &x, batch)?;
            x = self.transform(backend, layer, &x, batch.length)?;
        }
        let x = backend.select(&x, rows)?;
        let x = backend.rms_norm(&x, &self.norm, self.eps)?;
        backend.linear(&x, self.head.as_ref().unwrap_or(&self.embedding), None)
    }

    /// `x + o(attention(norm(x)))`.
    fn attend(
        &self,
        backend: &B,
        layer: &Layer<B>,
        x: &B::Activation,
        batch: &Batch,
    ) -> Result<B::Activation, B::Error> {
        let length = batch.length;
        let normed = backend.rms_norm(x, &layer.input_norm, self.eps)?;
        let [q, k, v] = project(backend, &normed, length, [&layer.q, &layer.k, &layer.v])?;
        let q = backend.rope(&q, &self.rope, self.heads, length)?;
        let k = backend.rope(&k, &self.rope, self.kv_heads, length)?;
        let k = self.store(backend, k, length, layer.keys.as_ref())?;
        let v = self.store(backend, v, length, layer.values.as_ref())?;
        let shape = AttentionShape {
            sequences: batch.sequences,
            length,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
        };
        let context = backend.attention(&q, &k, &v, shape)?;
        let [out] = project(backend, &context, length, [&layer.o])?;
        backend.add(x, &out)
    }

    /// What the KV cache gives back for `x`: quantised along `head_dim`.
    fn store(
        &self,
        backend: &B,
        x: B::Activation,
        length: usize,
        format: Option<&BlockFormat>,
    ) -> Result<B::Activation, B::Error> {
        match format {
            Some(format) => backend.quantize_heads(&x, self.head_dim, length, format),
            None => Ok(x),
        }
    }

    /// `x + down(swiglu(gate(norm(x)), up(norm(x))))`.
    fn transform(
        &self,
        backend: &B,
        layer: &Layer<B>,
        x: &B::Activation,
        length: usize,
    ) -> Result<B::Activation, B::Error> {
        let normed = backend.rms_norm(x, &layer.post_attention_norm, self.eps)?;
        let [gate, up] = project(backend, &normed, length, [&layer.gate, &layer.up])?;
        let inner = backend.swiglu(&gate, &up)?;
        let [out] = project(backend, &inner, length, [&layer.down])?;
        backend.add(x, &out)
    }
}

/// Runs projections that share an input, quantising it once per distinct format.
fn project<B: Backend, const N: usize>(
    backend: &B,
    x: &B::Activation,
    length: usize,
    linears: [&Linear<B>; N],
) -> Result<[B::Activation; N], B::Error> {
    let mut quantized: Option<(&BlockFormat, B::Activation)> = None;
    let mut outputs = Vec::with_capacity(N);
    for linear in linears {
        let output = match &linear.activations {
            None => backend.linear(x, &linear.weight, linear.bias.as_ref())?,
            Some(format) => {
                let input = match quantized.take() {
                    Some((made_for, input)) if made_for == format => input,
                    _ => backend.quantize_features(x, length, format)?,
                };
                let output = backend.linear(&input, &linear.weight, linear.bias.as_ref())?;
                quantized = Some((format, input));
                output
            }
        };
        outputs.push(output);
    }
    Ok(outputs
        .try_into()
        .unwrap_or_else(|_| unreachable!("one output per projection")))
}
