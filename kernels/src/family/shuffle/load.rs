//! Puts packed weights on a device into the order that matmuls take.

use super::{ShuffleFault, ShuffleVariant, Stack, Tiles, sizes_of_scales};
use crate::family::matmul::Weights;
use crate::format::pow2;
use crate::fragment::{FragmentError, FragmentFormat, WeightFormat};
use crate::kernel::{Call, Dense, Kernel, LaunchError, Launcher, Slice};
use mxlab_harness::device::{Device, DeviceError, Stream};

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
    codes: Launcher,
    /// The kernels that scan scales, and that place them.
    scales: Option<[Launcher; 2]>,
}

impl Shuffle {
    /// Loads the kernels for weights in an order.
    ///
    /// # Errors
    /// If the device does not take a kernel.
    pub fn of_format(device: &Device, format: WeightFormat) -> Result<Self, LaunchError> {
        let load = |variant: ShuffleVariant| variant.launcher(device);
        let scales = |format: FragmentFormat| -> Result<_, LaunchError> {
            let [scan, scales] = [
                ShuffleVariant::scan(&format),
                ShuffleVariant::scales(&format),
            ];
            Ok([load(scan)?, load(scales)?])
        };
        let fragments = match format {
            WeightFormat::Dense => None,
            WeightFormat::Packed(format) => Some(format),
        };
        Ok(Self {
            device: device.clone(),
            format,
            codes: load(ShuffleVariant::codes(&format))?,
            scales: fragments.map(scales).transpose()?,
        })
    }

    /// Shuffles packed weights into buffers of their own and waits until that is done. Reports call
    /// them `name`.
    ///
    /// # Errors
    /// As [`Shuffle::put_packed`], and if there is no room.
    pub fn packed(
        &self,
        stream: &Stream,
        name: &str,
        packed: &PackedOperand,
    ) -> Result<Weights, ShuffleError> {
        let mut stack = self.stack(name, [packed.rows, packed.cols])?;
        self.put_packed(stream, &mut stack, Tiles::ALL, packed)?;
        Ok(stack.weights(&self.device)?)
    }

    /// Shuffles a bf16 matrix, as [`Shuffle::packed`].
    ///
    /// # Errors
    /// As [`Shuffle::put_dense`], and if there is no room.
    pub fn dense(
        &self,
        stream: &Stream,
        name: &str,
        shape: [usize; 2],
        src: Dense,
    ) -> Result<Weights, ShuffleError> {
        let mut stack = self.stack(name, shape)?;
        self.put_dense(stream, &mut stack, Tiles::ALL, shape, src)?;
        Ok(stack.weights(&self.device)?)
    }

    /// Allocates a stack for matrices that have [rows, cols] together.
    ///
    /// # Errors
    /// If there is none.
    pub fn stack(&self, name: &str, shape: [usize; 2]) -> Result<Stack, DeviceError> {
        Stack::new(&self.device, name, self.format, shape)
    }

    /// Puts a packed matrix into tiles of a stack and waits until that is done.
    ///
    /// # Errors
    /// [`ShuffleError::Fragment`] as of [`crate::fragment::FragmentTensor::new`];
    /// [`ShuffleError::Launch`] if the stack is of another format or too small, or an operand is
    /// too small.
    pub fn put_packed(
        &self,
        stream: &Stream,
        stack: &mut Stack,
        tiles: Tiles,
        packed: &PackedOperand,
    ) -> Result<(), ShuffleError> {
        let (WeightFormat::Packed(format), Some([scan, scales])) = (&self.format, &self.scales)
        else {
            return Err(self.other_format());
        };
        if *stack.format() != self.format {
            return Err(self.other_format());
        }
        let (rows, cols) = (packed.rows, packed.cols);
        let fault = self.device.upload("fault", &[ShuffleFault::NONE.0])?;
        let largest = self.device.upload("largest scale", &[0u32])?;
        let both = Call::new()
            .size("rows", rows)
            .size("cols", cols)
            .size("skip", tiles.skip);
        let row_bytes = format.element().layout().bytes(cols);
        let has_fault = ShuffleVariant::codes(&self.format).has_fault();
        let of_codes = both
            .clone()
            .size("src_stride", row_bytes)
            .buffer("src", packed.codes)
            .buffer("dst", stack.codes(tiles.first))
            .optional("fault", has_fault.then_some(Slice::whole(&fault)));
        let of_scales = both
            .sizes(sizes_of_scales(format, cols))
            .buffer("src", packed.scales);
        let of_scan = of_scales
            .clone()
            .buffer("fault", Slice::whole(&fault))
            .buffer("largest", Slice::whole(&largest));
        let is_relative = ShuffleVariant::scales(format).is_relative();
        let of_scales = of_scales
            .optional("dst", stack.scales(tiles.first))
            .optional("largest", is_relative.then_some(Slice::whole(&largest)));
        self.codes.launch(stream, &of_codes)?;
        scan.launch(stream, &of_scan)?;
        scales.launch(stream, &of_scales)?;
        let tensor_scale = match packed.tensor_scale.filter(|_| format.has_tensor_scale()) {
            None if format.has_tensor_scale() => {
                return Err(LaunchError::Missing {
                    kernel: scales.signature().id().to_string(),
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
        let excess = format.excess(largest);
        stack.set_alpha(tiles, rows, tensor_scale * pow2(excess) as f32);
        Ok(())
    }

    /// Puts a matrix of bf16 into tiles of a stack, as [`Shuffle::put_packed`].
    ///
    /// # Errors
    /// [`ShuffleError::Launch`] if the stack is not bf16 or too small, or an operand is too small.
    pub fn put_dense(
        &self,
        stream: &Stream,
        stack: &mut Stack,
        tiles: Tiles,
        [rows, cols]: [usize; 2],
        src: Dense,
    ) -> Result<(), ShuffleError> {
        if self.format != WeightFormat::Dense || *stack.format() != self.format {
            return Err(self.other_format());
        }
        let operands = Call::new()
            .size("rows", rows)
            .size("cols", cols)
            .size("skip", tiles.skip)
            .size("src_stride", 2 * src.stride)
            .buffer("src", src.first)
            .buffer("dst", stack.codes(tiles.first));
        self.codes.launch(stream, &operands)?;
        stream.synchronize()?;
        stack.set_alpha(tiles, rows, 1.0);
        Ok(())
    }

    fn other_format(&self) -> ShuffleError {
        let error = LaunchError::Layout {
            kernel: self.codes.signature().id().to_string(),
            reason: "the weights are of another format".to_owned(),
        };
        error.into()
    }
}
