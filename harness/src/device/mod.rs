//! One device interface, two machines: an NVIDIA GPU through its driver, and the PTX emulator.
//!
//! Host code allocates [`Buffer`]s, loads a [`Module`] from PTX text, launches its [`Kernel`]s on a
//! [`Stream`] and measures with [`Event`]s. Only [`Device::properties`] tells which machine it is.
//! This module checks before a launch what can be checked, in the same way for both: entry,
//! arguments, geometry.
//!
//! | | `cuda` | `emulator` |
//! |---|---|---|
//! | found | at run time, by the driver library | always |
//! | launches | in the order of a stream, beside the host | at once |
//! | a [`Graph`] of launches | one call of the driver | one after the other |
//! | errors of a kernel | from [`Stream::synchronize`] or the next copy | from [`Stream::launch`] |
//! | a kernel that hangs | [`WATCHDOG`] limits the wait | a budget of instructions stops it |
//! | after a fault | each call returns the fault again | as before[^lost] |
//! | device time | [`Event`] | none |
//! | [`Statistics`] | none | of each launch |
//!
//! [^lost]: or as on a GPU, with [`EmulatorOptions::is_lost_by_faults`].

mod buffer;
mod choice;
mod code;
mod cuda;
mod emulated;
mod error;
mod fault;
mod graph;
pub(crate) mod images;
mod kernel;
mod loader;
mod machine;
mod properties;
mod staging;
mod stream;

pub use buffer::{Buffer, Pinned};
pub use choice::DeviceChoice;
pub use code::{Code, Loads, NoImage};
pub use emulated::EmulatorOptions;
pub use error::DeviceError;
pub use graph::{Graph, VendorProduct};
pub use images::{Images, ImagesError};
pub use kernel::{Argument, Kernel, KernelAttributes, Module};
pub use properties::{DeviceKind, Properties};
pub use ptx_emulator::launch::Geometry;
pub use ptx_emulator::statistics::Statistics;
pub use staging::Staging;
pub use stream::{Event, Stream, WATCHDOG};

/// The result of a call to a device.
pub type Result<T, E = DeviceError> = std::result::Result<T, E>;

use loader::Loader;
use machine::Machine;
use std::sync::Arc;

/// A machine that runs PTX. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Device {
    machine: Arc<dyn Machine>,
    loader: Arc<Loader>,
}

/// How a device is opened.
#[derive(Clone, Debug, Default)]
pub struct DeviceOptions {
    /// Machine code made ahead of time. A text without an image is loaded as PTX, and so is every
    /// text if the images are for another chip or a newer driver. [`Device::loads`] counts both.
    ///
    /// The emulator always runs PTX. With images it still looks up every text, reads its module and
    /// counts the load as one of an image, so that everything but the driver's part is tested.
    pub images: Option<Arc<Images>>,
    /// Limits of the emulator.
    pub emulator: EmulatorOptions,
}

impl Device {
    /// The device of a `--device` option: [`DeviceChoice::Auto`] is the first GPU, or the emulator
    /// where there is none.
    ///
    /// # Errors
    /// If the device is missing, or for [`DeviceChoice::Cpu`], which runs no PTX.
    /// [`DeviceChoice::Auto`] also fails if a driver is present that cannot be used: this does not
    /// count as no GPU.
    pub fn open(choice: DeviceChoice) -> Result<Self> {
        Self::open_with(choice, DeviceOptions::default())
    }

    /// As [`Device::open`], with images or other limits.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open_with(choice: DeviceChoice, options: DeviceOptions) -> Result<Self> {
        let emulator =
            || -> Arc<dyn Machine> { Arc::new(emulated::Emulator::new(options.emulator)) };
        let cuda =
            |ordinal| -> Result<Arc<dyn Machine>> { Ok(Arc::new(cuda::Cuda::open(ordinal)?)) };
        let machine = match choice {
            DeviceChoice::Auto => match cuda(0) {
                Err(DeviceError::NoDriver { .. } | DeviceError::NoDevice { .. }) => emulator(),
                opened => opened?,
            },
            DeviceChoice::Cuda(ordinal) => cuda(ordinal.unwrap_or(0))?,
            DeviceChoice::Emulator => emulator(),
            DeviceChoice::EmulatorLostByFaults => {
                Arc::new(emulated::Emulator::new(EmulatorOptions {
                    is_lost_by_faults: true,
                    ..options.emulator
                }))
            }
            DeviceChoice::Cpu => return Err(DeviceError::RunsNoPtx),
        };
        Ok(Self {
            machine,
            loader: Arc::new(Loader::new(options.images)),
        })
    }

    fn of(machine: impl Machine + 'static) -> Self {
        Self {
            machine: Arc::new(machine),
            loader: Arc::default(),
        }
    }

    /// A new emulator. It runs one launch at a time, over all cores by rayon. Tasks of a rayon pool
    /// must not share one; each opens its own.
    pub fn emulator() -> Self {
        Self::emulator_with(EmulatorOptions::default())
    }

    /// An emulator with other limits.
    pub fn emulator_with(options: EmulatorOptions) -> Self {
        Self::of(emulated::Emulator::new(options))
    }

    /// An NVIDIA GPU.
    ///
    /// # Errors
    /// If there is no driver, it is too old, or it has no device of that number.
    pub fn cuda(ordinal: usize) -> Result<Self> {
        Ok(Self::of(cuda::Cuda::open(ordinal)?))
    }

    /// The images that the device was opened with.
    pub fn images(&self) -> Option<&Arc<Images>> {
        self.loader.images()
    }

    /// How many texts were loaded so far, by where their machine code came from. All clones of a
    /// device count together.
    pub fn loads(&self) -> Loads {
        self.loader.loads()
    }

    /// Where the machine code of the last loaded text came from; `None` before the first load. The
    /// same as [`Module::code`] for callers that do not see the module, if only one thread loads.
    pub fn code_of_last_load(&self) -> Option<Code> {
        self.loader.last()
    }

    /// Its properties and limits.
    pub fn properties(&self) -> &Properties {
        self.machine.properties()
    }

    /// Free bytes of global memory; other processes may use some of the rest.
    ///
    /// # Errors
    /// If the driver does not say.
    pub fn free_memory(&self) -> Result<u64> {
        self.machine.free_memory()
    }

    /// Allocates unwritten bytes, aligned to 256. Reports call them `name`.
    ///
    /// # Errors
    /// If there are not enough free bytes.
    pub fn allocate(&self, name: &str, bytes: usize) -> Result<Buffer> {
        Buffer::allocate(self.machine.clone(), name, bytes)
    }

    /// Allocates and fills a buffer.
    ///
    /// # Errors
    /// As [`Device::allocate`].
    pub fn upload<T: bytemuck::NoUninit>(&self, name: &str, data: &[T]) -> Result<Buffer> {
        let buffer = self.allocate(name, size_of_val(data))?;
        buffer.write(0, data)?;
        Ok(buffer)
    }

    /// Host memory that asynchronous copies can use.
    ///
    /// # Errors
    /// If the driver has no more.
    pub fn pinned(&self, bytes: usize) -> Result<Pinned> {
        Pinned::allocate(self.machine.clone(), bytes)
    }

    /// Loads a PTX text, or its image. Errors call it `name`.
    ///
    /// # Errors
    /// If the text is wrong, with the place; if the device lacks what the text needs; if the file
    /// of its image has changed.
    pub fn load(&self, name: &str, ptx: &str) -> Result<Module> {
        Module::load(&self.machine, &self.loader, name, ptx)
    }

    /// A new stream. Its launches run in order.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn stream(&self) -> Result<Stream> {
        Stream::new(self.machine.clone())
    }
}
