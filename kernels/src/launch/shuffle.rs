//! Launcher of the shuffle kernels: packed weights on a device to the order that matmuls take.

use super::{Dense, LaunchError, Slice, Weights};
use crate::format::{BlockFormat, ScaleFormat, packed_row_bytes, pow2};
use crate::fragment::bits::StoredBits;
use crate::fragment::{CHUNK, FragmentError, FragmentFormat, TILE, WeightFormat};
use crate::ptx::ShuffleVariant;
use mxlab_harness::device::{Argument, Device, DeviceError, Geometry, Kernel, Stream};

/// Bits of a [`ShuffleFault`] for the row, for block or column, and for the code; one says which of these.
const ROW_BITS: u32 = 28;
const PLACE_BITS: u32 = 27;
const CODE_BITS: u32 = 8;

/// The first scale that is NaN or code that is no finite value, as kernels tell it: by row, scales before codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShuffleFault(pub u64);

impl ShuffleFault {
    /// There is none.
    pub const NONE: Self = Self(u64::MAX);

    /// The fault of an error; `None` for one that is none of a scale or code.
    pub const fn of(error: &FragmentError) -> Option<Self> {
        let (row, is_code, place, code) = match *error {
            FragmentError::NanScale { row, block } => (row, 0, block, 0),
            FragmentError::Code { row, col, code, .. } => (row, 1, col, code),
            FragmentError::BlockSize { .. } => return None,
        };
        let high = (row as u64) << 1 | is_code;
        Some(Self(
            (high << PLACE_BITS | place as u64) << CODE_BITS | code as u64,
        ))
    }

    /// The error for weights of a format; `None` if there is no fault.
    pub const fn error(self, format: &FragmentFormat) -> Option<FragmentError> {
        if self.0 == Self::NONE.0 {
            return None;
        }
        let place = (self.0 >> CODE_BITS & ((1 << PLACE_BITS) - 1)) as usize;
        let high = self.0 >> (PLACE_BITS + CODE_BITS);
        let row = (high >> 1) as usize;
        Some(match high & 1 {
            0 => FragmentError::NanScale { row, block: place },
            _ => FragmentError::Code {
                element: format.element().name(),
                code: self.0 as u8,
                row,
                col: place,
            },
        })
    }
}

/// Why there are no weights.
#[derive(Debug, thiserror::Error)]
pub enum ShuffleError {
    /// The format has no fragment order, or a scale or code is not finite.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// A launch failed.
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

impl From<DeviceError> for ShuffleError {
    fn from(error: DeviceError) -> Self {
        Self::Launch(error.into())
    }
}

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
    /// One u64, [`ShuffleFault::NONE`] before.
    pub fault: Option<Slice<'a>>,
    /// One u32, 0 before the scan: the largest scale code.
    pub largest: Option<Slice<'a>>,
}

/// One kernel, loaded.
#[derive(Debug)]
pub struct ShuffleKernel {
    variant: ShuffleVariant,
    id: String,
    kernel: Kernel,
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
        let id = variant.id();
        let kernel = device.load(&id, ptx)?.kernel(&id)?;
        Ok(Self {
            variant,
            id,
            kernel,
        })
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
            return Err(self.layout(format!("{rows} rows of {cols} columns are too many")));
        }
        let (dst_codes, dst_scales) = operands.format.bytes(rows, cols);
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
                    return Err(
                        self.layout(format!("rows of {row_bytes} bytes are {stride} apart"))
                    );
                }
                let bytes = (rows - 1) * stride + row_bytes;
                let src = operands.src.argument(&self.id, "src", bytes, alignment)?;
                let mut arguments = vec![dst(dst_codes, 16)?];
                if self.variant.has_fault() {
                    arguments.push(fault()?);
                }
                arguments.push(src);
                arguments.extend(self.numbers([rows, cols, stride])?);
                (arguments, rows.div_ceil(TILE) * cols.div_ceil(CHUNK) * 32)
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
                let mut arguments = vec![dst(dst_scales, width)?, src];
                if width == 1 {
                    arguments.push(largest()?);
                }
                let (slot, k) = (format.slot(), format.block_size());
                let (lanes, runs) = (format.scale_lanes(), format.scale_runs());
                let sizes = [rows, blocks, cols.div_ceil(slot), slot, k, lanes, runs];
                arguments.extend(self.numbers(sizes)?);
                arguments.extend(self.numbers([format.run()])?);
                if width == 1 {
                    arguments.push(Argument::U32(bias(format)));
                }
                (arguments, dst_scales / width)
            }
            _ => return Err(self.layout("the weights are of another format".to_owned())),
        };
        // Threads are counted in 32 bits.
        let blocks = u32::try_from(threads.next_multiple_of(256)).map(|threads| threads / 256);
        let too_many = |_| self.layout(format!("{rows} rows of {cols} columns are too many"));
        let geometry = Geometry {
            grid: [blocks.map_err(too_many)?, 1, 1],
            block: [256, 1, 1],
            dynamic_shared: 0,
        };
        Ok(stream.launch(&self.kernel, geometry, &arguments)?)
    }

    /// The scales that are read.
    fn scales<'a>(
        &self,
        operands: &ShuffleOperands<'a>,
        width: usize,
        blocks: usize,
    ) -> Result<Argument<'a>, LaunchError> {
        let bytes = operands.rows * blocks * width;
        operands.src.argument(&self.id, "src", bytes, width)
    }

    fn given<'a>(
        &self,
        operand: &'static str,
        slice: Option<Slice<'a>>,
        bytes: usize,
        alignment: usize,
    ) -> Result<Argument<'a>, LaunchError> {
        let slice = slice.ok_or_else(|| LaunchError::Missing {
            kernel: self.id.clone(),
            operand,
        })?;
        slice.argument(&self.id, operand, bytes, alignment)
    }

    fn numbers<const N: usize>(
        &self,
        numbers: [usize; N],
    ) -> Result<Vec<Argument<'static>>, LaunchError> {
        let number = |n| u32::try_from(n).map_err(|_| self.layout(format!("{n} is too many")));
        numbers
            .into_iter()
            .map(|n| number(n).map(Argument::U32))
            .collect()
    }

    fn layout(&self, reason: String) -> LaunchError {
        LaunchError::Layout {
            kernel: self.id.clone(),
            reason,
        }
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
        ScaleFormat::E8M0 { .. } => {
            (127 + StoredBits::of(format.element()).exponent()).cast_unsigned()
        }
        _ => 0,
    }
}

/// Packed weights on a device.
#[derive(Clone, Copy, Debug)]
pub struct PackedOperand<'a> {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Codes, as in [`crate::format::PackedTensor`].
    pub codes: Slice<'a>,
    /// Scales, as in [`crate::format::PackedTensor`].
    pub scales: Slice<'a>,
    /// The f32 that scales the tensor, where the format has one.
    pub tensor_scale: Option<Slice<'a>>,
}

/// The kernels for weights of one format.
#[derive(Debug)]
pub struct Shuffle {
    device: Device,
    format: WeightFormat,
    codes: ShuffleKernel,
    /// That look through scales, and that place them.
    scales: Option<[ShuffleKernel; 2]>,
}

impl Shuffle {
    /// Loads the kernels for weights in `format`, or in bf16.
    ///
    /// # Errors
    /// If the format has no fragment order, or the device does not take a kernel.
    pub fn load(device: &Device, format: Option<&BlockFormat>) -> Result<Self, ShuffleError> {
        let fragments = format.map(FragmentFormat::new).transpose()?;
        let load = |variant| ShuffleKernel::load(device, variant);
        let scales = |format: FragmentFormat| -> Result<_, LaunchError> {
            let [scan, scales] = [
                ShuffleVariant::scan(&format),
                ShuffleVariant::scales(&format),
            ];
            Ok([load(scan)?, load(scales)?])
        };
        let format = fragments.map_or(WeightFormat::Dense, WeightFormat::Packed);
        Ok(Self {
            device: device.clone(),
            format,
            codes: load(ShuffleVariant::codes(&format))?,
            scales: fragments.map(scales).transpose()?,
        })
    }

    /// Weights of the packed ones, in buffers of their own; `name` is what reports call them. Waits until they are
    /// there.
    ///
    /// # Errors
    /// [`ShuffleError::Fragment`] as of [`crate::fragment::FragmentTensor::new`]; [`ShuffleError::Launch`] if the format is bf16, an
    /// operand is too small, or there is no room.
    pub fn packed(
        &self,
        stream: &Stream,
        name: &str,
        packed: &PackedOperand,
    ) -> Result<Weights, ShuffleError> {
        let (WeightFormat::Packed(format), Some([scan, scales])) = (&self.format, &self.scales)
        else {
            return Err(self
                .codes
                .layout("the weights are of another format".to_owned())
                .into());
        };
        let (rows, cols) = (packed.rows, packed.cols);
        let (code_bytes, scale_bytes) = self.format.bytes(rows, cols);
        let dst_codes = self.device.allocate(name, code_bytes)?;
        let dst_scales = self
            .device
            .allocate(&format!("{name} (scales)"), scale_bytes)?;
        let fault = self.device.upload("fault", &[ShuffleFault::NONE.0])?;
        let largest = self.device.upload("largest scale", &[0u32])?;
        let whole = |buffer| Some(Slice { buffer, offset: 0 });
        let of_codes = ShuffleOperands {
            format: self.format,
            rows,
            cols,
            src: packed.codes,
            src_stride: packed_row_bytes(format.element().bits(), cols),
            dst: whole(&dst_codes),
            fault: whole(&fault),
            largest: whole(&largest),
        };
        let of_scales = ShuffleOperands {
            src: packed.scales,
            dst: whole(&dst_scales),
            ..of_codes
        };
        self.codes.launch(stream, &of_codes)?;
        scan.launch(stream, &of_scales)?;
        scales.launch(stream, &of_scales)?;
        let tensor_scale = match packed.tensor_scale.filter(|_| format.has_tensor_scale()) {
            None if format.has_tensor_scale() => {
                return Err(LaunchError::Missing {
                    kernel: scales.id.clone(),
                    operand: "tensor_scale",
                }
                .into());
            }
            None => 1.0,
            Some(Slice { buffer, offset }) => {
                let mut scale = [0f32];
                buffer.read(offset, &mut scale)?;
                scale[0]
            }
        };
        stream.synchronize()?;
        let fault = ShuffleFault(fault.download::<u64>()?[0]);
        if let Some(error) = fault.error(format) {
            return Err(error.into());
        }
        let largest = largest.download::<u32>()?[0];
        let excess = excess(format, largest);
        let alpha = tensor_scale * pow2(excess) as f32;
        Ok(Weights::of_parts(
            self.format,
            [rows, cols],
            dst_codes,
            Some(dst_scales),
            alpha,
        ))
    }

    /// Weights of a matrix of bf16, as [`Shuffle::packed`].
    ///
    /// # Errors
    /// [`ShuffleError::Launch`] if the format is not bf16, an operand is too small, or there is no room.
    pub fn dense(
        &self,
        stream: &Stream,
        name: &str,
        [rows, cols]: [usize; 2],
        src: Dense,
    ) -> Result<Weights, ShuffleError> {
        let dst = self
            .device
            .allocate(name, self.format.bytes(rows, cols).0)?;
        if self.format != WeightFormat::Dense {
            return Err(self
                .codes
                .layout("the weights are of another format".to_owned())
                .into());
        }
        let operands = ShuffleOperands {
            format: self.format,
            rows,
            cols,
            src: src.first,
            src_stride: 2 * src.stride,
            dst: Some(Slice {
                buffer: &dst,
                offset: 0,
            }),
            fault: None,
            largest: None,
        };
        self.codes.launch(stream, &operands)?;
        stream.synchronize()?;
        Ok(Weights::of_parts(self.format, [rows, cols], dst, None, 1.0))
    }
}

/// A: what folded scales are divided by, where the largest scale code is that.
fn excess(format: &FragmentFormat, largest: u32) -> i32 {
    let relative = largest.cast_signed() - format.scale().exponent_limit().unwrap_or(0);
    let excess = |factor: crate::fragment::Factor| factor.excess.unwrap_or(relative);
    format.factor().map_or(0, excess)
}
