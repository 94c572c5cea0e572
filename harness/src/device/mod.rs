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

/// What a device does, or why it did not.
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
    /// Machine code made ahead of time. A text that it lacks, and every text where the images are
    /// for another chip or a newer driver, is loaded as PTX; [`Device::loads`] says how many.
    ///
    /// The emulator runs PTX whatever it is given. With images it looks every text up, reads its
    /// module and counts the load as one of an image, so that all but the driver's part is tried.
    pub images: Option<Arc<Images>>,
    /// Limits of the emulator, where that is what is opened.
    pub emulator: EmulatorOptions,
}

impl Device {
    /// The device of a `--device` option: [`DeviceChoice::Auto`] is the first GPU, or the emulator where
    /// there is none.
    ///
    /// # Errors
    /// If it is not there; [`DeviceChoice::Cpu`] runs no PTX. With [`DeviceChoice::Auto`] also if
    /// there is a driver that cannot be used, which is not taken for no GPU.
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

    /// An emulator of its own. It runs one launch at a time, over all cores by rayon: tasks of a
    /// rayon pool must not share one, each opens its own.
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

    /// The images that it was opened with.
    pub fn images(&self) -> Option<&Arc<Images>> {
        self.loader.images()
    }

    /// How many texts were loaded so far, by where their machine code came from. All clones of a
    /// device count together.
    pub fn loads(&self) -> Loads {
        self.loader.loads()
    }

    /// Where the machine code of the text that was loaded last came from; `None` before the first.
    /// Says of [`Device::load`] what [`Module::code`] says, for who does not see the module, as long
    /// as one thread alone loads.
    pub fn code_of_last_load(&self) -> Option<Code> {
        self.loader.last()
    }

    /// What it is and what its limits are.
    pub fn properties(&self) -> &Properties {
        self.machine.properties()
    }

    /// Bytes of global memory that nobody has, other processes included.
    ///
    /// # Errors
    /// If the driver does not say.
    pub fn free_memory(&self) -> Result<u64> {
        self.machine.free_memory()
    }

    /// Allocates bytes that nobody has written, aligned to 256. `name` is what reports call them.
    ///
    /// # Errors
    /// If so many are not left.
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

    /// Loads PTX text, or the image of it. `name` is what errors call it.
    ///
    /// # Errors
    /// With the place of what is wrong in the text, or what the device lacks for it; if the file of
    /// its image is no longer what it was.
    pub fn load(&self, name: &str, ptx: &str) -> Result<Module> {
        Module::load(&self.machine, &self.loader, name, ptx)
    }

    /// A new stream: what is launched on it runs in order.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn stream(&self) -> Result<Stream> {
        Stream::new(self.machine.clone())
    }
}
