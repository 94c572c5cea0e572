//! Runs a kernel on a problem, by its signature.
//!
//! Tensors and sizes of the problem have the names of the operands. The size `NAME_offset` is where
//! operand NAME begins in its buffer, in elements. A number is a tensor of one element. Outputs are
//! filled with a pattern before the launch and compared whole. Where the size `in_place` is 1, an
//! operand that may alias an output shares that output's buffer, which holds the operand's value
//! before the launch.

use super::signature::{Access, BufferOperand, OperandKind};
use super::{Call, ElementType, Launcher, Signature, Sizes};
use crate::kernel::{LaunchError, Slice};
use crate::registry::check_elements;
use crate::registry::{
    EntryError, Image, Outputs, Prepared, Problem, ProblemError, Runner, Task, Tensor, download,
};
use mxlab_harness::device::{Buffer, Device, Stream};

/// Loads a kernel to run it on problems. `lower` turns each problem into one whose tensors and
/// sizes are the operands of the signature.
///
/// # Errors
/// If the device refuses the kernel.
pub(crate) fn runner<'a>(
    device: &Device,
    signature: Signature,
    ptx: &str,
    lower: impl Fn(&Problem) -> Result<Problem, EntryError> + 'a,
) -> Result<Box<dyn Runner + 'a>, LaunchError> {
    Ok(Box::new(SignatureRunner {
        device: device.clone(),
        launcher: Launcher::load(device, signature, ptx)?,
        lower: Box::new(lower),
    }))
}

/// The operands of a problem, as a problem.
type Lower<'a> = Box<dyn Fn(&Problem) -> Result<Problem, EntryError> + 'a>;

/// A kernel on a device.
struct SignatureRunner<'a> {
    device: Device,
    launcher: Launcher,
    lower: Lower<'a>,
}

/// A buffer before it is uploaded.
struct Planned {
    name: &'static str,
    access: Access,
    element: ElementType,
    /// Where the operand begins, in bytes.
    offset: usize,
    image: Image,
}

impl Planned {
    fn of(
        name: &'static str,
        buffer: &BufferOperand,
        sizes: &Sizes,
        problem: &Problem,
    ) -> Result<Self, ProblemError> {
        let element = buffer.element;
        let offset = format!("{name}_offset");
        let offset = match problem.sizes.contains_key(&offset) {
            false => 0,
            true => problem.size(&offset)?,
        };
        let image = match buffer.access {
            Access::In | Access::InOut => Image::of(problem, name)?,
            Access::Out | Access::Scratch => {
                let elements = buffer.extent.value(sizes).unwrap_or(usize::MAX);
                let elements = elements.saturating_add(offset);
                check_elements(name, 1, elements.max(1))?;
                Image::untouched(name, elements * element.bytes())
            }
        };
        Ok(Self {
            name,
            access: buffer.access,
            element,
            offset: offset * element.bytes(),
            image,
        })
    }
}

impl Runner for SignatureRunner<'_> {
    fn prepare(&self, problem: &Problem) -> Result<Prepared<'_>, EntryError> {
        let signature = self.launcher.signature();
        let problem = &(self.lower)(problem)?;
        let sizes = sizes_of(signature, problem)?;
        let in_place = problem.sizes.get("in_place") == Some(&1);
        let (mut planned, mut numbers, mut aliases) = (Vec::new(), Vec::new(), Vec::new());
        for operand in signature.operands() {
            let name = operand.name;
            match &operand.kind {
                OperandKind::Buffer(buffer) => {
                    let is_alone = |parts| sizes.get(parts).is_none_or(|parts| parts <= 1);
                    let is_given = !buffer.is_optional || problem.tensors.contains_key(name);
                    match buffer.may_be.filter(|_| in_place && is_given) {
                        Some(output) => aliases.push((name, output)),
                        None if !is_given || buffer.shared_by.is_some_and(is_alone) => {}
                        None => planned.push(Planned::of(name, buffer, &sizes, problem)?),
                    }
                }
                OperandKind::Size | OperandKind::Derived(_) | OperandKind::Null => {}
                OperandKind::Number(_) => {
                    let missing = || ProblemError::Missing(name.to_owned());
                    let value = problem.tensor(name)?.values().first().copied();
                    numbers.push((name, value.ok_or_else(missing)?));
                }
            }
        }
        for &(name, output) in &aliases {
            for planned in planned.iter_mut().filter(|planned| planned.name == output) {
                planned.access = Access::InOut;
                planned.image = Image::of(problem, name)?;
            }
        }
        Ok(Prepared::new(move || {
            let buffers = planned.iter().map(|planned| {
                Ok(Placed {
                    name: planned.name,
                    access: planned.access,
                    element: planned.element,
                    offset: planned.offset,
                    buffer: planned.image.upload(&self.device)?,
                })
            });
            Ok(SignatureTask {
                launcher: self.launcher.clone(),
                sizes: sizes.clone(),
                numbers: numbers.clone(),
                aliases: aliases.clone(),
                buffers: buffers.collect::<Result<_, EntryError>>()?,
            })
        }))
    }
}

/// The sizes of a problem that a signature names: as parameters, in extents, in bounds.
fn sizes_of(signature: &Signature, problem: &Problem) -> Result<Sizes, ProblemError> {
    let mut sizes = Sizes::default();
    let operands = signature.operands().iter();
    let named = operands
        .filter(|operand| matches!(operand.kind, OperandKind::Size))
        .map(|operand| operand.name);
    let bounded = signature.bounds().iter().map(|bounds| bounds.name);
    let operands = signature.operands().iter();
    let shared = operands.filter_map(|operand| match operand.kind {
        OperandKind::Buffer(ref buffer) => buffer.shared_by,
        _ => None,
    });
    for name in named.chain(bounded).chain(shared) {
        sizes.set(name, problem.size(name)?);
    }
    let extents = signature
        .operands()
        .iter()
        .filter_map(|operand| match &operand.kind {
            OperandKind::Buffer(buffer) => Some(&buffer.extent),
            OperandKind::Derived(extent) => Some(extent),
            _ => None,
        });
    let bounds = signature.bounds().iter();
    let bounds = bounds.flat_map(|bounds| std::iter::once(&bounds.least).chain(&bounds.most));
    let numbered = signature.numbered();
    let all = signature.grid().iter().chain(extents).chain(bounds);
    for extent in all.chain(numbered) {
        while let Some(name) = extent.missing(&sizes) {
            sizes.set(name, problem.size(name)?);
        }
    }
    Ok(sizes)
}

/// A buffer and what it is.
struct Placed {
    name: &'static str,
    access: Access,
    element: ElementType,
    offset: usize,
    buffer: Buffer,
}

/// A kernel and one set of buffers.
struct SignatureTask {
    launcher: Launcher,
    sizes: Sizes,
    numbers: Vec<(&'static str, f32)>,
    /// Operands that alias an output, each with that output.
    aliases: Vec<(&'static str, &'static str)>,
    buffers: Vec<Placed>,
}

impl Task for SignatureTask {
    fn launch(&self, stream: &Stream) -> Result<(), EntryError> {
        let mut call = Call::of_sizes(self.sizes.clone());
        for placed in &self.buffers {
            let slice = Slice {
                buffer: &placed.buffer,
                offset: placed.offset,
            };
            let aliases = self.aliases.iter();
            let aliases = aliases.filter(|(_, output)| *output == placed.name);
            call = aliases.fold(call, |call, (name, _)| call.buffer(name, slice));
            call = call.buffer(placed.name, slice);
        }
        for &(name, number) in &self.numbers {
            call = call.number(name, number);
        }
        Ok(self.launcher.launch(stream, &call)?)
    }

    fn written(&self) -> Vec<&Buffer> {
        let written = self.buffers.iter();
        let written = written.filter(|placed| placed.access == Access::Out);
        written.map(|placed| &placed.buffer).collect()
    }

    fn outputs(&self) -> Result<Outputs, EntryError> {
        let written = self.buffers.iter();
        let written = written.filter(|placed| matches!(placed.access, Access::Out | Access::InOut));
        let output = |placed: &Placed| -> Result<(&'static str, Tensor), EntryError> {
            Ok((placed.name, download(&placed.buffer, placed.element)?))
        };
        written.map(output).collect()
    }
}
