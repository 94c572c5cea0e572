//! Launcher of one shuffle kernel.

use super::ShuffleVariant;
use super::fault::{PLACE_BITS, ROW_BITS};
use crate::format::{ScaleFormat, packed_row_bytes};
use crate::fragment::{CHUNK, FragmentFormat, TILE, WeightFormat};
use crate::launch::{LaunchError, Loaded, Slice};
use mxlab_harness::device::{Argument, Device, Geometry, Stream};

/// What a kernel works on; it takes the parts that the table of [`ShuffleVariant`] names.
#[derive(Clone, Copy, Debug)]
pub struct ShuffleOperands<'a> {
    /// The format of the weights.
    pub format: WeightFormat,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Codes or scales, as in [`crate::format::PackedTensor`], or bf16.
    pub src: Slice<'a>,
    /// Bytes from row to row of codes.
    pub src_stride: usize,
    /// Codes or scales in the order of [`crate::fragment`].
    pub dst: Option<Slice<'a>>,
    /// Tiles of others in dst after each.
    pub skip: usize,
    /// One u64, [`ShuffleFault::NONE`](super::ShuffleFault::NONE) before.
    pub fault: Option<Slice<'a>>,
    /// One u32, 0 before the scan: the largest scale code.
    pub largest: Option<Slice<'a>>,
}

/// One kernel, loaded.
#[derive(Clone, Debug)]
pub struct ShuffleKernel {
    variant: ShuffleVariant,
    pub(super) loaded: Loaded,
}

impl ShuffleKernel {
    /// Renders a kernel and loads it.
    ///
    /// # Errors
    /// If the device does not take it.
    pub fn load(device: &Device, variant: ShuffleVariant) -> Result<Self, LaunchError> {
        Self::of_text(device, variant, &variant.render())
    }

    /// Loads a kernel from a text that stands for [`ShuffleVariant::render`]'s.
    ///
    /// # Errors
    /// If the device does not take it, or the text has no entry of that name.
    pub fn of_text(
        device: &Device,
        variant: ShuffleVariant,
        ptx: &str,
    ) -> Result<Self, LaunchError> {
        let loaded = Loaded::of_text(device, variant.id(), ptx)?;
        Ok(Self { variant, loaded })
    }

    /// The name of its entry.
    pub(super) fn id(&self) -> &str {
        &self.loaded.id
    }

    /// Launches it; nothing happens without rows or columns.
    ///
    /// # Errors
    /// [`LaunchError`] if an operand is missing, too small or not laid out as the kernel needs.
    pub fn launch(&self, stream: &Stream, operands: &ShuffleOperands) -> Result<(), LaunchError> {
        let (rows, cols) = (operands.rows, operands.cols);
        if rows == 0 || cols == 0 {
            return Ok(());
        }
        if rows > 1 << ROW_BITS || cols > 1 << PLACE_BITS {
            return Err(self
                .loaded
                .layout(format!("{rows} rows of {cols} columns are too many")));
        }
        let (dst_codes, dst_scales) = operands.format.bytes(rows, cols);
        let tiles = rows.div_ceil(TILE);
        let spread = |bytes: usize| bytes + (tiles - 1) * operands.skip * (bytes / tiles);
        let fault = || self.given("fault", operands.fault, 8, 8);
        let largest = || self.given("largest", operands.largest, 4, 4);
        let dst = |bytes, alignment| self.given("dst", operands.dst, bytes, alignment);
        let (arguments, threads) = match (self.variant, &operands.format) {
            (ShuffleVariant::Codes(..), format)
                if ShuffleVariant::codes(format) == self.variant =>
            {
                let (row_bytes, alignment) = match format {
                    WeightFormat::Dense => (2 * cols, 2),
                    WeightFormat::Packed(f) => (packed_row_bytes(f.element().bits(), cols), 1),
                };
                let stride = operands.src_stride;
                if stride < row_bytes || !stride.is_multiple_of(alignment) {
                    return Err(self
                        .loaded
                        .layout(format!("rows of {row_bytes} bytes are {stride} apart")));
                }
                let bytes = (rows - 1) * stride + row_bytes;
                let src = operands
                    .src
                    .argument(&self.loaded.id, "src", bytes, alignment)?;
                let mut arguments = vec![dst(spread(dst_codes), 16)?];
                if self.variant.has_fault() {
                    arguments.push(fault()?);
                }
                arguments.push(src);
                arguments.extend(self.numbers([rows, cols, stride, operands.skip])?);
                (arguments, tiles * cols.div_ceil(CHUNK) * 32)
            }
            (ShuffleVariant::Scan(width), WeightFormat::Packed(format))
                if width == format.scale_bytes() =>
            {
                let blocks = cols.div_ceil(format.block_size());
                let src = self.scales(operands, width, blocks)?;
                let mut arguments = vec![fault()?, largest()?, src];
                let [mask, above] = nan(format.scale());
                arguments.extend(self.numbers([rows, blocks])?);
                arguments.extend([Argument::U32(mask), Argument::U32(above)]);
                (arguments, rows * blocks)
            }
            (ShuffleVariant::Scales(width), WeightFormat::Packed(format))
                if width == format.scale_bytes() =>
            {
                let blocks = cols.div_ceil(format.block_size());
                let src = self.scales(operands, width, blocks)?;
                let mut arguments = vec![dst(spread(dst_scales), width)?, src];
                if width == 1 {
                    arguments.push(largest()?);
                }
                let (slot, k) = (format.slot(), format.block_size());
                let (lanes, runs) = (format.scale_lanes(), format.scale_runs());
                let sizes = [rows, blocks, cols.div_ceil(slot), slot, k, lanes, runs];
                arguments.extend(self.numbers(sizes)?);
                arguments.extend(self.numbers([format.run(), operands.skip])?);
                if width == 1 {
                    arguments.push(Argument::U32(bias(format)));
                }
                (arguments, dst_scales / width)
            }
            _ => {
                return Err(self
                    .loaded
                    .layout("the weights are of another format".to_owned()));
            }
        };
        // Threads are counted in 32 bits.
        let blocks = u32::try_from(threads.next_multiple_of(256)).map(|threads| threads / 256);
        let too_many = |_| {
            self.loaded
                .layout(format!("{rows} rows of {cols} columns are too many"))
        };
        let geometry = Geometry {
            grid: [blocks.map_err(too_many)?, 1, 1],
            block: [256, 1, 1],
            dynamic_shared: 0,
        };
        Ok(stream.launch(&self.loaded.kernel, geometry, &arguments)?)
    }

    /// The scales that are read.
    fn scales<'a>(
        &self,
        operands: &ShuffleOperands<'a>,
        width: usize,
        blocks: usize,
    ) -> Result<Argument<'a>, LaunchError> {
        let bytes = operands.rows * blocks * width;
        operands.src.argument(&self.loaded.id, "src", bytes, width)
    }

    fn given<'a>(
        &self,
        operand: &'static str,
        slice: Option<Slice<'a>>,
        bytes: usize,
        alignment: usize,
    ) -> Result<Argument<'a>, LaunchError> {
        let slice = slice.ok_or_else(|| LaunchError::Missing {
            kernel: self.loaded.id.clone(),
            operand,
        })?;
        slice.argument(&self.loaded.id, operand, bytes, alignment)
    }

    fn numbers<const N: usize>(
        &self,
        numbers: [usize; N],
    ) -> Result<Vec<Argument<'static>>, LaunchError> {
        let number =
            |n| u32::try_from(n).map_err(|_| self.loaded.layout(format!("{n} is too many")));
        numbers
            .into_iter()
            .map(|n| number(n).map(Argument::U32))
            .collect()
    }
}

/// A scale code is NaN if it, masked by the first, is above the second.
fn nan(scale: ScaleFormat) -> [u32; 2] {
    match scale {
        ScaleFormat::E8M0 { .. } | ScaleFormat::Unsigned { .. } => {
            [scale.nan_code(), scale.nan_code() - 1]
        }
        ScaleFormat::Fp16 => [0x7FFF, 0x7C00],
        ScaleFormat::Bf16 => [0x7FFF, 0x7F80],
        ScaleFormat::Fp32 => [0x7FFF_FFFF, 0x7F80_0000],
    }
}

/// What the code of a power of two is stored more than, less the largest; 0 for other scales, which are stored as they are.
fn bias(format: &FragmentFormat) -> u32 {
    match format.scale() {
        ScaleFormat::E8M0 { .. } => (127 + format.stored().exponent()).cast_unsigned(),
        _ => 0,
    }
}
