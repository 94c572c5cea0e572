//! Modules and the kernels in them.

use super::loader::{Handle, Loader};
use super::machine::{Machine, Text};
use super::{Buffer, Code, DeviceError, Geometry, Result};
use ptx_emulator::launch::Limits;
use ptx_emulator::syntax::ast::Module as Tree;
use ptx_emulator::syntax::parse;
use serde::Serialize;
use std::sync::Arc;

/// PTX, loaded.
#[derive(Clone, Debug)]
pub struct Module(Arc<Loaded>);

#[derive(Debug)]
struct Loaded {
    handle: Arc<Handle>,
    code: Code,
    name: String,
    entries: Vec<Signature>,
}

/// The declarations of a kernel.
#[derive(Clone, Debug)]
struct Signature {
    entry: String,
    /// Offset and size of each parameter.
    parameters: Vec<(usize, usize)>,
    required_threads: Option<[u32; 3]>,
    maximum_threads: Option<[u32; 3]>,
}

/// A kernel of a module, which it keeps loaded.
#[derive(Clone, Debug)]
pub struct Kernel {
    module: Arc<Loaded>,
    handle: u64,
    signature: Signature,
    attributes: KernelAttributes,
}

/// The resources that a kernel takes of a multiprocessor; `None` where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KernelAttributes {
    /// Registers of a thread.
    pub registers: Option<u32>,
    /// Bytes of static shared memory of a block.
    pub static_shared: u32,
    /// Bytes of local memory of a thread: spills, and arrays in local memory.
    pub local: Option<u32>,
    /// Threads of a block, at most.
    pub max_threads: Option<u32>,
}

/// An argument of a launch.
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    /// The address of a buffer.
    Buffer(&'a Buffer),
    /// The address of a byte of a buffer.
    BufferAt(&'a Buffer, usize),
    /// 32 bits.
    U32(u32),
    /// 64 bits.
    U64(u64),
    /// A float.
    F32(f32),
}

impl Module {
    pub(super) fn load(
        machine: &Arc<dyn Machine>,
        loader: &Loader,
        name: &str,
        ptx: &str,
    ) -> Result<Self> {
        let tree = parse(ptx).map_err(|reason| DeviceError::Syntax {
            module: name.to_owned(),
            reason,
        })?;
        check_target(&tree, name, machine.properties())?;
        let entries = tree.functions.iter().filter(|function| function.is_entry);
        let entries = entries.map(|function| Signature {
            entry: function.name.clone(),
            parameters: layout(&function.parameters),
            required_threads: function.required_threads,
            maximum_threads: function.maximum_threads,
        });
        let entries: Vec<Signature> = entries.collect();
        let names: Vec<&str> = entries.iter().map(|s| s.entry.as_str()).collect();
        let text = Text {
            name,
            ptx,
            tree: &tree,
        };
        let (handle, code) = loader.load(machine, &text, &names)?;
        Ok(Self(Arc::new(Loaded {
            handle,
            code,
            name: name.to_owned(),
            entries,
        })))
    }

    /// Where its machine code came from.
    pub fn code(&self) -> &Code {
        &self.0.code
    }

    /// A kernel by the name of its entry.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn kernel(&self, entry: &str) -> Result<Kernel> {
        let mut entries = self.0.entries.iter();
        let Some(signature) = entries.find(|signature| signature.entry == entry) else {
            let known: Vec<&str> = self.0.entries.iter().map(|s| s.entry.as_str()).collect();
            return Err(DeviceError::NoKernel {
                module: self.0.name.clone(),
                entry: entry.to_owned(),
                known: known.join(", "),
            });
        };
        let (handle, attributes) = self.0.handle.machine.kernel(self.0.handle.module, entry)?;
        Ok(Kernel {
            module: self.0.clone(),
            handle,
            signature: signature.clone(),
            attributes,
        })
    }
}

/// Checks that the device runs the target of the module.
fn check_target(tree: &Tree, module: &str, properties: &super::Properties) -> Result<()> {
    let target = tree.target.first().map_or("", String::as_str);
    match properties.runs(target) {
        true => Ok(()),
        false => Err(DeviceError::Target {
            module: module.to_owned(),
            target: target.to_owned(),
            sm: properties.sm,
        }),
    }
}

/// Offsets and sizes of parameters, each aligned as it declares.
fn layout(parameters: &[ptx_emulator::syntax::ast::Variable]) -> Vec<(usize, usize)> {
    let mut end = 0usize;
    let mut place = |parameter: &ptx_emulator::syntax::ast::Variable| {
        let bytes = parameter.ty.bytes() as usize * parameter.elements.max(1) as usize;
        let offset = end.next_multiple_of(parameter.alignment.max(1) as usize);
        end = offset + bytes;
        (offset, bytes)
    };
    parameters.iter().map(&mut place).collect()
}

impl Kernel {
    /// The name of its entry.
    pub fn entry(&self) -> &str {
        &self.signature.entry
    }

    /// Where its machine code came from.
    pub fn code(&self) -> &Code {
        &self.module.code
    }

    /// The resources that it takes of a multiprocessor.
    pub const fn attributes(&self) -> &KernelAttributes {
        &self.attributes
    }

    /// How many blocks of it a multiprocessor runs at once; `None` on the emulator.
    ///
    /// # Errors
    /// If the driver refuses.
    pub fn blocks_per_multiprocessor(
        &self,
        threads: u32,
        dynamic_shared: u32,
    ) -> Result<Option<u32>> {
        let machine = self.machine();
        machine.blocks_per_multiprocessor(self.handle, &self.attributes, threads, dynamic_shared)
    }

    pub(super) fn machine(&self) -> &Arc<dyn Machine> {
        &self.module.handle.machine
    }

    pub(super) fn handles(&self) -> (u64, u64) {
        (self.module.handle.module, self.handle)
    }

    /// Where each parameter begins in the parameter block.
    pub(super) fn offsets(&self) -> Vec<usize> {
        let parameters = self.signature.parameters.iter();
        parameters.map(|&(offset, _)| offset).collect()
    }

    /// The parameter block of these arguments.
    pub(super) fn parameters(&self, arguments: &[Argument]) -> Result<Vec<u8>> {
        let wrong = |reason: String| DeviceError::Arguments {
            kernel: self.entry().to_owned(),
            reason,
        };
        let parameters = &self.signature.parameters;
        if arguments.len() != parameters.len() {
            let (given, declared) = (arguments.len(), parameters.len());
            return Err(wrong(format!(
                "{given} arguments given, {declared} declared"
            )));
        }
        let mut block = Vec::new();
        for (i, (argument, &(offset, bytes))) in arguments.iter().zip(parameters).enumerate() {
            let value = match *argument {
                Argument::Buffer(buffer) | Argument::BufferAt(buffer, _)
                    if !buffer.is_of(self.machine()) =>
                {
                    let what = format!("`{}`, an argument of `{}`,", buffer.name(), self.entry());
                    return Err(DeviceError::OtherDevice(what));
                }
                Argument::Buffer(buffer) => buffer.address().to_le_bytes().to_vec(),
                Argument::BufferAt(buffer, offset) => {
                    buffer.check(offset, 0)?;
                    (buffer.address() + offset as u64).to_le_bytes().to_vec()
                }
                Argument::U32(value) => value.to_le_bytes().to_vec(),
                Argument::U64(value) => value.to_le_bytes().to_vec(),
                Argument::F32(value) => value.to_le_bytes().to_vec(),
            };
            if value.len() != bytes {
                let given = value.len();
                return Err(wrong(format!(
                    "argument {i} has {given} bytes, the parameter {bytes}"
                )));
            }
            block.resize(offset, 0);
            block.extend(value);
        }
        Ok(block)
    }

    /// Checks a geometry that any device would refuse.
    pub(super) fn check(&self, geometry: Geometry) -> Result<()> {
        let properties = self.machine().properties();
        let limits = Limits {
            threads: self
                .attributes
                .max_threads
                .unwrap_or(properties.max_threads),
            shared: properties.max_shared,
            static_shared: self.attributes.static_shared,
            required_threads: self.signature.required_threads,
            maximum_threads: self.signature.maximum_threads,
        };
        let checked = geometry.check(&limits);
        checked.map_err(|reason| DeviceError::Geometry {
            kernel: self.entry().to_owned(),
            reason,
        })
    }
}
