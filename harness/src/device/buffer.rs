//! Memory: of the device, and of the host for asynchronous copies.

use super::DeviceError;
use super::machine::Machine;
use std::sync::Arc;

/// Memory of a device; freed when dropped.
#[derive(Debug)]
pub struct Buffer {
    machine: Arc<dyn Machine>,
    address: u64,
    bytes: usize,
}

impl Buffer {
    pub(super) fn allocate(
        machine: Arc<dyn Machine>,
        name: &str,
        bytes: usize,
    ) -> Result<Self, DeviceError> {
        let address = machine.allocate(name, bytes)?;
        Ok(Self {
            machine,
            address,
            bytes,
        })
    }

    /// Its size.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it lies in the device's memory.
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// Copies host data to byte `offset` and waits.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn write<T: bytemuck::NoUninit>(
        &self,
        offset: usize,
        data: &[T],
    ) -> Result<(), DeviceError> {
        self.check(offset, size_of_val(data))?;
        let address = self.address + offset as u64;
        self.machine.write(address, bytemuck::cast_slice(data))
    }

    /// Copies all of it to the host; bytes behind the last whole `T` are left.
    ///
    /// # Errors
    /// On the emulator, if some of it was never written.
    pub fn download<T: bytemuck::Pod>(&self) -> Result<Vec<T>, DeviceError> {
        let mut data = vec![T::zeroed(); self.bytes / size_of::<T>()];
        let bytes = bytemuck::cast_slice_mut(&mut data);
        self.machine.read(self.address, bytes)?;
        Ok(data)
    }

    pub(super) fn check(&self, first: usize, bytes: usize) -> Result<(), DeviceError> {
        let end = first.saturating_add(bytes);
        if end <= self.bytes {
            return Ok(());
        }
        Err(DeviceError::OutsideBuffer {
            first,
            end,
            bytes: self.bytes,
        })
    }

    pub(super) fn is_of(&self, machine: &Arc<dyn Machine>) -> bool {
        Arc::ptr_eq(&self.machine, machine)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.machine.free(self.address);
    }
}

/// Memory of the host that the device copies from and to by itself.
///
/// While a copy is under way its stream holds it too, and the host cannot see inside.
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
    pub(super) fn allocate(machine: Arc<dyn Machine>, bytes: usize) -> Result<Self, DeviceError> {
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

    /// Its bytes; `None` until the streams that copy from or to it are synchronised.
    pub fn bytes(&mut self) -> Option<&mut [u8]> {
        let memory = Arc::get_mut(&mut self.0)?;
        // SAFETY: allocated and zeroed with that size, and no copy is under way: a stream would
        // hold the other reference.
        Some(unsafe { std::slice::from_raw_parts_mut(memory.pointer, memory.bytes) })
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
