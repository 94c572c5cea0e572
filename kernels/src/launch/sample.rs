//! Launcher of the sample kernel.

use super::loaded::Loaded;
use super::{Dense, LaunchError, Slice};
use crate::ptx::SampleVariant;
use crate::reference::{MOST_LOGITS, Sampling};
use mxlab_harness::device::{Argument, Device, Geometry, Stream};

/// What the kernel works on: a row of logits for each token to choose.
#[derive(Clone, Copy, Debug)]
pub struct SampleOperands<'a> {
    /// Rows.
    pub rows: usize,
    /// Columns: the vocabulary, at most [`MOST_LOGITS`].
    pub cols: usize,
    /// Logits, bf16, rows readable up to a multiple of 8 columns.
    pub src: Dense<'a>,
    /// u32 \[rows\]: what chance is made of.
    pub random: Slice<'a>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// u32 \[rows\]: the tokens; [`SampleKernel::NO_TOKEN`] for a row with NaN or infinity, or without a finite
    /// logit.
    pub tokens: Slice<'a>,
}

/// The kernel, loaded.
#[derive(Clone, Debug)]
pub struct SampleKernel {
    loaded: Loaded,
}

impl SampleKernel {
    /// What a row without a token has.
    pub const NO_TOKEN: u32 = u32::MAX;

    /// Loads it.
    ///
    /// # Errors
    /// If the device does not take it.
    pub fn load(device: &Device) -> Result<Self, LaunchError> {
        Self::of_text(device, &SampleVariant.render())
    }

    /// Loads it from a text that stands for [`SampleVariant::render`]'s.
    ///
    /// # Errors
    /// If the device does not take it, or the text has no entry of that name.
    pub fn of_text(device: &Device, ptx: &str) -> Result<Self, LaunchError> {
        Ok(Self {
            loaded: Loaded::of_text(device, SampleVariant.id(), ptx)?,
        })
    }

    /// Launches it; nothing happens without rows.
    ///
    /// # Errors
    /// [`LaunchError`] if an operand is too small or not laid out as the kernel needs, or the sampling is none.
    pub fn launch(&self, stream: &Stream, operands: &SampleOperands) -> Result<(), LaunchError> {
        let (rows, cols, stride) = (operands.rows, operands.cols, operands.src.stride);
        let layout = |reason| self.loaded.layout(reason);
        let sampling = operands.sampling;
        sampling
            .check()
            .map_err(|error| layout(error.to_string()))?;
        if rows == 0 {
            return Ok(());
        }
        let padded = cols.next_multiple_of(8);
        if !(1..=MOST_LOGITS).contains(&cols) || stride < padded || !stride.is_multiple_of(8) {
            return Err(layout(format!(
                "rows of {cols} logits are {stride} elements apart: 1 to {MOST_LOGITS} logits, and no fewer elements, \
                 a multiple of 8, are needed"
            )));
        }
        let number = |n| self.loaded.number("elements", n);
        let src_bytes = 2 * ((rows - 1) * stride + padded);
        let (src, random) = (operands.src.first, operands.random);
        let arguments = [
            self.loaded.pointer("dst", operands.tokens, 4 * rows, 4)?,
            self.loaded.pointer("src", src, src_bytes, 16)?,
            self.loaded.pointer("random", random, 4 * rows, 4)?,
            Argument::F32(sampling.temperature),
            Argument::F32(sampling.top_p),
            Argument::U32(number(cols)?),
            Argument::U32(number(stride)?),
        ];
        let geometry = Geometry {
            grid: [number(rows)?, 1, 1],
            block: [SampleVariant.block_threads(), 1, 1],
            dynamic_shared: 0,
        };
        Ok(stream.launch(&self.loaded.kernel, geometry, &arguments)?)
    }
}
