//! Kernels on a device, and the buffers that they are launched on.

use super::{ElementType, EntryError, Outputs, Problem, ProblemError, Tensor, UNTOUCHED};
use mxlab_harness::device::{Buffer, Device, DeviceError, Stream};

/// A kernel on a device.
pub trait Runner {
    /// Does the host's work that precedes the buffers of a problem.
    ///
    /// # Errors
    /// If the problem does not fit.
    fn prepare(&self, problem: &Problem) -> Result<Prepared<'_>, EntryError>;

    /// Runs it on a problem, once.
    ///
    /// # Errors
    /// If the problem does not fit, or the device stops the kernel.
    fn run(&self, stream: &Stream, problem: &Problem) -> Result<Outputs, EntryError> {
        let task = self.prepare(problem)?.copy()?;
        task.launch(stream)?;
        stream.synchronize()?;
        task.outputs()
    }
}

/// A problem ready for upload: it makes any number of independent sets of buffers.
pub struct Prepared<'r>(Box<dyn Fn() -> Result<Box<dyn Task>, EntryError> + 'r>);

impl<'r> Prepared<'r> {
    /// From a function that makes a set of buffers each time.
    pub fn new<T: Task + 'static>(copy: impl Fn() -> Result<T, EntryError> + 'r) -> Self {
        Self(Box::new(move || Ok(Box::new(copy()?))))
    }

    /// Another set of buffers: inputs uploaded, outputs filled with [`UNTOUCHED`].
    ///
    /// # Errors
    /// If the device has no room.
    pub fn copy(&self) -> Result<Box<dyn Task>, EntryError> {
        (self.0)()
    }
}

/// A kernel and one set of buffers.
pub trait Task {
    /// Launches the kernel and does nothing else: no allocation on the device, no copy, no wait.
    /// [`Stream::record_graph`] can record it, and it can be launched any number of times.
    ///
    /// Each launch gives the same outputs, except in place (`in_place` is 1): then it reads what
    /// the launch before has written.
    ///
    /// # Errors
    /// If the buffers do not fit the kernel, or the device stops it.
    fn launch(&self, stream: &Stream) -> Result<(), EntryError>;

    /// The buffers that each launch writes without reading them. Counters, which a launch leaves as
    /// it found them, and tensors changed in place are not among them.
    fn written(&self) -> Vec<&Buffer>;

    /// Fills the buffers that launches write with [`UNTOUCHED`] again, after all earlier launches.
    ///
    /// # Errors
    /// If an earlier launch failed.
    fn clear(&self) -> Result<(), EntryError> {
        for buffer in self.written() {
            buffer.write(0, &vec![UNTOUCHED; buffer.bytes()])?;
        }
        Ok(())
    }

    /// What the launches wrote. Their streams must have been synchronised.
    ///
    /// # Errors
    /// If a launch failed.
    fn outputs(&self) -> Result<Outputs, EntryError>;
}

/// The contents of a buffer before the first launch.
pub(crate) struct Image {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Image {
    pub const fn new(name: &'static str, bytes: Vec<u8>) -> Self {
        Self { name, bytes }
    }

    /// A tensor of a problem.
    pub fn of(problem: &Problem, name: &'static str) -> Result<Self, ProblemError> {
        Ok(Self::new(name, problem.tensor(name)?.to_bytes()))
    }

    /// Nothing yet.
    pub fn untouched(name: &'static str, bytes: usize) -> Self {
        Self::new(name, vec![UNTOUCHED; bytes])
    }

    pub fn upload(&self, device: &Device) -> Result<Buffer, DeviceError> {
        device.upload(self.name, &self.bytes)
    }
}

/// Downloads a buffer.
pub(crate) fn download(buffer: &Buffer, element: ElementType) -> Result<Tensor, EntryError> {
    Ok(Tensor::from_bytes(element, &buffer.download::<u8>()?)?)
}
