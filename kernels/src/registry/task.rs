//! Kernels on a device, and what they are launched on there.

use super::{ElementType, EntryError, Outputs, Problem, ProblemError, Tensor, UNTOUCHED};
use mxlab_harness::device::{Buffer, Device, DeviceError, Stream};

/// A kernel on a device.
pub trait Runner {
    /// Does what is to be done on the host before there can be buffers for a problem.
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

/// A problem as buffers take it: any number of independent sets of them can be made.
pub struct Prepared<'r>(Box<dyn Fn() -> Result<Box<dyn Task>, EntryError> + 'r>);

impl<'r> Prepared<'r> {
    /// What makes a set of buffers each time it is called.
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
    /// Launches the kernel and does nothing else: no allocation on the device, no copy, no waiting.
    /// It can be recorded by [`Stream::record_graph`], and launched any number of times.
    ///
    /// Each launch gives the same outputs, but for problems that are worked on in place (`in_place`
    /// is 1): these take what the launch before has written.
    ///
    /// # Errors
    /// If the buffers do not lie as the kernel needs, or the device stops it.
    fn launch(&self, stream: &Stream) -> Result<(), EntryError>;

    /// The buffers that each launch writes without reading them: neither counters, which a launch
    /// leaves as it found them, nor tensors that are worked on in place.
    fn written(&self) -> Vec<&Buffer>;

    /// Fills what launches write with [`UNTOUCHED`], after all launches before, as it was before
    /// the first.
    ///
    /// # Errors
    /// If a launch before went wrong.
    fn clear(&self) -> Result<(), EntryError> {
        for buffer in self.written() {
            buffer.write(0, &vec![UNTOUCHED; buffer.bytes()])?;
        }
        Ok(())
    }

    /// What the launches wrote; the streams that they are on have been synchronised.
    ///
    /// # Errors
    /// If one of them went wrong.
    fn outputs(&self) -> Result<Outputs, EntryError>;
}

/// What a buffer holds before the first launch.
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

/// What a buffer holds.
pub(crate) fn download(buffer: &Buffer, element: ElementType) -> Result<Tensor, EntryError> {
    Ok(Tensor::from_bytes(element, &buffer.download::<u8>()?)?)
}
