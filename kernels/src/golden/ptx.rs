//! Golden blocks through the PTX kernels of a device.

use crate::family::block::{BlockLauncher, BlockOperation};
use crate::format::{BlockFormat, FloatType, PackedTensor};
use crate::kernel::{Call, Dense, LaunchError, Slice, VariantError};
use crate::reference::tensor_scale;
use crate::support::{Part, Unsupported};
use mxlab_harness::device::{Buffer, Device, Stream};

/// A device, and a stream on it.
pub(super) struct Ptx<'a> {
    device: &'a Device,
    stream: Stream,
}

/// A matrix, as values of `source`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub x: &'a [f32],
    pub rows: usize,
    pub cols: usize,
    pub source: FloatType,
}

impl<'a> Ptx<'a> {
    pub fn new(device: &'a Device) -> Result<Self, LaunchError> {
        let stream = device.stream()?;
        Ok(Self { device, stream })
    }

    /// Quantised by the `quantize` kernel; `None` if the format has no kernel.
    pub fn quantize(
        &self,
        matrix: Matrix,
        format: &BlockFormat,
    ) -> Result<Option<PackedTensor>, LaunchError> {
        let Some(kernel) = self.launcher(BlockOperation::Quantize, matrix, format)? else {
            return Ok(None);
        };
        let empty = PackedTensor::zeroed(*format, matrix.rows, matrix.cols);
        let empty = empty.map_err(VariantError::from)?;
        let src = self.upload(matrix)?;
        let codes = self.device.allocate("codes", empty.codes().len())?;
        let scales = self.device.allocate("scales", empty.scales().len())?;
        let scale = tensor_scale(matrix.x, format);
        let tensor_scale = self.device.upload("tensor_scale", &[scale])?;
        let call = call(matrix, &tensor_scale)
            .rows("src", "src_stride", dense(&src, matrix))
            .buffer("codes", Slice::whole(&codes))
            .buffer("scales", Slice::whole(&scales));
        kernel.launch(&self.stream, &call)?;
        self.stream.synchronize()?;
        let (codes, scales) = (codes.download()?, scales.download()?);
        let (rows, cols) = (matrix.rows, matrix.cols);
        let packed = PackedTensor::new(*format, rows, cols, codes, scales, scale);
        Ok(Some(packed.map_err(VariantError::from)?))
    }

    /// Quantised and dequantised by the `fake_quantize` kernel; `None` if the format has no kernel.
    pub fn fake_quantize(
        &self,
        matrix: Matrix,
        format: &BlockFormat,
    ) -> Result<Option<Vec<f32>>, LaunchError> {
        let Some(kernel) = self.launcher(BlockOperation::FakeQuantize, matrix, format)? else {
            return Ok(None);
        };
        let src = self.upload(matrix)?;
        let scale = tensor_scale(matrix.x, format);
        let tensor_scale = self.device.upload("tensor_scale", &[scale])?;
        let call = call(matrix, &tensor_scale)
            .rows("src", "src_stride", dense(&src, matrix))
            .rows("dst", "dst_stride", dense(&src, matrix));
        kernel.launch(&self.stream, &call)?;
        self.stream.synchronize()?;
        let width = matrix.source.bytes();
        let bytes: Vec<u8> = src.download()?;
        let value = |bytes: &[u8]| {
            let mut bits = [0; 4];
            bits[..width].copy_from_slice(bytes);
            matrix.source.from_bits(u32::from_le_bytes(bits))
        };
        Ok(Some(bytes.chunks(width).map(value).collect()))
    }

    fn launcher(
        &self,
        operation: BlockOperation,
        matrix: Matrix,
        format: &BlockFormat,
    ) -> Result<Option<BlockLauncher>, LaunchError> {
        match BlockLauncher::new(self.device, operation, *format, matrix.source) {
            Ok(launcher) => Ok(Some(launcher)),
            Err(VariantError::Unsupported(Unsupported {
                part: Part::BlockSize | Part::Rounding,
                ..
            })) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn upload(&self, matrix: Matrix) -> Result<Buffer, LaunchError> {
        let width = matrix.source.bytes();
        let bytes = |&x: &f32| {
            matrix
                .source
                .to_bits(x)
                .to_le_bytes()
                .into_iter()
                .take(width)
        };
        let bytes: Vec<u8> = matrix.x.iter().flat_map(bytes).collect();
        Ok(self.device.upload("src", &bytes)?)
    }
}

/// What launches of all operations have.
fn call<'a>(matrix: Matrix, tensor_scale: &'a Buffer) -> Call<'a> {
    Call::new()
        .size("rows", matrix.rows)
        .size("cols", matrix.cols)
        .size("first_row", 0)
        .size("seed", 0)
        .buffer("tensor_scale", Slice::whole(tensor_scale))
}

fn dense<'a>(buffer: &'a Buffer, matrix: Matrix) -> Dense<'a> {
    Dense {
        first: Slice::whole(buffer),
        stride: matrix.cols,
    }
}
