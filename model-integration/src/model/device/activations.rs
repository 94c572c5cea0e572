//! Activations and the buffers they live in, which are used again and again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use half::bf16;
use mxlab_harness::device::{Buffer, Device, DeviceError};
use mxlab_kernels::format::{BlockFormat, pow2};
use mxlab_kernels::fragment::{CHUNK, OperandType};
use mxlab_kernels::launch::{Dense, Slice};

/// Rows that matmuls read at a time: buffers have whole ones.
const ROWS: usize = 256;
/// Those that matmuls of operands of 8 bits read at a time.
const PACKED_ROWS: usize = 192;

/// Elements from row to row of activations of `cols` features: matmuls read whole chunks.
pub(super) const fn stride(cols: usize) -> usize {
    cols.next_multiple_of(CHUNK)
}

/// How rows lie in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Layout {
    /// bf16, whole chunks of columns.
    Padded,
    /// bf16, rows without space between them.
    Compact,
    /// Operands of 8 bits, whole chunks of columns.
    Bytes,
    /// f32 [block of k, row], those of whole chunks.
    Scales(usize),
}

impl Layout {
    /// Bytes of a buffer for so many tokens of `cols` features.
    pub const fn bytes(self, tokens: usize, cols: usize) -> usize {
        match self {
            Self::Padded | Self::Compact => 2 * tokens.next_multiple_of(ROWS) * stride(cols),
            Self::Bytes => tokens.next_multiple_of(PACKED_ROWS) * stride(cols),
            Self::Scales(k) => 4 * tokens.next_multiple_of(PACKED_ROWS) * stride(cols).div_ceil(k),
        }
    }
}

/// Scales of activations that are packed, as the row kernels leave them.
pub(super) struct SourceScales<'a> {
    /// f32 [block of k, token].
    pub scales: Dense<'a>,
    /// What activations are to be multiplied by: see [`OperandType::activation_exponent`].
    pub factor: f32,
}

/// What buffers are told apart by: features of a row, and how rows lie.
type Width = (usize, Layout);

/// Buffers by their width. What is behind the features of a row is zero, and nothing
/// else is ever written there.
pub(super) struct Pool {
    device: Device,
    /// Tokens of each buffer.
    tokens: usize,
    free: Rc<RefCell<HashMap<Width, Vec<Buffer>>>>,
}

impl Pool {
    /// Buffers for so many tokens, allocated as they are first needed.
    pub fn new(device: &Device, tokens: usize) -> Self {
        Self {
            device: device.clone(),
            tokens,
            free: Rc::default(),
        }
    }

    /// Bytes of the buffers that are free, which are all once nothing else holds one.
    pub fn free_bytes(&self) -> usize {
        let free = self.free.borrow();
        free.values().flatten().map(Buffer::bytes).sum()
    }

    /// An activation of unknown values.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn take(&self, rows: usize, cols: usize) -> Result<Activation, DeviceError> {
        self.take_width(rows, (cols, Layout::Padded))
    }

    /// One of operands of 8 bits that stand for `format`.
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
                // Rows of such a format are made by a kernel that has the exponent too.
                factor: pow2(exponent.unwrap_or(0)) as f32,
            }),
            ..self.take_width(rows, (cols, Layout::Bytes))?
        })
    }

    /// One whose rows are written without space between them.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn take_close(&self, rows: usize, cols: usize) -> Result<Activation, DeviceError> {
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

/// A buffer that goes back to its pool.
struct Held {
    /// There until it is dropped.
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

/// [rows, cols], all features of a buffer or some of them; the buffer goes back to the pool with
/// the last of them. bf16, or packed as operands of 8 bits with scales.
pub struct Activation {
    held: Rc<Held>,
    rows: usize,
    features: Range<usize>,
    packed: Option<Packed>,
}

/// What operands of 8 bits stand for: their values times `factor` and the scale of their block.
struct Packed {
    operand: OperandType,
    block_size: usize,
    scales: Held,
    factor: f32,
}

impl Activation {
    /// Tokens.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Features.
    pub fn cols(&self) -> usize {
        self.features.len()
    }

    /// What tensor cores multiply of it.
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

    /// The scales of operands of 8 bits.
    pub(super) fn scales(&self) -> Option<SourceScales<'_>> {
        self.packed.as_ref().map(|packed| SourceScales {
            scales: Dense {
                first: Slice::whole(packed.scales.buffer()),
                stride: self.rows.next_multiple_of(PACKED_ROWS),
            },
            factor: packed.factor,
        })
    }

    /// The values, row after row, as they are now.
    ///
    /// # Errors
    /// What went wrong on the device.
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

    /// Some of its features; of bf16.
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
