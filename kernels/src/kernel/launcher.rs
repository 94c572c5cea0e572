//! Launches a kernel by its signature.

use super::signature::{Bounds, BufferOperand, OperandKind};
use super::{Extent, Signature, Sizes};
use crate::kernel::{Dense, LaunchError, Slice};
use mxlab_harness::device::{self, Argument, Device, Geometry, Stream};

/// The operands of one launch: buffers, sizes and numbers, by the names of the signature.
#[derive(Clone, Debug, Default)]
pub struct Call<'a> {
    buffers: Vec<(&'static str, Slice<'a>)>,
    sizes: Sizes,
    numbers: Vec<(&'static str, f32)>,
}

impl<'a> Call<'a> {
    /// A call without operands.
    pub fn new() -> Self {
        Self::default()
    }

    /// A call with these sizes only.
    pub(super) const fn of_sizes(sizes: Sizes) -> Self {
        Self {
            buffers: Vec::new(),
            sizes,
            numbers: Vec::new(),
        }
    }

    /// Adds a buffer, from an offset on. If a name is given twice, the last one counts; the same
    /// holds for sizes.
    #[must_use]
    pub fn buffer(mut self, name: &'static str, slice: Slice<'a>) -> Self {
        self.buffers.retain(|(known, _)| *known != name);
        self.buffers.push((name, slice));
        self
    }

    /// Adds a buffer if there is one.
    #[must_use]
    pub fn optional(self, name: &'static str, slice: Option<Slice<'a>>) -> Self {
        match slice {
            Some(slice) => self.buffer(name, slice),
            None => self,
        }
    }

    /// Adds a buffer of rows, and their stride as a size.
    #[must_use]
    pub fn rows(self, name: &'static str, stride: &'static str, dense: Dense<'a>) -> Self {
        self.buffer(name, dense.first).size(stride, dense.stride)
    }

    /// Adds a size.
    #[must_use]
    pub fn size(mut self, name: &'static str, value: usize) -> Self {
        self.sizes.set(name, value);
        self
    }

    /// Adds sizes.
    #[must_use]
    pub fn sizes(self, sizes: impl IntoIterator<Item = (&'static str, usize)>) -> Self {
        let size = |call: Self, (name, value)| call.size(name, value);
        sizes.into_iter().fold(self, size)
    }

    /// The size `name`, if it was given.
    pub fn size_of(&self, name: &str) -> Option<usize> {
        self.sizes.get(name)
    }

    /// Drops the buffers that the kernel has no operand for.
    #[must_use]
    pub fn of_operands(mut self, signature: &Signature) -> Self {
        let is_known = |name| {
            signature
                .operands()
                .iter()
                .any(|operand| operand.name == name)
        };
        self.buffers.retain(|(name, _)| is_known(*name));
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, name: &'static str, value: f32) -> Self {
        self.numbers.retain(|(known, _)| *known != name);
        self.numbers.push((name, value));
        self
    }
}

/// A kernel on a device, and its signature.
#[derive(Clone, Debug)]
pub struct Launcher {
    signature: Signature,
    kernel: device::Kernel,
}

impl Launcher {
    /// Loads a PTX text that has the entry of the signature.
    ///
    /// # Errors
    /// If the device refuses the text, or the text has no such entry.
    pub fn load(device: &Device, signature: Signature, ptx: &str) -> Result<Self, LaunchError> {
        let kernel = device.load(signature.id(), ptx)?.kernel(signature.id())?;
        Ok(Self { signature, kernel })
    }

    /// The signature.
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Launches the kernel. If the sizes give no thread blocks, the call is checked and nothing is
    /// launched.
    ///
    /// # Errors
    /// [`LaunchError`] if an operand is missing or unknown, a size or a number out of bounds, or a
    /// buffer too small or not aligned.
    pub fn launch(&self, stream: &Stream, call: &Call) -> Result<(), LaunchError> {
        let signature = &self.signature;
        let grid = signature.thread_blocks(&call.sizes)?;
        signature.check_names(call)?;
        if grid.contains(&0) {
            return Ok(());
        }
        let arguments = signature.arguments(call)?;
        let geometry = Geometry {
            grid,
            block: [signature.threads(), 1, 1],
            dynamic_shared: signature.shared_bytes(),
        };
        Ok(stream.launch(&self.kernel, geometry, &arguments)?)
    }
}

impl Signature {
    /// Thread blocks of a launch.
    ///
    /// # Errors
    /// [`LaunchError`] if a size is missing or out of bounds.
    pub fn thread_blocks(&self, sizes: &Sizes) -> Result<[u32; 3], LaunchError> {
        let mut grid = [0; 3];
        for (blocks, extent) in grid.iter_mut().zip(self.grid()) {
            *blocks = self.word("thread blocks", self.value(extent, sizes)?)?;
        }
        for extent in self.numbered() {
            self.word(&extent.to_string(), self.value(extent, sizes)?)?;
        }
        for bounds in self.bounds() {
            self.check_size(bounds, sizes)?;
        }
        Ok(grid)
    }

    /// Checks the operands of a launch.
    ///
    /// # Errors
    /// As [`Launcher::launch`].
    pub fn check(&self, call: &Call) -> Result<(), LaunchError> {
        let grid = self.thread_blocks(&call.sizes)?;
        self.check_names(call)?;
        match grid.contains(&0) {
            true => Ok(()),
            false => self.arguments(call).map(|_| ()),
        }
    }

    fn arguments<'a>(&self, call: &Call<'a>) -> Result<Vec<Argument<'a>>, LaunchError> {
        let sizes = &call.sizes;
        let mut arguments = Vec::with_capacity(self.operands().len());
        for operand in self.operands() {
            let name = operand.name;
            arguments.push(match &operand.kind {
                OperandKind::Buffer(buffer) => match self.slice(name, buffer, call)? {
                    None => Argument::U64(0),
                    Some(slice) => {
                        let elements = self.value(&buffer.extent, sizes)?;
                        let bytes = elements.saturating_mul(buffer.element.bytes());
                        slice.argument(self.id(), name, bytes, buffer.alignment)?
                    }
                },
                OperandKind::Null => Argument::U64(0),
                OperandKind::Size => {
                    let size = sizes.get(name).ok_or_else(|| self.missing(name))?;
                    Argument::U32(self.word(name, size)?)
                }
                OperandKind::Derived(extent) => {
                    Argument::U32(self.word(name, self.value(extent, sizes)?)?)
                }
                OperandKind::Number(bounds) => {
                    let mut given = call.numbers.iter().filter(|(known, _)| *known == name);
                    let &(_, number) = given.next().ok_or_else(|| self.missing(name))?;
                    if !bounds.contains(&number) {
                        let (least, most) = (bounds.start(), bounds.end());
                        return Err(self.layout(format!(
                            "{name} is {number}; expected a number from {least:?} to {most:?}"
                        )));
                    }
                    Argument::F32(number)
                }
            });
        }
        Ok(arguments)
    }

    /// The buffer of an operand; `None` where the kernel does not need one.
    fn slice<'a>(
        &self,
        name: &'static str,
        operand: &BufferOperand,
        call: &Call<'a>,
    ) -> Result<Option<Slice<'a>>, LaunchError> {
        if let Some(parts) = operand.shared_by
            && call.sizes.get(parts).ok_or_else(|| self.missing(parts))? <= 1
        {
            return Ok(None);
        }
        let mut given = call.buffers.iter().filter(|(known, _)| *known == name);
        match given.next() {
            Some((_, slice)) => Ok(Some(*slice)),
            None if operand.is_optional => Ok(None),
            None => Err(self.missing(name)),
        }
    }

    /// Checks that the kernel has an operand for each buffer and number: one without an operand
    /// would be ignored.
    fn check_names(&self, call: &Call) -> Result<(), LaunchError> {
        let operands = self.operands();
        let buffers = call.buffers.iter().map(|(name, _)| name);
        let numbers = call.numbers.iter().map(|(name, _)| name);
        let is_known = |name: &&str| operands.iter().any(|operand| operand.name == *name);
        match buffers.chain(numbers).find(|name| !is_known(name)) {
            None => Ok(()),
            Some(unknown) => {
                let names: Vec<&str> = operands.iter().map(|operand| operand.name).collect();
                let names = names.join(", ");
                Err(self.layout(format!("it has no operand {unknown}; expected {names}")))
            }
        }
    }

    fn value(&self, extent: &Extent, sizes: &Sizes) -> Result<usize, LaunchError> {
        if let Some(name) = extent.missing(sizes) {
            return Err(self.missing(name));
        }
        let too_large = || self.layout(format!("{extent} is more than a launch can have"));
        extent.value(sizes).ok_or_else(too_large)
    }

    fn check_size(&self, bounds: &Bounds, sizes: &Sizes) -> Result<(), LaunchError> {
        let name = bounds.name;
        let size = sizes.get(name).ok_or_else(|| self.missing(name))?;
        let least = self.value(&bounds.least, sizes)?;
        let most = bounds.most.as_ref();
        let most = most.map(|most| self.value(most, sizes)).transpose()?;
        if size >= least
            && most.is_none_or(|most| size <= most)
            && size.is_multiple_of(bounds.multiple_of)
        {
            return Ok(());
        }
        let value = match bounds.least {
            Extent::Constant(_) => String::new(),
            _ => format!(", which is {least}"),
        };
        Err(self.layout(format!("{name} is {size}; expected {bounds}{value}")))
    }

    fn word(&self, what: &str, n: usize) -> Result<u32, LaunchError> {
        let too_many = |_| self.layout(format!("{what} is {n}; expected less than 2^32"));
        u32::try_from(n).map_err(too_many)
    }

    fn missing(&self, operand: &'static str) -> LaunchError {
        LaunchError::Missing {
            kernel: self.id().to_string(),
            operand,
        }
    }

    fn layout(&self, reason: String) -> LaunchError {
        LaunchError::Layout {
            kernel: self.id().to_string(),
            reason,
        }
    }
}
