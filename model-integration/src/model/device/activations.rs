//! Activations, and the buffers that are reused for them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use half::bf16;
use mxlab_harness::device::{Buffer, Device, DeviceError};
use mxlab_kernels::format::{BlockFormat, pow2};
use mxlab_kernels::fragment::{CHUNK, OperandType};
use mxlab_kernels::kernel::{Dense, Slice};

/// Matmuls read this many rows at a time, so buffers have a multiple of it.
const ROWS: usize = 256;
/// The same for matmuls with 8-bit operands.
const PACKED_ROWS: usize = 192;

/// Distance between rows of activations of `cols` features. Matmuls read whole chunks.
pub(super) const fn stride(cols: usize) -> usize {
    cols.next_multiple_of(CHUNK)
}

/// The arrangement of rows in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Layout {
    /// bf16, rows padded to whole chunks of columns.
    Padded,
    /// bf16, rows without padding.
    Compact,
    /// 8-bit operands, rows padded to whole chunks of columns.
    Bytes,
    /// f32 [block of k, row], with blocks for whole chunks.
    Scales(usize),
}

impl Layout {
    /// Bytes of a buffer for `tokens` tokens of `cols` features.
    pub const fn bytes(self, tokens: usize, cols: usize) -> usize {
        match self {
            Self::Padded | Self::Compact => 2 * tokens.next_multiple_of(ROWS) * stride(cols),
            Self::Bytes => tokens.next_multiple_of(PACKED_ROWS) * stride(cols),
            Self::Scales(k) => 4 * tokens.next_multiple_of(PACKED_ROWS) * stride(cols).div_ceil(k),
        }
    }
}

/// Scales of packed activations, in the layout that row kernels write.
pub(super) struct SourceScales<'a> {
    /// f32 [block of k, token].
    pub scales: Dense<'a>,
    /// Factor on the activations: see [`OperandType::activation_exponent`].
    pub factor: f32,
}

/// The key of a buffer: features of a row, and layout.
type Width = (usize, Layout);

/// Free buffers by their width. The padding of a row is zero and is never overwritten.
pub(super) struct Pool {
    device: Device,
    /// Tokens of each buffer.
    tokens: usize,
    free: Rc<RefCell<HashMap<Width, Vec<Buffer>>>>,
}

impl Pool {
    /// Buffers for `tokens` tokens, allocated on first use.
    pub fn new(device: &Device, tokens: usize) -> Self {
        Self {
            device: device.clone(),
            tokens,
            free: Rc::default(),
        }
    }

    /// Bytes of the free buffers, which are all of them once no activation is alive.
    pub fn free_bytes(&self) -> usize {
        let free = self.free.borrow();
        free.values().flatten().map(Buffer::bytes).sum()
    }

    /// An activation with undefined values.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn take(&self, rows: usize, cols: usize) -> Result<Activation, DeviceError> {
        self.take_width(rows, (cols, Layout::Padded))
    }

    /// An activation of 8-bit operands for `format`.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn take_packed(
        &self,
        rows: usize,
        cols: usize,
        format: &BlockFormat,
        operand: OperandType,
    ) -> Result<Activation, DeviceError> {
        let k = format.block_size();
        let exponent = operand.activation_exponent(format.element());
        Ok(Activation {
            packed: Some(Packed {
                operand,
                block_size: k,
                scales: self.hold((cols, Layout::Scales(k)))?,
                // Rows of this format are made by a kernel that also writes the exponent.
                factor: pow2(exponent.unwrap_or(0)) as f32,
            }),
            ..self.take_width(rows, (cols, Layout::Bytes))?
        })
    }

    /// An activation with rows without padding.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn take_compact(&self, rows: usize, cols: usize) -> Result<Activation, DeviceError> {
        self.take_width(rows, (cols, Layout::Compact))
    }

    fn take_width(&self, rows: usize, width: Width) -> Result<Activation, DeviceError> {
        let (cols, _) = width;
        Ok(Activation {
            held: Rc::new(self.hold(width)?),
            rows,
            features: 0..cols,
            packed: None,
        })
    }

    fn hold(&self, width: Width) -> Result<Held, DeviceError> {
        let (cols, layout) = width;
        let free = self.free.borrow_mut().get_mut(&width).and_then(Vec::pop);
        let buffer = match free {
            Some(buffer) => buffer,
            None => {
                let bytes = layout.bytes(self.tokens, cols);
                let name = format!("activations of {cols} features");
                self.device.upload(&name, &vec![0u8; bytes])?
            }
        };
        Ok(Held {
            buffer: Some(buffer),
            free: self.free.clone(),
            width,
        })
    }
}

/// A buffer that returns to its pool on drop.
struct Held {
    /// `Some` until it is dropped.
    buffer: Option<Buffer>,
    free: Rc<RefCell<HashMap<Width, Vec<Buffer>>>>,
    width: Width,
}

impl Held {
    fn buffer(&self) -> &Buffer {
        let buffer = self.buffer.as_ref();
        buffer.unwrap_or_else(|| unreachable!("there until dropped"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            let mut free = self.free.borrow_mut();
            free.entry(self.width).or_default().push(buffer);
        }
    }
}

/// [rows, cols]: all features of a buffer or a range of them, in bf16 or as 8-bit operands with
/// scales. The buffer returns to the pool when its last view is dropped.
pub struct Activation {
    held: Rc<Held>,
    rows: usize,
    features: Range<usize>,
    packed: Option<Packed>,
}

/// The scaling of 8-bit operands: a value is the code times `factor` and the scale of its block.
struct Packed {
    operand: OperandType,
    block_size: usize,
    scales: Held,
    factor: f32,
}

impl Activation {
    /// Number of tokens.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of features.
    pub fn cols(&self) -> usize {
        self.features.len()
    }

    /// Type of its tensor-core operands.
    pub(super) fn operand(&self) -> OperandType {
        self.packed
            .as_ref()
            .map_or(OperandType::Bf16, |packed| packed.operand)
    }

    pub(super) fn slice(&self) -> Slice<'_> {
        Slice {
            buffer: self.held.buffer(),
            offset: self.operand().bits() as usize / 8 * self.features.start,
        }
    }

    /// The scales of 8-bit operands.
    pub(super) fn scales(&self) -> Option<SourceScales<'_>> {
        self.packed.as_ref().map(|packed| SourceScales {
            scales: Dense {
                first: Slice::whole(packed.scales.buffer()),
                stride: self.rows.next_multiple_of(PACKED_ROWS),
            },
            factor: packed.factor,
        })
    }

    /// Reads the current values, row by row.
    ///
    /// # Errors
    /// Any error of the device.
    pub(super) fn read(&self) -> Result<Vec<f32>, DeviceError> {
        let Dense { first, stride } = self.dense();
        let Slice { buffer, offset } = first;
        let mut values = Vec::with_capacity(self.rows * self.cols());
        let Some(packed) = &self.packed else {
            let mut row = vec![0u16; self.cols()];
            for index in 0..self.rows {
                buffer.read(offset + 2 * index * stride, &mut row)?;
                values.extend(row.iter().map(|&bits| bf16::from_bits(bits).to_f32()));
            }
            return Ok(values);
        };
        let scales: Vec<f32> = packed.scales.buffer().download()?;
        let scales_stride = self.rows.next_multiple_of(PACKED_ROWS);
        let mut row = vec![0u8; self.cols()];
        for index in 0..self.rows {
            buffer.read(index * stride, &mut row)?;
            values.extend(row.iter().enumerate().map(|(col, &code)| {
                let scale = scales[col / packed.block_size * scales_stride + index];
                packed.operand.value(code.into()) as f32 * packed.factor * scale
            }));
        }
        Ok(values)
    }

    pub(super) fn dense(&self) -> Dense<'_> {
        let (cols, _) = self.held.width;
        Dense {
            first: self.slice(),
            stride: stride(cols),
        }
    }

    /// A range of its features; bf16 only.
    pub(super) fn part(&self, features: Range<usize>) -> Self {
        debug_assert!(self.packed.is_none(), "a part of bf16");
        let first = self.features.start;
        Self {
            held: self.held.clone(),
            rows: self.rows,
            features: first + features.start..first + features.end,
            packed: None,
        }
    }
}
