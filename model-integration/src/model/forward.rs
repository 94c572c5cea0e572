//! The Llama forward pass, written once over [`Backend`].
//!
//! Quantisation points are those of the published MX recipes: input and weight of each of the seven
//! projections along the input dimension; K after the rotation, and V, along `head_dim`. Embedding,
//! norms and softmax stay unquantised; the head has a format if the configuration gives it one.

use mxlab_kernels::format::BlockFormat;

use super::{Attention, Backend, Batch, Rope};
use crate::config::Projection;
use crate::description::parameters::{GATE_UP, QKV, Role, in_layer, module_name};

/// A projection: weight, bias and input format.
pub struct Linear<B: Backend> {
    /// Weight `[out, in]`, quantised already.
    pub weight: B::Matrix,
    /// Bias `[out]`, if the model has one.
    pub bias: Option<B::Vector>,
    /// Format of its input.
    pub input: B::Input,
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

/// One decoder block.
pub struct Layer<B: Backend> {
    /// Gain of the norm before attention.
    pub input_norm: B::Vector,
    /// Query, key and value projections.
    pub qkv: Projections<B, 3>,
    /// Output projection.
    pub o: Linear<B>,
    /// Format of the keys in the cache.
    pub keys: Option<BlockFormat>,
    /// Format of the values in the cache.
    pub values: Option<BlockFormat>,
    /// Gain of the norm before the MLP.
    pub post_attention_norm: B::Vector,
    /// Gate and up projections.
    pub gate_up: Projections<B, 2>,
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
    /// Output head `[vocab, hidden]`; `None` if it is the embedding table.
    pub head: Option<B::Matrix>,
    /// Rotary tables up to the longest sequence.
    pub rope: Rope,
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
    /// Logits `[rows, vocab]` at the given tokens of the batch. The batch's keys and values are
    /// appended to `cache`.
    ///
    /// # Errors
    /// Any error of the backend's operations.
    pub fn logits(
        &self,
        backend: &B,
        batch: &Batch,
        cache: &mut B::Cache,
        rows: &[u32],
    ) -> Result<B::Activation, B::Error> {
        let mut x = backend.embed(&self.embedding, &batch.tokens)?;
        backend.watch(&x, || module_name(None, Role::Embedding))?;
        for index in 0..self.layers.len() {
            x = self.attend(backend, index, &x, batch, cache)?;
            x = self.transform(backend, index, &x, batch)?;
        }
        let x = backend.select(&x, rows)?;
        let (batch, as_it_is) = (batch.select(rows), B::Input::default());
        let x = backend.rms_norm(&x, &self.norm, self.eps, &batch, &as_it_is)?;
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        let logits = backend.linear(&x, head, None, None)?;
        backend.watch(&logits, || module_name(None, Role::Head))?;
        Ok(logits)
    }

    /// `x + o(attention(norm(x)))`.
    fn attend(
        &self,
        backend: &B,
        index: usize,
        x: &B::Activation,
        batch: &Batch,
        cache: &mut B::Cache,
    ) -> Result<B::Activation, B::Error> {
        let layer = &self.layers[index];
        let normed =
            |input: &B::Input| backend.rms_norm(x, &layer.input_norm, self.eps, batch, input);
        let name = |part: usize| projection_name(index, QKV[part]);
        let qkv = match &layer.qkv {
            Projections::Separate(linears) => project(backend, normed, linears, name)?,
            Projections::Fused { stack, input } => {
                let outputs = backend.linear_stack(&normed(input)?, stack)?;
                for (part, output) in outputs.iter().enumerate() {
                    backend.watch(output, || name(part))?;
                }
                outputs
            }
        };
        let attention = Attention {
            layer: index,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            rope: self.rope.of(batch),
            keys: layer.keys.as_ref(),
            values: layer.values.as_ref(),
        };
        let o = &layer.o;
        let context = backend.attend(qkv, attention, cache, batch, &o.input)?;
        backend.watch(&context, || in_layer(index, "self_attn"))?;
        let out = backend.linear(&context, &o.weight, o.bias.as_ref(), Some(x))?;
        backend.watch(&out, || projection_name(index, Projection::O))?;
        Ok(out)
    }

    /// `x + down(swiglu(gate(norm(x)), up(norm(x))))`.
    fn transform(
        &self,
        backend: &B,
        index: usize,
        x: &B::Activation,
        batch: &Batch,
    ) -> Result<B::Activation, B::Error> {
        let layer = &self.layers[index];
        let gain = &layer.post_attention_norm;
        let normed = |input: &B::Input| backend.rms_norm(x, gain, self.eps, batch, input);
        let name = |part: usize| projection_name(index, GATE_UP[part]);
        let down = &layer.down;
        let inner = match &layer.gate_up {
            Projections::Separate(linears) => {
                let gate_up = project(backend, normed, linears, name)?;
                backend.swiglu(gate_up, batch, &down.input)?
            }
            Projections::Fused { stack, input } => {
                let x = normed(input)?;
                backend.linear_swiglu(&x, stack, batch, &down.input, name)?
            }
        };
        backend.watch(&inner, || in_layer(index, "mlp.act_fn"))?;
        let out = backend.linear(&inner, &down.weight, down.bias.as_ref(), Some(x))?;
        backend.watch(&out, || projection_name(index, Projection::Down))?;
        Ok(out)
    }
}

fn projection_name(layer: usize, projection: Projection) -> String {
    module_name(Some(layer), Role::Projection(projection))
}

/// Runs projections with a common input. `make` makes it once for all projections that take the
/// same format.
fn project<B: Backend, const N: usize>(
    backend: &B,
    make: impl Fn(&B::Input) -> Result<B::Activation, B::Error>,
    linears: &[Linear<B>; N],
    name: impl Fn(usize) -> String,
) -> Result<[B::Activation; N], B::Error> {
    let mut inputs: Vec<(&B::Input, B::Activation)> = Vec::with_capacity(1);
    let mut outputs = Vec::with_capacity(N);
    for (part, linear) in linears.iter().enumerate() {
        let input = &linear.input;
        let made = inputs.iter().position(|(made_for, _)| *made_for == input);
        let made = match made {
            Some(made) => made,
            None => {
                inputs.push((input, make(input)?));
                inputs.len() - 1
            }
        };
        let x = &inputs[made].1;
        let output = backend.linear(x, &linear.weight, linear.bias.as_ref(), None)?;
        backend.watch(&output, || name(part))?;
        outputs.push(output);
    }
    Ok(outputs
        .try_into()
        .unwrap_or_else(|_| unreachable!("one output per projection")))
}
