//! The differentiable engine: the forward pass with gradients, for training alone.
//!
//! Products, gathers and sums are candle's own. Norm, rotation, attention, gate and loss are
//! fused operations with the gradients spelt out in [`super::fused`].

use candle_core::{Result, Tensor};
use mxlab_kernels::format::BlockFormat;

use super::fused::{Attention, RmsNorm, Rope, SwiGlu};
use crate::llama::{AttentionShape, Backend, RopeTable};

/// The differentiable engine.
pub struct Autograd;

impl Backend for Autograd {
    type Activation = Tensor;
    type Matrix = Tensor;
    type Vector = Tensor;
    type Error = candle_core::Error;

    fn embed(&self, table: &Tensor, tokens: &[u32]) -> Result<Tensor> {
        table.index_select(&Tensor::new(tokens, table.device())?, 0)
    }

    fn rms_norm(&self, x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
        x.apply_op2(gain, RmsNorm { eps })
    }

    fn quantize_features(&self, _: &Tensor, _: usize, format: &BlockFormat) -> Result<Tensor> {
        candle_core::bail!("training runs unquantised, not in {format}")
    }

    fn quantize_heads(
        &self,
        _: &Tensor,
        _: usize,
        _: usize,
        format: &BlockFormat,
    ) -> Result<Tensor> {
        candle_core::bail!("training runs unquantised, not in {format}")
    }

    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let y = x.matmul(&weight.t()?)?;
        match bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    fn rope(&self, x: &Tensor, table: &RopeTable, _: usize, length: usize) -> Result<Tensor> {
        x.apply_op1(Rope {
            table: table.clone(),
            length,
        })
    }

    fn attention(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        shape: AttentionShape,
    ) -> Result<Tensor> {
        query.apply_op3(key, value, Attention { shape })
    }

    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        gate.apply_op2(up, SwiGlu)
    }

    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        a + b
    }

    fn select(&self, x: &Tensor, rows: &[u32]) -> Result<Tensor> {
        x.index_select(&Tensor::new(rows, x.device())?, 0)
    }
}
