//! Launcher of the log_probs kernel.

use super::loaded::Loaded;
use super::{Dense, LaunchError, Slice};
use crate::ptx::LogProbsVariant;
use mxlab_harness::device::{Argument, Device, Geometry, Stream};

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
#[derive(Clone, Debug)]
pub struct LogProbsKernel {
    loaded: Loaded,
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
        Ok(Self {
            loaded: Loaded::of_text(device, LogProbsVariant.id(), ptx)?,
        })
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
        let layout = |reason| self.loaded.layout(reason);
        if cols == 0 || stride < padded || !stride.is_multiple_of(8) {
            return Err(layout(format!(
                "rows of {cols} logits are {stride} elements apart, which are none, no multiple of 8 or too few"
            )));
        }
        let number = |n| self.loaded.number("elements", n);
        let src_bytes = 2 * ((rows - 1) * stride + padded);
        let arguments = [
            self.loaded.pointer("dst_max", operands.max, 4 * rows, 4)?,
            self.loaded
                .pointer("dst_argmax", operands.argmax, 4 * rows, 4)?,
            self.loaded.pointer("dst_sum", operands.sum, 8 * rows, 8)?,
            self.loaded
                .pointer("dst_target", operands.target, 4 * rows, 4)?,
            self.loaded
                .pointer("src", operands.src.first, src_bytes, 16)?,
            self.loaded
                .pointer("targets", operands.targets, 4 * rows, 4)?,
            Argument::U32(number(cols)?),
            Argument::U32(number(stride)?),
        ];
        let geometry = Geometry {
            grid: [number(rows)?, 1, 1],
            block: [256, 1, 1],
            dynamic_shared: 0,
        };
        Ok(stream.launch(&self.loaded.kernel, geometry, &arguments)?)
    }
}
