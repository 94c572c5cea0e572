//! Activations and the buffers they live in, which are used again and again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use mxlab_harness::device::{Buffer, Device, DeviceError};
use mxlab_kernels::fragment::CHUNK;
use mxlab_kernels::launch::{Dense, Slice};

/// Rows that matmuls read at a time: buffers have whole ones.
const ROWS: usize = 256;

/// Elements from row to row of activations of `cols` features: matmuls read whole chunks.
pub(super) const fn stride(cols: usize) -> usize {
    cols.next_multiple_of(CHUNK)
}

/// Bytes of a buffer for so many tokens of `cols` features.
pub(super) const fn bytes(tokens: usize, cols: usize) -> usize {
    2 * tokens.next_multiple_of(ROWS) * stride(cols)
}

/// What buffers are told apart by: features of a row, and whether rows follow each other without
/// space between.
type Width = (usize, bool);

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
        self.take_width(rows, (cols, false))
    }

    /// One whose rows are written without space between them.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn take_close(&self, rows: usize, cols: usize) -> Result<Activation, DeviceError> {
        self.take_width(rows, (cols, true))
    }

    fn take_width(&self, rows: usize, width: Width) -> Result<Activation, DeviceError> {
        let (cols, _) = width;
        let free = self.free.borrow_mut().get_mut(&width).and_then(Vec::pop);
        let buffer = match free {
            Some(buffer) => buffer,
            None => {
                let bytes = bytes(self.tokens, cols);
                let name = format!("activations of {cols} features");
                self.device.upload(&name, &vec![0u8; bytes])?
            }
        };
        Ok(Activation {
            held: Rc::new(Held {
                buffer: Some(buffer),
                free: self.free.clone(),
                width,
            }),
            rows,
            features: 0..cols,
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

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            let mut free = self.free.borrow_mut();
            free.entry(self.width).or_default().push(buffer);
        }
    }
}

/// bf16 [rows, cols], all features of a buffer or some of them; the buffer goes back to the pool with the last of them.
pub struct Activation {
    held: Rc<Held>,
    rows: usize,
    features: Range<usize>,
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

    pub(super) fn slice(&self) -> Slice<'_> {
        let buffer = self.held.buffer.as_ref();
        Slice {
            buffer: buffer.unwrap_or_else(|| unreachable!("there until dropped")),
            offset: 2 * self.features.start,
        }
    }

    pub(super) fn dense(&self) -> Dense<'_> {
        let (cols, _) = self.held.width;
        Dense {
            first: self.slice(),
            stride: stride(cols),
        }
    }

    /// Some of its features.
    pub(super) fn part(&self, features: Range<usize>) -> Self {
        let first = self.features.start;
        Self {
            held: self.held.clone(),
            rows: self.rows,
            features: first + features.start..first + features.end,
        }
    }
}
