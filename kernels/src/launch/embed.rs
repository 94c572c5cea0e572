//! Launcher of the embed kernel.

use super::loaded::Loaded;
use super::{Dense, LaunchError, Slice};
use crate::ptx::EmbedVariant;
use mxlab_harness::device::{Argument, Device, Geometry, Stream};

/// What the kernel works on: a row of a table for each token.
#[derive(Clone, Copy, Debug)]
pub struct EmbedOperands<'a> {
    /// u32 \[rows\].
    pub tokens: Slice<'a>,
    /// Rows: tokens.
    pub rows: usize,
    /// Rows of the table.
    pub vocabulary: usize,
    /// Columns of the table.
    pub cols: usize,
    /// Columns that are written, those behind `cols` as zeros: a multiple of 8.
    pub padded: usize,
    /// bf16 \[vocabulary, cols\].
    pub table: Dense<'a>,
    /// bf16 \[rows, padded\].
    pub dst: Dense<'a>,
    /// One u32: the first row whose token is not below `vocabulary`, which becomes zeros. A larger number is to be there
    /// before; [`EmbedKernel::ALL_KNOWN`] stays if there is no such row.
    pub status: Slice<'a>,
}

/// The kernel, loaded.
#[derive(Clone, Debug)]
pub struct EmbedKernel {
    loaded: Loaded,
}

impl EmbedKernel {
    /// What `status` is before the first launch.
    pub const ALL_KNOWN: u32 = u32::MAX;

    /// Loads it.
    ///
    /// # Errors
    /// If the device does not take it.
    pub fn load(device: &Device) -> Result<Self, LaunchError> {
        Self::of_text(device, &EmbedVariant.render())
    }

    /// Loads it from a text that stands for [`EmbedVariant::render`]'s.
    ///
    /// # Errors
    /// If the device does not take it, or the text has no entry of that name.
    pub fn of_text(device: &Device, ptx: &str) -> Result<Self, LaunchError> {
        Ok(Self {
            loaded: Loaded::of_text(device, EmbedVariant.id(), ptx)?,
        })
    }

    /// Launches it; nothing happens without rows or columns.
    ///
    /// # Errors
    /// [`LaunchError`] if an operand is too small or not laid out as the kernel needs.
    pub fn launch(&self, stream: &Stream, operands: &EmbedOperands) -> Result<(), LaunchError> {
        let EmbedOperands {
            rows,
            vocabulary,
            cols,
            padded,
            table,
            dst,
            ..
        } = *operands;
        if rows == 0 || padded == 0 {
            return Ok(());
        }
        let layout = |reason| self.loaded.layout(reason);
        if padded < cols || !padded.is_multiple_of(8) {
            return Err(layout(format!(
                "{padded} columns are written, which are no multiple of 8 or less than {cols}"
            )));
        }
        if dst.stride < padded || !dst.stride.is_multiple_of(8) {
            return Err(layout(format!(
                "rows of dst are {} elements apart, which are no multiple of 8 or less than {padded}",
                dst.stride
            )));
        }
        if table.stride < cols {
            return Err(layout(format!(
                "rows of the table are {} elements apart, less than {cols}",
                table.stride
            )));
        }
        let number = |n| self.loaded.number("elements", n);
        let bytes = |rows: usize, stride: usize, cols: usize| match rows {
            0 => 0,
            rows => 2 * ((rows - 1) * stride + cols),
        };
        let (dst_bytes, table_bytes) = (
            bytes(rows, dst.stride, padded),
            bytes(vocabulary, table.stride, cols),
        );
        let (status, tokens) = (operands.status, operands.tokens);
        let arguments = [
            self.loaded.pointer("dst", dst.first, dst_bytes, 16)?,
            self.loaded.pointer("status", status, 4, 4)?,
            self.loaded.pointer("table", table.first, table_bytes, 2)?,
            self.loaded.pointer("tokens", tokens, 4 * rows, 4)?,
            Argument::U32(number(vocabulary)?),
            Argument::U32(number(cols)?),
            Argument::U32(number(padded)?),
            Argument::U32(number(dst.stride)?),
            Argument::U32(number(table.stride)?),
        ];
        let geometry = Geometry {
            grid: [number(rows)?, 1, 1],
            block: [256, 1, 1],
            dynamic_shared: 0,
        };
        Ok(stream.launch(&self.loaded.kernel, geometry, &arguments)?)
    }
}
