//! Running a kernel on a problem by its signature.
//!
//! Tensors and sizes of the problem have the names of the operands. A size `NAME_offset` says, in
//! elements, where operand NAME begins in its buffer; a number is a tensor of one element. Outputs
//! are filled with a pattern before the launch and compared whole.

use super::signature::{Access, OperandKind};
use super::{Call, ElementType, Launcher, Signature, Sizes};
use crate::launch::{LaunchError, Slice};
use crate::registry::check_elements;
use crate::registry::{
    EntryError, Image, Outputs, Prepared, Problem, ProblemError, Runner, Task, Tensor, download,
};
use mxlab_harness::device::{Buffer, Device, Stream};

/// Loads a kernel to be run on problems whose tensors and sizes are its operands.
///
/// # Errors
/// If the device does not take it.
pub fn runner(
    device: &Device,
    signature: Signature,
    ptx: &str,
) -> Result<Box<dyn Runner>, LaunchError> {
    lowered_runner(device, signature, ptx, |problem| Ok(problem.clone()))
}

/// Loads a kernel to be run on problems from which its operands follow: `lower` makes a problem
/// that has them, such as codes in the order of fragments.
///
/// # Errors
/// If the device does not take it.
pub fn lowered_runner(
    device: &Device,
    signature: Signature,
    ptx: &str,
    lower: impl Fn(&Problem) -> Result<Problem, EntryError> + 'static,
) -> Result<Box<dyn Runner>, LaunchError> {
    Ok(Box::new(SignatureRunner {
        device: device.clone(),
        launcher: Launcher::load(device, signature, ptx)?,
        lower: Box::new(lower),
    }))
}

/// The operands of a problem, as a problem.
type Lower = Box<dyn Fn(&Problem) -> Result<Problem, EntryError>>;

/// A kernel on a device.
struct SignatureRunner {
    device: Device,
    launcher: Launcher,
    lower: Lower,
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

impl Runner for SignatureRunner {
    fn prepare(&self, problem: &Problem) -> Result<Prepared<'_>, EntryError> {
        let signature = self.launcher.signature();
        let problem = &(self.lower)(problem)?;
        let sizes = sizes_of(signature, problem)?;
        let (mut planned, mut numbers) = (Vec::new(), Vec::new());
        for operand in signature.operands() {
            let name = operand.name;
            match &operand.kind {
                OperandKind::Buffer {
                    access,
                    element,
                    extent,
                    ..
                } => {
                    let image = match access {
                        Access::In | Access::InOut => Image::of(problem, name)?,
                        Access::Out | Access::Scratch => {
                            let elements = extent.value(&sizes).unwrap_or(usize::MAX);
                            check_elements(name, 1, elements.max(1))?;
                            Image::untouched(name, elements * element.bytes())
                        }
                    };
                    let offset = match problem.sizes.get(&format!("{name}_offset")) {
                        None => 0,
                        Some(_) => problem.size(&format!("{name}_offset"))?,
                    };
                    planned.push(Planned {
                        name,
                        access: *access,
                        element: *element,
                        offset: offset * element.bytes(),
                        image,
                    });
                }
                OperandKind::Size | OperandKind::Null => {}
                OperandKind::Number(_) => {
                    let missing = || ProblemError::Missing(name.to_owned());
                    let value = problem.tensor(name)?.values().first().copied();
                    numbers.push((name, value.ok_or_else(missing)?));
                }
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
        OperandKind::Buffer { shared_by, .. } => shared_by,
        _ => None,
    });
    for name in named.chain(bounded).chain(shared) {
        sizes.set(name, problem.size(name)?);
    }
    let extents = signature
        .operands()
        .iter()
        .filter_map(|operand| match &operand.kind {
            OperandKind::Buffer { extent, .. } => Some(extent),
            _ => None,
        });
    let least = signature.bounds().iter().map(|bounds| &bounds.least);
    let numbered = signature.numbered();
    let all = signature.grid().iter().chain(extents).chain(least);
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
