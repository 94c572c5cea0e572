//! Launcher of the log_probs kernel.

use super::{Dense, LaunchError, Slice};
use crate::ptx::LogProbsVariant;
use mxlab_harness::device::{Argument, Device, Geometry, Kernel, Stream};

/// What the kernel works on: a row of logits for each target.
#[derive(Clone, Copy, Debug)]
pub struct LogProbsOperands<'a> {
    /// Rows.
    pub rows: usize,
    /// Columns: the vocabulary.
    pub cols: usize,
    /// Logits, bf16, rows readable up to a multiple of 8 columns.
    pub src: Dense<'a>,
    /// The token whose logit is wanted, u32 \[rows\], each below `cols`.
    pub targets: Slice<'a>,
    /// f32 \[rows\]: the greatest logit.
    pub max: Slice<'a>,
    /// u32 \[rows\]: the first token that has it.
    pub argmax: Slice<'a>,
    /// f64 \[rows\]: the sum of `e^(x - max)`.
    pub sum: Slice<'a>,
    /// f32 \[rows\]: the target's logit.
    pub target: Slice<'a>,
}

/// The kernel, loaded.
#[derive(Debug)]
pub struct LogProbsKernel {
    id: String,
    kernel: Kernel,
}

impl LogProbsKernel {
    /// Loads it.
    ///
    /// # Errors
    /// If the device does not take it.
    pub fn load(device: &Device) -> Result<Self, LaunchError> {
        Self::of_text(device, &LogProbsVariant.render())
    }

    /// Loads it from a text that stands for [`LogProbsVariant::render`]'s.
    ///
    /// # Errors
    /// If the device does not take it, or the text has no entry of that name.
    pub fn of_text(device: &Device, ptx: &str) -> Result<Self, LaunchError> {
        let id = LogProbsVariant.id();
        let kernel = device.load(&id, ptx)?.kernel(&id)?;
        Ok(Self { id, kernel })
    }

    /// Launches it; nothing happens without rows.
    ///
    /// # Errors
    /// [`LaunchError`] if an operand is too small or not laid out as the kernel needs.
    pub fn launch(&self, stream: &Stream, operands: &LogProbsOperands) -> Result<(), LaunchError> {
        let (rows, cols, stride) = (operands.rows, operands.cols, operands.src.stride);
        if rows == 0 {
            return Ok(());
        }
        let padded = cols.next_multiple_of(8);
        let layout = |reason| LaunchError::Layout {
            kernel: self.id.clone(),
            reason,
        };
        if cols == 0 || stride < padded || !stride.is_multiple_of(8) {
            return Err(layout(format!(
                "rows of {cols} logits are {stride} elements apart, which are none, no multiple of 8 or too few"
            )));
        }
        let number = |n: usize| u32::try_from(n).map_err(|_| layout(format!("{n} is too many")));
        let src_bytes = 2 * ((rows - 1) * stride + padded);
        let arguments = [
            operands.max.argument(&self.id, "dst_max", 4 * rows, 4)?,
            operands
                .argmax
                .argument(&self.id, "dst_argmax", 4 * rows, 4)?,
            operands.sum.argument(&self.id, "dst_sum", 8 * rows, 8)?,
            operands
                .target
                .argument(&self.id, "dst_target", 4 * rows, 4)?,
            operands
                .src
                .first
                .argument(&self.id, "src", src_bytes, 16)?,
            operands
                .targets
                .argument(&self.id, "targets", 4 * rows, 4)?,
            Argument::U32(number(cols)?),
            Argument::U32(number(stride)?),
        ];
        let geometry = Geometry {
            grid: [number(rows)?, 1, 1],
            block: [256, 1, 1],
            dynamic_shared: 0,
        };
        Ok(stream.launch(&self.kernel, geometry, &arguments)?)
    }
}
