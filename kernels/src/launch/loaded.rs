//! A kernel on a device, as launchers keep it.

use super::{LaunchError, Slice};
use mxlab_harness::device::{Argument, Device, Kernel};

/// A kernel by its id.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub id: String,
    pub kernel: Kernel,
}

impl Loaded {
    /// Loads a text whose entry is named `id`.
    pub fn of_text(device: &Device, id: String, ptx: &str) -> Result<Self, LaunchError> {
        let kernel = device.load(&id, ptx)?.kernel(&id)?;
        Ok(Self { id, kernel })
    }

    /// Operands that do not lie as the kernel needs.
    pub fn layout(&self, reason: String) -> LaunchError {
        LaunchError::Layout {
            kernel: self.id.clone(),
            reason,
        }
    }

    /// An operand that the variant needs.
    pub fn required<T>(&self, operand: &'static str, given: Option<T>) -> Result<T, LaunchError> {
        given.ok_or_else(|| LaunchError::Missing {
            kernel: self.id.clone(),
            operand,
        })
    }

    /// A number that a launch has 32 bits for.
    pub fn number(&self, what: &str, n: usize) -> Result<u32, LaunchError> {
        u32::try_from(n).map_err(|_| self.layout(format!("too many {what}")))
    }

    /// A pointer to `bytes` bytes, aligned to `alignment`.
    pub fn pointer<'a>(
        &self,
        operand: &'static str,
        slice: Slice<'a>,
        bytes: usize,
        alignment: usize,
    ) -> Result<Argument<'a>, LaunchError> {
        slice.argument(&self.id, operand, bytes, alignment)
    }

    /// The same, or 0 for none.
    pub fn optional<'a>(
        &self,
        operand: &'static str,
        slice: Option<Slice<'a>>,
        bytes: usize,
        alignment: usize,
    ) -> Result<Argument<'a>, LaunchError> {
        slice.map_or(Ok(Argument::U64(0)), |slice| {
            self.pointer(operand, slice, bytes, alignment)
        })
    }
}
