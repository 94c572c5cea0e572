//! Memory: of the device, and of the host for asynchronous copies.

use super::machine::Machine;
use super::{Argument, DeviceError, Result};
use std::sync::Arc;

/// Memory of a device; freed when dropped, and with the last [`Graph`](super::Graph) that launches
/// with it.
#[derive(Debug)]
pub struct Buffer(Arc<Memory>);

#[derive(Debug)]
pub(super) struct Memory {
    machine: Arc<dyn Machine>,
    name: String,
    address: u64,
    bytes: usize,
}

impl Buffer {
    pub(super) fn allocate(machine: Arc<dyn Machine>, name: &str, bytes: usize) -> Result<Self> {
        let address = machine.allocate(name, bytes)?;
        Ok(Self(Arc::new(Memory {
            machine,
            name: name.to_owned(),
            address,
            bytes,
        })))
    }

    /// Its name in reports.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// Its address in the device's memory.
    pub fn address(&self) -> u64 {
        self.0.address
    }

    /// The address of byte `offset`, to launch with.
    pub const fn at(&self, offset: usize) -> Argument<'_> {
        Argument::BufferAt(self, offset)
    }

    /// Copies host data to byte `offset`, after all earlier launches, and waits.
    ///
    /// # Errors
    /// If the data does not fit, or an earlier launch failed.
    pub fn write<T: bytemuck::NoUninit>(&self, offset: usize, data: &[T]) -> Result<()> {
        self.check(offset, size_of_val(data))?;
        let address = self.address() + offset as u64;
        self.0.machine.write(address, bytemuck::cast_slice(data))
    }

    /// Copies from byte `offset` on to the host, after all earlier launches.
    ///
    /// # Errors
    /// If the buffer is too short, or an earlier launch failed; on the emulator also if some bytes
    /// were never written.
    pub fn read<T: bytemuck::Pod>(&self, offset: usize, data: &mut [T]) -> Result<()> {
        self.check(offset, size_of_val(data))?;
        let address = self.address() + offset as u64;
        self.0.machine.read(address, bytemuck::cast_slice_mut(data))
    }

    /// Copies the whole buffer to the host, except bytes behind the last whole `T`.
    ///
    /// # Errors
    /// As [`Buffer::read`].
    pub fn download<T: bytemuck::Pod>(&self) -> Result<Vec<T>> {
        const { assert!(size_of::<T>() > 0) };
        let mut data = vec![T::zeroed(); self.bytes() / size_of::<T>()];
        self.read(0, &mut data)?;
        Ok(data)
    }

    pub(super) fn check(&self, first: usize, bytes: usize) -> Result<()> {
        let end = first.saturating_add(bytes);
        if end <= self.bytes() {
            return Ok(());
        }
        Err(DeviceError::OutsideBuffer {
            name: self.name().to_owned(),
            first,
            end,
            bytes: self.bytes(),
        })
    }

    pub(super) fn is_of(&self, machine: &Arc<dyn Machine>) -> bool {
        Arc::ptr_eq(&self.0.machine, machine)
    }

    pub(super) fn share(&self) -> Arc<Memory> {
        self.0.clone()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.machine.free(self.address);
    }
}

/// Host memory that the device can copy from and to by itself.
///
/// During a copy its stream holds the memory too, and the host has no access.
#[derive(Debug)]
pub struct Pinned(Arc<PinnedMemory>);

#[derive(Debug)]
pub(super) struct PinnedMemory {
    machine: Arc<dyn Machine>,
    pointer: *mut u8,
    bytes: usize,
}

// SAFETY: the memory belongs to this value alone and is not tied to a thread; shared references
// give no access to it.
unsafe impl Send for PinnedMemory {}
// SAFETY: as above.
unsafe impl Sync for PinnedMemory {}

impl PinnedMemory {
    pub(super) const fn pointer(&self) -> *mut u8 {
        self.pointer
    }
}

impl Pinned {
    pub(super) fn allocate(machine: Arc<dyn Machine>, bytes: usize) -> Result<Self> {
        let pointer = machine.allocate_pinned(bytes)?;
        // SAFETY: just allocated with that size.
        unsafe { pointer.write_bytes(0, bytes) };
        Ok(Self(Arc::new(PinnedMemory {
            machine,
            pointer,
            bytes,
        })))
    }

    /// Its size.
    pub fn len(&self) -> usize {
        self.0.bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.bytes == 0
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`DeviceError::UnderWay`] until the streams that copy from or to it are synchronised.
    pub fn bytes(&mut self) -> Result<&mut [u8]> {
        let memory = Arc::get_mut(&mut self.0).ok_or(DeviceError::UnderWay)?;
        // SAFETY: allocated and zeroed with that size, and no copy is under way: a stream would
        // hold the other reference.
        Ok(unsafe { std::slice::from_raw_parts_mut(memory.pointer, memory.bytes) })
    }

    pub(super) fn is_of(&self, machine: &Arc<dyn Machine>) -> bool {
        Arc::ptr_eq(&self.0.machine, machine)
    }

    pub(super) fn share(&self) -> Arc<PinnedMemory> {
        self.0.clone()
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        self.machine.free_pinned(self.pointer, self.bytes);
    }
}
