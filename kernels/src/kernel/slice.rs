//! Operands in buffers.

use super::LaunchError;
use mxlab_harness::device::{Argument, Buffer};

/// Bytes of a buffer, from an offset on.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// The buffer.
    pub buffer: &'a Buffer,
    /// Where the operand begins, in bytes.
    pub offset: usize,
}

/// A dense tensor in a buffer, rows `stride` elements apart.
#[derive(Clone, Copy, Debug)]
pub struct Dense<'a> {
    /// Where element (0, 0) lies.
    pub first: Slice<'a>,
    /// Elements from row to row.
    pub stride: usize,
}

impl<'a> Slice<'a> {
    /// All of a buffer.
    pub const fn whole(buffer: &'a Buffer) -> Self {
        Self { buffer, offset: 0 }
    }

    /// A pointer to `bytes` bytes, aligned to `alignment`, for parameter `operand` of `kernel`.
    pub(crate) fn argument(
        self,
        kernel: &str,
        operand: &'static str,
        bytes: usize,
        alignment: usize,
    ) -> Result<Argument<'a>, LaunchError> {
        let Self { buffer, offset } = self;
        if !(buffer.address() + offset as u64).is_multiple_of(alignment as u64) {
            return Err(LaunchError::Layout {
                kernel: kernel.to_owned(),
                reason: format!("{operand} is not aligned to {alignment} bytes"),
            });
        }
        let end = offset.saturating_add(bytes);
        if end > buffer.bytes() {
            return Err(LaunchError::TooSmall {
                kernel: kernel.to_owned(),
                operand,
                first: offset,
                end,
                got: buffer.bytes(),
            });
        }
        Ok(Argument::BufferAt(buffer, offset))
    }
}
