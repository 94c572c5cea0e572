//! Packs a tensor on a device: the kernels of the tensor scale first, then the quantize kernels.

use super::{BlockLauncher, BlockOperation, MAX_BLOCKS};
use crate::format::{BlockFormat, FloatType};
use crate::kernel::{Call, Dense, LaunchError, Slice, VariantError};
use mxlab_harness::device::{Buffer, Device, Stream};

/// The kernels that pack tensors into one format.
#[derive(Debug)]
pub struct Packer {
    device: Device,
    format: BlockFormat,
    tensor_scale: Option<BlockLauncher>,
    quantize: BlockLauncher,
    dequantize: BlockLauncher,
}

/// A packed tensor on a device, laid out as [`crate::format::PackedTensor`].
#[derive(Debug)]
pub struct PackedBuffers {
    /// Codes.
    pub codes: Buffer,
    /// Scales.
    pub scales: Buffer,
    /// One f32: what the tensor as a whole is scaled by; 1 where the format has no such scale.
    pub tensor_scale: Buffer,
}

impl PackedBuffers {
    /// A launch that works on them.
    fn call(&self, [rows, cols]: [usize; 2]) -> Call<'_> {
        Call::new()
            .size("rows", rows)
            .size("cols", cols)
            .buffer("codes", Slice::whole(&self.codes))
            .buffer("scales", Slice::whole(&self.scales))
            .buffer("tensor_scale", Slice::whole(&self.tensor_scale))
    }
}

impl Packer {
    /// The kernels for tensors of `dense`.
    ///
    /// # Errors
    /// [`VariantError`] if there are none for the format.
    pub fn new(
        device: &Device,
        format: BlockFormat,
        dense: FloatType,
    ) -> Result<Self, VariantError> {
        let launcher = |operation| BlockLauncher::new(device, operation, format, dense);
        let tensor_scale = format.has_tensor_scale();
        Ok(Self {
            device: device.clone(),
            format,
            tensor_scale: tensor_scale
                .then(|| launcher(BlockOperation::TensorScale))
                .transpose()?,
            quantize: launcher(BlockOperation::Quantize)?,
            dequantize: launcher(BlockOperation::Dequantize)?,
        })
    }

    /// Packs a [rows, cols] tensor and waits until that is done.
    ///
    /// # Errors
    /// [`LaunchError`] if `src` is too small or there is no room.
    pub fn pack(
        &self,
        stream: &Stream,
        src: Dense,
        [rows, cols]: [usize; 2],
    ) -> Result<PackedBuffers, LaunchError> {
        let (codes, scales) = self.format.packed_bytes(rows, cols);
        let of_tensor = if self.tensor_scale.is_some() { 4 } else { 0 };
        let packed = PackedBuffers {
            codes: self.device.allocate("codes", codes)?,
            scales: self.device.allocate("scales", scales - of_tensor)?,
            tensor_scale: self.device.upload("tensor scale", &[1.0f32])?,
        };
        let workspace = self.device.upload("workspace", &[0u32; 2])?;
        let call = packed.call([rows, cols]).rows("src", "src_stride", src);
        let call = call
            .buffer("workspace", Slice::whole(&workspace))
            .size("max_blocks", MAX_BLOCKS)
            .size("first_row", 0)
            .size("seed", self.format.rounding().seed() as usize);
        if let Some(launcher) = &self.tensor_scale {
            launcher.launch(stream, &call)?;
        }
        self.quantize.launch(stream, &call)?;
        stream.synchronize()?;
        Ok(packed)
    }

    /// Dequantises a packed [rows, cols] tensor to `dst` and waits until that is done.
    ///
    /// # Errors
    /// [`LaunchError`] if `dst` is too small.
    pub fn unpack(
        &self,
        stream: &Stream,
        packed: &PackedBuffers,
        dst: Dense,
        [rows, cols]: [usize; 2],
    ) -> Result<(), LaunchError> {
        let call = packed.call([rows, cols]).rows("dst", "dst_stride", dst);
        self.dequantize.launch(stream, &call)?;
        Ok(stream.synchronize()?)
    }
}
