//! The differentiable engine, for training.
//!
//! Products, gathers and sums are candle's. Norm, rotation, attention, gate and loss are fused
//! operations with explicit gradients in [`super::fused`].

use std::convert::Infallible;

use candle_core::{Result, Tensor, bail};

use super::fused::{self, RmsNorm, Rope, SwiGlu};
use crate::model::{Attention, Backend, Batch};

/// The differentiable engine.
pub struct Autograd;

impl Backend for Autograd {
    type Activation = Tensor;
    type Matrix = Tensor;
    type Stack = Infallible;
    type Input = ();
    type Vector = Tensor;
    type Cache = ();
    type Error = candle_core::Error;

    fn embed(&self, table: &Tensor, tokens: &[u32]) -> Result<Tensor> {
        table.index_select(&Tensor::new(tokens, table.device())?, 0)
    }

    fn rms_norm(&self, x: &Tensor, gain: &Tensor, eps: f64, _: &Batch, (): &()) -> Result<Tensor> {
        x.apply_op2(gain, RmsNorm { eps })
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let mut y = x.matmul(&weight.t()?)?;
        if let Some(bias) = bias {
            y = y.broadcast_add(bias)?;
        }
        match residual {
            Some(residual) => residual + y,
            None => Ok(y),
        }
    }

    fn linear_stack<const N: usize>(&self, _: &Tensor, stack: &Infallible) -> Result<[Tensor; N]> {
        match *stack {}
    }

    fn linear_swiglu(
        &self,
        _: &Tensor,
        stack: &Infallible,
        _: &Batch,
        (): &(),
        _: impl Fn(usize) -> String,
    ) -> Result<Tensor> {
        match *stack {}
    }

    fn attend(
        &self,
        [query, key, value]: [Tensor; 3],
        attention: Attention,
        (): &mut (),
        batch: &Batch,
        (): &(),
    ) -> Result<Tensor> {
        if let Some(format) = attention.keys.or(attention.values) {
            bail!("training runs unquantised, not in {format}");
        }
        let length = batch.sequences.first().map_or(0, |first| first.length);
        if batch
            .sequences
            .iter()
            .any(|s| s.past > 0 || s.length != length)
        {
            bail!("training takes whole sequences of one length");
        }
        let rope = || Rope {
            table: attention.rope.clone(),
            length,
        };
        let (query, key) = (query.apply_op1(rope())?, key.apply_op1(rope())?);
        let own = fused::Attention {
            sequences: batch.sequences.len(),
            length,
            heads: attention.heads,
            kv_heads: attention.kv_heads,
            head_dim: attention.head_dim,
        };
        query.apply_op3(&key, &value, own)
    }

    fn swiglu(&self, [gate, up]: [Tensor; 2], _: &Batch, (): &()) -> Result<Tensor> {
        gate.apply_op2(&up, SwiGlu)
    }

    fn select(&self, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        x.index_select(&Tensor::new(rows, x.device())?, 0)
    }
}
