//! Errors of devices.

use super::ImagesError;
use ptx_emulator::launch::LaunchError;
use ptx_emulator::lower::ProgramError;
use ptx_emulator::memory::global::MemoryError;
use ptx_emulator::syntax::ParseError;

/// Why a call to a device failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeviceError {
    /// Not the name of a device.
    #[error(
        "unknown device `{0}`; expected auto, cuda, cuda:N, emulator, cpu or \
         emulator:lost-by-faults"
    )]
    UnknownChoice(String),
    /// The CPU was asked to run a kernel.
    #[error("device `cpu` cannot run PTX; use `emulator` or `cuda`")]
    RunsNoPtx,
    /// There is no driver, or none that can be used.
    #[error("no CUDA: {reason}")]
    NoDriver {
        /// What was looked for.
        reason: String,
    },
    /// A driver is present but cannot be used.
    #[error("the CUDA driver cannot be used: {reason}")]
    UnusableDriver {
        /// What was found, what was expected, what to do.
        reason: String,
    },
    /// The driver has no such device.
    #[error("no CUDA device {ordinal}: the driver has {count}, numbered from 0")]
    NoDevice {
        /// The requested number.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// Memory of the device is used up.
    #[error(
        "device out of memory{}: {asked} bytes asked for `{name}`, {free} of {total} are free",
        code.map(|code| format!(" ({code})")).unwrap_or_default()
    )]
    OutOfMemory {
        /// The driver's name of the error, if it was one of the driver.
        code: Option<&'static str>,
        /// The name of the buffer.
        name: String,
        /// The requested bytes.
        asked: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes that there are.
        total: u64,
    },
    /// A copy is not inside its buffer.
    #[error("bytes {first}..{end} are not inside `{name}`, which has {bytes}")]
    OutsideBuffer {
        /// The buffer.
        name: String,
        /// First byte.
        first: usize,
        /// Byte after the last.
        end: usize,
        /// Bytes of the buffer.
        bytes: usize,
    },
    /// The text is not PTX.
    #[error("{module}:{reason}")]
    Syntax {
        /// The module.
        module: String,
        /// Where and why.
        reason: ParseError,
    },
    /// The text uses something that the emulator does not support.
    #[error("{module}:{reason}")]
    Unsupported {
        /// The module.
        module: String,
        /// Where and why.
        reason: ProgramError,
    },
    /// The module is for another chip.
    #[error("{module} is for {target}, the device is sm_{sm}")]
    Target {
        /// The module.
        module: String,
        /// `.target` of the module.
        target: String,
        /// The device's.
        sm: u32,
    },
    /// The driver's compiler refuses the text.
    #[error("{module}: the driver refuses the text: {log}")]
    Compile {
        /// The module.
        module: String,
        /// What it says.
        log: String,
    },
    /// The images have changed since they were opened.
    #[error(transparent)]
    Images(#[from] ImagesError),
    /// The module has no such kernel.
    #[error("{module} has no kernel `{entry}`; it has {known}")]
    NoKernel {
        /// The module.
        module: String,
        /// The requested name.
        entry: String,
        /// The names it has.
        known: String,
    },
    /// The arguments are not those that the kernel declares.
    #[error("{kernel}: {reason}")]
    Arguments {
        /// The kernel.
        kernel: String,
        /// What does not fit.
        reason: String,
    },
    /// Objects of different devices were used together.
    #[error("{0} belongs to another device")]
    OtherDevice(String),
    /// The host asked for pinned memory that a copy is using.
    #[error("a copy of this pinned memory is under way; synchronise its stream first")]
    UnderWay,
    /// Only launches are recorded.
    #[error("a stream whose launches are being recorded cannot {0}")]
    Recording(&'static str),
    /// The vendor's library does not support the product.
    #[error("a product of {rows} rows, {cols} columns, {tokens} tokens: sizes are 1 to 2^31 - 1")]
    Product {
        /// Rows of W.
        rows: usize,
        /// Columns of both.
        cols: usize,
        /// Rows of x.
        tokens: usize,
    },
    /// Too many threads, blocks or bytes of shared memory, or none.
    #[error("{kernel}: {reason}")]
    Geometry {
        /// The kernel.
        kernel: String,
        /// What does not fit.
        reason: String,
    },
    /// The sanitizer stopped the kernel.
    #[error(transparent)]
    Sanitizer(#[from] LaunchError),
    /// The host used memory of the emulator wrongly.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A kernel did not end in time. Every later call returns this error again.
    #[error(
        "`{kernel}`, launched last, did not end within {seconds} s; the device is lost to this \
         process"
    )]
    Watchdog {
        /// The kernel launched last.
        kernel: String,
        /// The limit.
        seconds: f32,
    },
    /// A kernel broke the context. Every later call returns this error again.
    #[error("{}: {reason}; the device is lost to this process", guilty(kernels, *launches))]
    Lost {
        /// The kernels that may have broken it: the first few launched since the last
        /// synchronisation, each run of one kernel once.
        kernels: Vec<String>,
        /// Launches of them.
        launches: u64,
        /// What the driver says.
        reason: String,
    },
    /// Any other error of the driver.
    #[error("CUDA driver: {call}: {reason}")]
    Driver {
        /// The call.
        call: &'static str,
        /// What it says.
        reason: String,
    },
    /// The emulator has no clock of the device.
    #[error("the emulator cannot measure device time; time it on the host")]
    NoClock,
}

impl DeviceError {
    /// Whether the device is lost to this process: each later call fails, whatever it is.
    pub const fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Watchdog { .. })
    }

    /// Whether the failure is of the device, its driver, its memory or a file of its images, and
    /// not of a kernel and its text.
    pub const fn is_of_device(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. }
                | Self::Watchdog { .. }
                | Self::OutOfMemory { .. }
                | Self::Driver { .. }
                | Self::NoDriver { .. }
                | Self::NoDevice { .. }
                | Self::UnusableDriver { .. }
                | Self::Images(_)
        )
    }
}

/// The kernels that may have broken a context, as text.
fn guilty(kernels: &[String], launches: u64) -> String {
    match (kernels, launches) {
        ([], _) => "the device failed, no kernel was under way".to_owned(),
        ([kernel], _) => format!("`{kernel}` failed"),
        _ => format!(
            "one of {launches} launches failed ({}; CUDA_LAUNCH_BLOCKING=1 tells which)",
            kernels.join(", ")
        ),
    }
}
