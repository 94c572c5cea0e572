//! One device interface, two machines: an NVIDIA GPU through its driver, and the PTX emulator.
//!
//! Host code allocates [`Buffer`]s, loads a [`Module`] from PTX text, launches its [`Kernel`]s on a
//! [`Stream`] and measures with [`Event`]s, and cannot tell which machine it is but by
//! [`Device::properties`]. What can be checked before a launch (entry, arguments, geometry) is
//! checked here, for both alike.
//!
//! | | `cuda` | `emulator` |
//! |---|---|---|
//! | found | at run time, by the driver library | always |
//! | launches | in the order of a stream, beside the host | at once |
//! | a [`Graph`] of launches | one call of the driver | one after the other |
//! | errors of a kernel | from [`Stream::synchronize`], or the next copy | from [`Stream::launch`], by the sanitizer |
//! | a kernel that hangs | not waited for longer than [`WATCHDOG`] | stopped by a budget of instructions |
//! | after a fault | the device is lost to the process: each call gets the fault again | as before, or as CUDA: [`EmulatorOptions::is_lost_by_faults`] |
//! | device time | [`Event`] | none |
//! | [`Statistics`] | none | of each launch |

mod buffer;
mod choice;
mod cuda;
mod emulated;
mod error;
mod fault;
mod graph;
mod kernel;
mod machine;
mod properties;
mod staging;
mod stream;

pub use buffer::{Buffer, Pinned};
pub use choice::DeviceChoice;
pub use emulated::EmulatorOptions;
pub use error::DeviceError;
pub use graph::{Graph, VendorProduct};
pub use kernel::{Argument, Kernel, KernelAttributes, Module};
pub use properties::{DeviceKind, Properties};
pub use ptx_emulator::launch::Geometry;
pub use ptx_emulator::statistics::Statistics;
pub use staging::Staging;
pub use stream::{Event, Stream, WATCHDOG};

use machine::Machine;
use std::sync::Arc;

/// A machine that runs PTX. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Device(Arc<dyn Machine>);

impl Device {
    /// The device of a `--device` option: [`DeviceChoice::Auto`] is the first GPU, or the emulator where
    /// there is none.
    ///
    /// # Errors
    /// If it is not there; [`DeviceChoice::Cpu`] runs no PTX.
    pub fn open(choice: DeviceChoice) -> Result<Self, DeviceError> {
        match choice {
            DeviceChoice::Auto => match Self::cuda(0) {
                Err(DeviceError::NoDriver { .. } | DeviceError::NoDevice { .. }) => {
                    Ok(Self::emulator())
                }
                opened => opened,
            },
            DeviceChoice::Cuda(ordinal) => Self::cuda(ordinal.unwrap_or(0)),
            DeviceChoice::Emulator => Ok(Self::emulator()),
            DeviceChoice::EmulatorLostByFaults => Ok(Self::emulator_with(EmulatorOptions {
                is_lost_by_faults: true,
                ..EmulatorOptions::default()
            })),
            DeviceChoice::Cpu => Err(DeviceError::RunsNoPtx),
        }
    }

    /// An emulator of its own. It runs one launch at a time, over all cores by rayon: tasks of a
    /// rayon pool must not share one, each opens its own.
    pub fn emulator() -> Self {
        Self::emulator_with(EmulatorOptions::default())
    }

    /// An emulator with other limits.
    pub fn emulator_with(options: EmulatorOptions) -> Self {
        Self(Arc::new(emulated::Emulator::new(options)))
    }

    /// An NVIDIA GPU.
    ///
    /// # Errors
    /// If there is no driver, it is too old, or it has no device of that number.
    pub fn cuda(ordinal: usize) -> Result<Self, DeviceError> {
        Ok(Self(Arc::new(cuda::Cuda::open(ordinal)?)))
    }

    /// What it is and what its limits are.
    pub fn properties(&self) -> &Properties {
        self.0.properties()
    }

    /// Bytes of global memory that nobody has, other processes included.
    ///
    /// # Errors
    /// If the driver does not say.
    pub fn free_memory(&self) -> Result<u64, DeviceError> {
        self.0.free_memory()
    }

    /// Allocates bytes that nobody has written, aligned to 256. `name` is what reports call them.
    ///
    /// # Errors
    /// If so many are not left.
    pub fn allocate(&self, name: &str, bytes: usize) -> Result<Buffer, DeviceError> {
        Buffer::allocate(self.0.clone(), name, bytes)
    }

    /// Allocates and fills a buffer.
    ///
    /// # Errors
    /// As [`Device::allocate`].
    pub fn upload<T: bytemuck::NoUninit>(
        &self,
        name: &str,
        data: &[T],
    ) -> Result<Buffer, DeviceError> {
        let buffer = self.allocate(name, size_of_val(data))?;
        buffer.write(0, data)?;
        Ok(buffer)
    }

    /// Host memory that asynchronous copies can use.
    ///
    /// # Errors
    /// If the driver has no more.
    pub fn pinned(&self, bytes: usize) -> Result<Pinned, DeviceError> {
        Pinned::allocate(self.0.clone(), bytes)
    }

    /// Loads PTX text. `name` is what errors call it.
    ///
    /// # Errors
    /// With the place of what is wrong in the text, or what the device lacks for it.
    pub fn load(&self, name: &str, ptx: &str) -> Result<Module, DeviceError> {
        Module::load(self.0.clone(), name, ptx)
    }

    /// A new stream: what is launched on it runs in order.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn stream(&self) -> Result<Stream, DeviceError> {
        Stream::new(self.0.clone())
    }
}
