//! The differentiable engine, for training.
//!
//! Products, gathers and sums are candle's. Norm, rotation, attention, gate and loss are fused
//! operations with explicit gradients in [`super::fused`].

use std::convert::Infallible;

use candle_core::{Result, Tensor, bail};

use super::fused::{self, RmsNorm, Rope, SwiGlu};
use crate::description::Routing;
use crate::description::kinds::{ActivationFunction, NormKind};
use crate::model::ops::Chosen;
use crate::model::{Attention, Backend, Batch, Map, Norm};

/// The error for parts that have no gradient here.
const NOT_LLAMA: &str = "training takes the layers of a Llama";

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

    fn norm(&self, x: &Tensor, norm: &Norm<Tensor>, _: &Batch, (): &()) -> Result<Tensor> {
        match norm.kind {
            NormKind::Rms => x.apply_op2(&norm.gain, RmsNorm { eps: norm.eps }),
            _ => bail!("{NOT_LLAMA}"),
        }
    }

    fn as_input(&self, x: &Tensor, _: &Batch, (): &()) -> Result<Tensor> {
        Ok(x.clone())
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
        attention: Attention<Tensor>,
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
        let is_plain =
            attention.cap.is_none() && attention.sinks.is_none() && attention.window.is_none();
        let (Some(rotation), true) = (attention.rope, is_plain) else {
            bail!("{NOT_LLAMA}");
        };
        let rope = || Rope {
            table: rotation.table.clone(),
            length,
        };
        let (query, key) = (query.apply_op1(rope())?, key.apply_op1(rope())?);
        let own = fused::Attention {
            sequences: batch.sequences.len(),
            length,
            heads: attention.heads,
            kv_heads: attention.kv_heads,
            head_dim: attention.head_dim,
            scale: attention.scale,
        };
        query.apply_op3(&key, &value, own)
    }

    fn gate(
        &self,
        [gate, up]: [Tensor; 2],
        function: ActivationFunction,
        _: &Batch,
        (): &(),
    ) -> Result<Tensor> {
        match function {
            ActivationFunction::Silu => gate.apply_op2(&up, SwiGlu),
            _ => bail!("{NOT_LLAMA}"),
        }
    }

    fn activate(&self, _: Tensor, _: ActivationFunction, _: &Batch, (): &()) -> Result<Tensor> {
        bail!("{NOT_LLAMA}")
    }

    fn map(&self, _: Tensor, _: Map) -> Result<Tensor> {
        bail!("{NOT_LLAMA}")
    }

    fn add(&self, x: Tensor, residual: &Tensor) -> Result<Tensor> {
        residual + x
    }

    fn add_bias(&self, x: Tensor, bias: &Tensor) -> Result<Tensor> {
        x.broadcast_add(bias)
    }

    fn route(&self, _: &Tensor, _: Routing) -> Result<Vec<Chosen>> {
        bail!("{NOT_LLAMA}")
    }

    fn mix(&self, _: usize, _: Vec<(Chosen, Tensor)>) -> Result<Tensor> {
        bail!("{NOT_LLAMA}")
    }

    fn select(&self, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        x.index_select(&Tensor::new(rows, x.device())?, 0)
    }
}
