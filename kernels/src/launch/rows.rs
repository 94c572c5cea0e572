//! Launcher of the kernels that make rows: norm, swiglu, copy.

use super::loaded::Loaded;
use super::{Dense, LaunchError, Slice};
use crate::format::BlockFormat;
use crate::fragment::CHUNK;
use crate::ptx::{RowOperation, RowVariant};
use mxlab_harness::device::{Argument, Device, Geometry, Stream};

/// What a row kernel works on: matrices of bf16 [rows, cols], rows padded with zeros to a multiple of 8
/// columns; packed rows, of operands of 8 bits, to a whole chunk of matmuls.
#[derive(Clone, Copy, Debug)]
pub struct RowOperands<'a> {
    /// Rows: tokens.
    pub rows: usize,
    /// Columns, without padding.
    pub cols: usize,
    /// What is written.
    pub dst: Dense<'a>,
    /// Scales of packed rows that are written, f32 [block of k, row], those of whole chunks.
    pub dst_scales: Option<Dense<'a>>,
    /// x of norm and copy, gate of swiglu.
    pub src: Dense<'a>,
    /// What the sources are combined with.
    pub by: RowFactor<'a>,
    /// The position of each row's token, u32 \[rows\], for stochastic rounding.
    pub positions: Option<Slice<'a>>,
    /// Chooses the random numbers of stochastic rounding.
    pub seed: u32,
}

/// What rows are multiplied by.
#[derive(Clone, Copy, Debug)]
pub enum RowFactor<'a> {
    /// Of norm: bf16 \[cols\], padded with zeros to a multiple of 8; and epsilon.
    Gain(Slice<'a>, f32),
    /// Of swiglu: `up`.
    Up(Dense<'a>),
    /// Of copy: nothing.
    One,
}

/// One kernel, loaded.
#[derive(Clone, Debug)]
pub struct RowKernel {
    variant: RowVariant,
    loaded: Loaded,
}

impl RowKernel {
    /// Renders a kernel and loads it.
    ///
    /// # Errors
    /// If the device does not take it.
    pub fn load(device: &Device, variant: RowVariant) -> Result<Self, LaunchError> {
        Self::of_text(device, variant, &variant.render())
    }

    /// Loads a kernel from a text that stands for [`RowVariant::render`]'s.
    ///
    /// # Errors
    /// If the device does not take it, or the text has no entry of that name.
    pub fn of_text(device: &Device, variant: RowVariant, ptx: &str) -> Result<Self, LaunchError> {
        let loaded = Loaded::of_text(device, variant.id(), ptx)?;
        Ok(Self { variant, loaded })
    }

    /// Launches it; nothing happens without rows or columns.
    ///
    /// # Errors
    /// [`LaunchError`] if an operand is missing, too small or not laid out as the kernel needs.
    pub fn launch(&self, stream: &Stream, operands: &RowOperands) -> Result<(), LaunchError> {
        let (rows, cols) = (operands.rows, operands.cols);
        if rows == 0 || cols == 0 {
            return Ok(());
        }
        let padded = cols.next_multiple_of(8);
        let pointer = Pointer {
            kernel: self,
            rows,
            padded,
        };
        let mut strides = vec![operands.dst.stride];
        let mut arguments = match self.variant.is_packed() {
            false => vec![pointer.to("dst", operands.dst)?],
            true => {
                let scales = self.loaded.required("dst_scales", operands.dst_scales)?;
                strides.push(scales.stride);
                pointer.to_packed(operands.dst, scales)?
            }
        };
        strides.push(operands.src.stride);
        let mut floats = Vec::new();
        match (self.variant.operation(), operands.by) {
            (RowOperation::Norm, RowFactor::Gain(gain, eps)) => {
                arguments.push(pointer.to("src", operands.src)?);
                arguments.push(gain.argument(&self.loaded.id, "gain", 2 * padded, 16)?);
                floats.push(Argument::F32(eps));
            }
            (RowOperation::Swiglu, RowFactor::Up(up)) => {
                arguments.push(pointer.to("src_gate", operands.src)?);
                arguments.push(pointer.to("src_up", up)?);
                strides.push(up.stride);
            }
            (RowOperation::Copy, RowFactor::One) => {
                arguments.push(pointer.to("src", operands.src)?);
            }
            _ => {
                let reason = "a norm takes a gain, swiglu takes up, copy nothing";
                return Err(self.loaded.layout(reason.to_owned()));
            }
        }
        if self.variant.is_random() {
            let positions = operands.positions.ok_or_else(|| LaunchError::Missing {
                kernel: self.loaded.id.clone(),
                operand: "positions",
            })?;
            arguments.push(positions.argument(&self.loaded.id, "positions", 4 * rows, 4)?);
            arguments.push(Argument::U32(operands.seed));
        }
        arguments.extend(floats);
        arguments.push(Argument::U32(self.loaded.number("columns", cols)?));
        for stride in strides {
            arguments.push(Argument::U32(
                self.loaded.number("elements from row to row", stride)?,
            ));
        }
        let geometry = Geometry {
            grid: [self.loaded.number("rows", rows)?, 1, 1],
            block: [256, 1, 1],
            dynamic_shared: 0,
        };
        Ok(stream.launch(&self.loaded.kernel, geometry, &arguments)?)
    }
}

/// Makes pointers to matrices of so many rows and columns.
struct Pointer<'k> {
    kernel: &'k RowKernel,
    rows: usize,
    padded: usize,
}

impl Pointer<'_> {
    /// Packed rows and their scales.
    fn to_packed<'a>(
        &self,
        rows: Dense<'a>,
        scales: Dense<'a>,
    ) -> Result<Vec<Argument<'a>>, LaunchError> {
        let (loaded, padded) = (&self.kernel.loaded, self.padded.next_multiple_of(CHUNK));
        if rows.stride < padded || !rows.stride.is_multiple_of(8) {
            return Err(loaded.layout(format!(
                "packed rows are {} bytes apart, which are no multiple of 8 or less than {padded}",
                rows.stride
            )));
        }
        if scales.stride < self.rows {
            return Err(loaded.layout(format!(
                "scales of blocks are {} apart, less than {}",
                scales.stride, self.rows
            )));
        }
        let k = self
            .kernel
            .variant
            .format()
            .map_or(1, BlockFormat::block_size);
        let bytes = (self.rows - 1) * rows.stride + padded;
        let scale_bytes = 4 * ((padded.div_ceil(k) - 1) * scales.stride + self.rows);
        Ok(vec![
            loaded.pointer("dst", rows.first, bytes, 8)?,
            loaded.pointer("dst_scales", scales.first, scale_bytes, 4)?,
        ])
    }

    fn to<'a>(
        &self,
        operand: &'static str,
        matrix: Dense<'a>,
    ) -> Result<Argument<'a>, LaunchError> {
        let (stride, padded) = (matrix.stride, self.padded);
        if stride < padded || !stride.is_multiple_of(8) {
            return Err(self.kernel.loaded.layout(format!(
                "rows of {operand} are {stride} elements apart, which are no multiple of 8 or less than {padded}"
            )));
        }
        let bytes = 2 * ((self.rows - 1) * stride + padded);
        matrix
            .first
            .argument(&self.kernel.loaded.id, operand, bytes, 16)
    }
}
