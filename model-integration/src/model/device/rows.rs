//! Norms, functions of single values and sums, by row operations.

use mxlab_kernels::family::rows::{HeadNorm, RowOperation};
use mxlab_kernels::kernel::Call;

use super::DeviceBackend;
use super::activations::Activation;
use super::backend::{DeviceVector, whole};
use super::input::Input;
use crate::description::kinds::NormKind;
use crate::model::{Batch, LlamaError, Map, Norm};

impl DeviceBackend {
    /// A norm of all features, or of each head if there are more features than gains.
    pub(super) fn normed(
        &self,
        x: &Activation,
        norm: &Norm<DeviceVector>,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        if x.cols() != norm.gain.len {
            let normed = self.norm_heads(x, norm)?;
            return self.quantized(normed, batch, input);
        }
        let by = by_norm(norm);
        let (operation, by) = match norm.kind {
            NormKind::Rms => (RowOperation::Norm, by),
            NormKind::RmsOnce | NormKind::RmsPlusOne => (RowOperation::NormOnce, by),
            NormKind::Layer => {
                let bias = norm.bias.as_ref().ok_or(LlamaError::Layout)?;
                let by = by.buffer("bias", whole(&bias.values));
                (RowOperation::LayerNorm, by)
            }
        };
        self.make_rows(operation, x, by, batch, input)
    }

    /// The norm of each head.
    fn norm_heads(
        &self,
        x: &Activation,
        norm: &Norm<DeviceVector>,
    ) -> Result<Activation, LlamaError> {
        let dst = self.pool.take(x.rows(), x.cols())?;
        let variant = HeadNorm::new(gain_offset(norm.kind).is_some());
        let call = by_norm(norm)
            .size("tokens", x.rows())
            .size("heads", x.cols() / norm.gain.len)
            .size("head_dim", norm.gain.len)
            .rows("src", "src_stride", x.dense())
            .rows("dst", "dst_stride", dst.dense());
        let kernel = self.kernels.head_norm(variant)?;
        kernel.launch(&self.stream, &call)?;
        Ok(dst)
    }

    /// A function of every value.
    pub(super) fn mapped(&self, x: &Activation, map: Map) -> Result<Activation, LlamaError> {
        let by = Call::new();
        let (operation, by) = match map {
            Map::Times(factor) => {
                let by = by.number("factor", factor).number("divisor", 1.0);
                (RowOperation::Multiply, by)
            }
            Map::Over(divisor) => {
                let by = by.number("factor", 1.0).number("divisor", divisor);
                (RowOperation::Multiply, by)
            }
            Map::SoftCap(cap) => (RowOperation::SoftCap, by.number("cap", cap)),
        };
        self.make_bf16(operation, x, by)
    }

    /// `residual + factor * norm(x)`, each step rounded.
    pub(super) fn sum(
        &self,
        x: &Activation,
        norm: Option<&Norm<DeviceVector>>,
        factor: f32,
        residual: &Activation,
    ) -> Result<Activation, LlamaError> {
        match norm {
            Some(norm) if factor == 1.0 && gain_offset(norm.kind).is_some() => self.make_bf16(
                RowOperation::NormAdd,
                x,
                with_residual(by_norm(norm), residual),
            ),
            Some(norm) => {
                let normed = self.normed(x, norm, &Batch::default(), &Input::default())?;
                self.sum(&normed, None, factor, residual)
            }
            None => {
                let by = with_residual(Call::new().number("factor", factor), residual);
                self.make_bf16(RowOperation::MultiplyAdd, x, by)
            }
        }
    }
}

/// The arguments of a norm without a bias.
fn by_norm(norm: &Norm<DeviceVector>) -> Call<'_> {
    let by = Call::new()
        .buffer("gain", whole(&norm.gain.values))
        .number("eps", norm.eps as f32);
    match gain_offset(norm.kind) {
        Some(offset) => by.number("offset", offset),
        None => by,
    }
}

/// What is added to gains of a norm that rounds once.
const fn gain_offset(kind: NormKind) -> Option<f32> {
    match kind {
        NormKind::Rms | NormKind::Layer => None,
        NormKind::RmsOnce => Some(0.0),
        NormKind::RmsPlusOne => Some(1.0),
    }
}

/// The arguments of a sum with a residual.
fn with_residual<'a>(by: Call<'a>, residual: &'a Activation) -> Call<'a> {
    by.rows("residual", "residual_stride", residual.dense())
}
