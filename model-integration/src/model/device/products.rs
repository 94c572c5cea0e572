//! Products, and the row operations that produce their inputs.

use mxlab_harness::device::Buffer;
use mxlab_kernels::family::matmul::{MatmulOutput, MatmulVariant, Weights};
use mxlab_kernels::family::rows::{RowOperation, RowVariant};
use mxlab_kernels::fragment::{OperandType, TILE};
use mxlab_kernels::kernel::{Call, LaunchError};

use super::activations::{Activation, SourceScales};
use super::backend::whole;
use super::input::Input;
use super::{DeviceBackend, DeviceStack};
use crate::model::error::check_finite;
use crate::model::{Batch, LlamaError};

impl DeviceBackend {
    /// Launches a row operation with its result in the format `input`; `by` has the operation's
    /// arguments beside `src`.
    pub(super) fn make_rows(
        &self,
        operation: RowOperation,
        src: &Activation,
        by: Call,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        let format = input.format.as_ref();
        let (rows, cols) = (src.rows(), src.cols());
        let (variant, dst) = match (input.operand, format) {
            (OperandType::E4m3 | OperandType::S8, Some(format)) => (
                RowVariant::packed(operation, *format, input.operand),
                self.pool.take_packed(rows, cols, format, input.operand)?,
            ),
            _ => (
                RowVariant::new(operation, format.copied()),
                self.pool.take(rows, cols)?,
            ),
        };
        let rotated = variant.and_then(|variant| match &input.rotation {
            Some(rotation) => variant.rotated(rotation),
            None => Ok(variant),
        });
        let variant = rotated.map_err(LaunchError::from)?;
        let mut call = by
            .size("rows", rows)
            .size("cols", cols)
            .rows("dst", "dst_stride", dst.dense())
            .rows("src", "src_stride", src.dense());
        if let Some(scales) = dst.scales() {
            call = call.rows("dst_scales", "dst_scales_stride", scales.scales);
        }
        if variant.is_random() {
            let seed = format.map_or(0, |format| format.rounding().seed());
            let [positions, ..] = self.staging.places(batch)?;
            call = call
                .buffer("positions", positions)
                .size("seed", seed as usize);
        }
        if let Some(seed) = input.rotation.and_then(|rotation| rotation.seed()) {
            call = call.size("rotation_seed", seed as usize);
        }
        let kernel = self.kernels.rows(variant)?;
        kernel.launch(&self.stream, &call)?;
        Ok(dst)
    }

    /// The same in bf16.
    pub(super) fn make_bf16(
        &self,
        operation: RowOperation,
        src: &Activation,
        by: Call,
    ) -> Result<Activation, LlamaError> {
        let as_it_is = Input::default();
        self.make_rows(operation, src, by, &Batch::default(), &as_it_is)
    }

    /// Rows in the format `input`.
    pub(super) fn quantized(
        &self,
        rows: Activation,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        match input.is_as_it_is() {
            true => Ok(rows),
            false => self.make_rows(RowOperation::Copy, &rows, Call::new(), batch, input),
        }
    }

    /// `x weights^T`, and the epilogue.
    pub(super) fn product(
        &self,
        x: &Activation,
        weights: &Weights,
        output: MatmulOutput,
        bias: Option<&Buffer>,
        residual: Option<&Activation>,
    ) -> Result<Activation, LlamaError> {
        if x.operand() != weights.format().operand() {
            return Err(LlamaError::Operand {
                input: x.operand(),
                weights: weights.format().operand(),
            });
        }
        let tokens = x.rows();
        let max_shared = self.device.properties().max_shared;
        let variant = MatmulVariant::for_tokens(*weights.format(), tokens, output, max_shared);
        let shape = [weights.rows(), weights.cols()];
        let parts = variant.parts(&self.limits.split, shape, tokens);
        let features = weights.rows() / output.rows_of_feature();
        let dst = self.pool.take(tokens, features)?;
        let mut call = weights
            .call(&variant)?
            .size("tokens", tokens)
            .size("parts", parts)
            .rows("src", "src_stride", x.dense())
            .rows("dst", "dst_stride", dst.dense())
            .optional("bias", bias.map(whole))
            .optional("residual", residual.map(Activation::slice));
        if let Some(SourceScales { scales, factor }) = x.scales() {
            call = call
                .rows("src_scales", "src_scales_stride", scales)
                .number("src_factor", factor);
        }
        if parts > 1 {
            call = self.shared(call);
        }
        let kernel = self.kernels.matmul(variant)?;
        kernel.launch(&self.stream, &call)?;
        Ok(dst)
    }

    /// Fails at the first product with gate or up that is not finite. Otherwise these products are
    /// never in memory.
    pub(super) fn watch_gate_up(
        &self,
        x: &Activation,
        stack: &DeviceStack,
        name: impl Fn(usize) -> String,
    ) -> Result<(), LlamaError> {
        let bias = stack.bias.as_ref();
        let both = self.product(x, &stack.weights, MatmulOutput::Bf16, bias, None)?;
        let (values, parts) = (self.values(&both)?, stack.rows.len());
        for (part, &rows) in stack.rows.iter().enumerate() {
            let tiles = values.chunks(TILE).skip(part).step_by(parts);
            let values: Vec<f32> = tiles.flatten().copied().collect();
            check_finite(&values, rows, || name(part))?;
        }
        Ok(())
    }
}
