//! Launcher of the block operations: tensor_scale, scale, round, quantize, dequantize, fake_quantize.

use super::{Addressing, BlockOperation, BlockVariant, Target};
use crate::format::{BlockFormat, FloatType};
use crate::launch::{Dense, LaunchError, Slice};
use crate::ptx::VariantError;
use mxlab_harness::device::{Argument, Buffer, Device, Geometry, Kernel, Stream};
use std::num::NonZeroU32;
use std::sync::OnceLock;

/// What a kernel of a block operation works on: a [rows, cols] tensor.
///
/// An operation reads and writes the parts that the parameter table of [`BlockVariant`] names; those must
/// be given, others are ignored.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockOperands<'a> {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// The dense tensor that is read.
    pub src: Option<Dense<'a>>,
    /// The dense tensor that is written; may be `src`.
    pub dst: Option<Dense<'a>>,
    /// Codes, packed as in [`crate::format::PackedTensor`].
    pub codes: Option<Slice<'a>>,
    /// Scales, as in [`crate::format::PackedTensor`].
    pub scales: Option<Slice<'a>>,
    /// The f32 that scales the tensor, where the format has one; `TensorScale` writes it.
    pub tensor_scale: Option<&'a Buffer>,
    /// Of `TensorScale`: 8 bytes of zeros, which they are again afterwards.
    pub workspace: Option<&'a Buffer>,
    /// Of `TensorScale`, which walks over the tensor: thread blocks at most, if fewer than it would
    /// take.
    pub max_blocks: Option<NonZeroU32>,
    /// The row of the whole tensor that these rows start at, for stochastic rounding.
    pub first_row: usize,
    /// Chooses the random numbers of stochastic rounding.
    pub seed: u32,
}

/// One kernel, loaded.
#[derive(Clone, Debug)]
pub struct BlockKernel {
    variant: BlockVariant,
    id: String,
    kernel: Kernel,
}

impl BlockKernel {
    /// Renders a kernel and loads it.
    ///
    /// # Errors
    /// If the device does not take it.
    pub fn load(device: &Device, variant: BlockVariant) -> Result<Self, LaunchError> {
        Self::of_text(device, variant, &variant.text())
    }

    /// Loads a kernel from a text that stands for [`BlockVariant::text`]'s.
    ///
    /// # Errors
    /// If the device does not take it, or the text has no entry of that name.
    pub fn of_text(device: &Device, variant: BlockVariant, ptx: &str) -> Result<Self, LaunchError> {
        let id = variant.id();
        let kernel = device.load(&id, ptx)?.kernel(&id)?;
        Ok(Self {
            variant,
            id,
            kernel,
        })
    }

    /// The kernel as the device knows it.
    pub const fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Launches it; nothing happens for a tensor without elements.
    ///
    /// # Errors
    /// [`LaunchError`] if an operand is missing, too small or not laid out as the kernel needs.
    pub fn launch(&self, stream: &Stream, operands: &BlockOperands) -> Result<(), LaunchError> {
        let (variant, rows, cols) = (&self.variant, operands.rows, operands.cols);
        let mut blocks = variant.grid(rows, cols)?;
        if let (BlockOperation::TensorScale, Some(most)) =
            (variant.operation(), operands.max_blocks)
        {
            blocks = blocks.min(most.get());
        }
        if blocks == 0 {
            return Ok(());
        }
        if variant.addressing() == Addressing::Aligned
            && let Some(reason) = unaligned(variant, operands)
        {
            let kernel = self.id.clone();
            return Err(LaunchError::Layout { kernel, reason });
        }
        let arguments = self.arguments(operands)?;
        let geometry = Geometry {
            grid: [blocks, 1, 1],
            block: [variant.block_threads(), 1, 1],
            dynamic_shared: 0,
        };
        Ok(stream.launch(&self.kernel, geometry, &arguments)?)
    }

    /// The parameters, in the order of [`BlockVariant`]'s table.
    fn arguments<'a>(
        &self,
        operands: &BlockOperands<'a>,
    ) -> Result<Vec<Argument<'a>>, LaunchError> {
        let (operation, format) = (self.variant.operation(), self.variant.format());
        let (codes_bytes, scales_bytes) = format.packed_bytes(operands.rows, operands.cols);
        let tensor_scale_bytes = if format.has_tensor_scale() { 4 } else { 0 };
        let scales_bytes = scales_bytes - tensor_scale_bytes;
        let scale_bytes = format.scale().storage_bytes();
        let codes = || self.slice("codes", operands.codes, codes_bytes, 1);
        let scales = || self.slice("scales", operands.scales, scales_bytes, scale_bytes);
        let src = || self.dense("src", operands.src, operands);
        let dst = || self.dense("dst", operands.dst, operands);
        let whole = |name, buffer: Option<&'a Buffer>, bytes| {
            let slice = buffer.map(|buffer| Slice { buffer, offset: 0 });
            self.slice(name, slice, bytes, 4)
        };
        let tensor_scale = || whole("tensor_scale", operands.tensor_scale, 4);
        let mut arguments = match operation {
            BlockOperation::TensorScale => {
                let workspace = whole("workspace", operands.workspace, 8)?;
                vec![tensor_scale()?, workspace, src()?]
            }
            BlockOperation::Scale => vec![scales()?, src()?],
            BlockOperation::Round => vec![codes()?, src()?, scales()?],
            BlockOperation::Quantize => vec![codes()?, scales()?, src()?],
            BlockOperation::Dequantize => vec![dst()?, codes()?, scales()?],
            BlockOperation::FakeQuantize => vec![dst()?, src()?],
        };
        if self.variant.reads_tensor_scale() {
            arguments.push(tensor_scale()?);
        }
        let stride = |what, dense: Option<Dense>| {
            let stride = dense.map_or(0, |dense| dense.stride);
            self.number(what, stride)
        };
        arguments.push(self.number("rows", operands.rows)?);
        arguments.push(self.number("cols", operands.cols)?);
        if matches!(
            operation,
            BlockOperation::Dequantize | BlockOperation::FakeQuantize
        ) {
            arguments.push(stride("dst_stride", operands.dst)?);
        }
        if operation != BlockOperation::Dequantize {
            arguments.push(stride("src_stride", operands.src)?);
        }
        if self.variant.is_random() {
            arguments.push(self.number("first_row", operands.first_row)?);
            arguments.push(Argument::U32(operands.seed));
        }
        Ok(arguments)
    }

    fn number<'a>(&self, what: &'static str, n: usize) -> Result<Argument<'a>, LaunchError> {
        let too_large = |_| LaunchError::Layout {
            kernel: self.id.clone(),
            reason: format!("{what} = {n} does not fit 32 bits"),
        };
        u32::try_from(n).map(Argument::U32).map_err(too_large)
    }

    /// A pointer to `bytes` bytes, aligned to `alignment`.
    fn slice<'a>(
        &self,
        operand: &'static str,
        slice: Option<Slice<'a>>,
        bytes: usize,
        alignment: usize,
    ) -> Result<Argument<'a>, LaunchError> {
        let missing = || LaunchError::Missing {
            kernel: self.id.clone(),
            operand,
        };
        slice
            .ok_or_else(missing)?
            .argument(&self.id, operand, bytes, alignment)
    }

    fn dense<'a>(
        &self,
        operand: &'static str,
        dense: Option<Dense<'a>>,
        operands: &BlockOperands,
    ) -> Result<Argument<'a>, LaunchError> {
        let stride = dense.map_or(operands.cols, |dense| dense.stride);
        if stride < operands.cols {
            return Err(LaunchError::Layout {
                kernel: self.id.clone(),
                reason: format!("{operand}: {stride} elements from row to row are less than cols"),
            });
        }
        let elements = (operands.rows - 1)
            .saturating_mul(stride)
            .saturating_add(operands.cols);
        let width = self.variant.dense().bytes();
        let first = dense.map(|dense| dense.first);
        self.slice(operand, first, elements.saturating_mul(width), width)
    }
}

/// Why [`Addressing::Aligned`] is not possible; `None` if it is.
fn unaligned(variant: &BlockVariant, operands: &BlockOperands) -> Option<String> {
    let k = variant.format().block_size();
    if !operands.cols.is_multiple_of(k) {
        return Some(format!("{} columns are no multiple of {k}", operands.cols));
    }
    let operation = variant.operation();
    let reads = operation != BlockOperation::Dequantize;
    let writes = matches!(
        operation,
        BlockOperation::Dequantize | BlockOperation::FakeQuantize
    );
    let packs = matches!(
        operation,
        BlockOperation::Round | BlockOperation::Quantize | BlockOperation::Dequantize
    );
    let src = operands.src.filter(|_| reads).map(|dense| ("src", dense));
    let dst = operands.dst.filter(|_| writes).map(|dense| ("dst", dense));
    for (name, dense) in [src, dst].into_iter().flatten() {
        if dense.stride != operands.cols && operands.rows > 1 {
            return Some(format!("the rows of {name} are not contiguous"));
        }
        if !address(dense.first).is_multiple_of(16) {
            return Some(format!("{name} is not aligned to 16 bytes"));
        }
    }
    let codes = operands.codes.filter(|_| packs);
    if codes.is_some_and(|codes| !address(codes).is_multiple_of(8)) {
        return Some("codes are not aligned to 8 bytes".to_owned());
    }
    None
}

fn address(slice: Slice) -> u64 {
    slice.buffer.address() + slice.offset as u64
}

/// The kernels of an operation for a format, by the conversions that the device has: the fast one where
/// the operands allow it, else the one for any layout. Each is loaded when it is first needed.
#[derive(Debug)]
pub struct BlockLauncher {
    device: Device,
    variants: [BlockVariant; 2],
    loaded: [OnceLock<BlockKernel>; 2],
}

impl BlockLauncher {
    /// The kernels of `operation`; `dense` is the type of the tensor that is not packed.
    ///
    /// # Errors
    /// [`VariantError`] if there are none.
    pub fn new(
        device: &Device,
        operation: BlockOperation,
        format: BlockFormat,
        dense: FloatType,
    ) -> Result<Self, VariantError> {
        let sm = device.properties().sm;
        let variant = |addressing| {
            let portable = BlockVariant::new(operation, format, dense, addressing)?;
            let targets = Target::ALL.into_iter().filter(|target| target.runs_on(sm));
            let mut converting = targets.filter_map(|target| portable.with_conversions(target));
            Ok::<_, VariantError>(converting.next_back().unwrap_or(portable))
        };
        Ok(Self {
            device: device.clone(),
            variants: [variant(Addressing::Aligned)?, variant(Addressing::Ragged)?],
            loaded: [OnceLock::new(), OnceLock::new()],
        })
    }

    /// The variant for these operands.
    pub fn pick(&self, operands: &BlockOperands) -> &BlockVariant {
        &self.variants[self.index(operands)]
    }

    fn index(&self, operands: &BlockOperands) -> usize {
        usize::from(unaligned(&self.variants[0], operands).is_some())
    }

    /// Launches the variant for these operands.
    ///
    /// # Errors
    /// [`LaunchError`] if the operands do not fit together, or the device refuses.
    pub fn launch(&self, stream: &Stream, operands: &BlockOperands) -> Result<(), LaunchError> {
        let index = self.index(operands);
        let slot = &self.loaded[index];
        let kernel = match slot.get() {
            Some(kernel) => kernel,
            None => {
                let kernel = BlockKernel::load(&self.device, self.variants[index])?;
                slot.get_or_init(|| kernel)
            }
        };
        kernel.launch(stream, operands)
    }
}
