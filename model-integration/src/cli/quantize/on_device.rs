//! Quantises with PTX kernels on a device.

use anyhow::{Context, Result};
use mxlab_harness::device::{Device, DeviceChoice, Stream};
use mxlab_kernels::family::block::Packer;
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor};
use mxlab_kernels::kernel::{Dense, Slice};

/// A device that quantises tensors one by one.
pub struct OnDevice {
    device: Device,
    stream: Stream,
}

impl OnDevice {
    /// Opens the device; `None` for the CPU, which runs no PTX.
    ///
    /// # Errors
    /// If there is no such device.
    pub fn open(choice: DeviceChoice) -> Result<Option<Self>> {
        if choice == DeviceChoice::Cpu {
            return Ok(None);
        }
        let device = Device::open(choice)?;
        let stream = device.stream()?;
        Ok(Some(Self { device, stream }))
    }

    /// Quantises a contiguous [rows, cols] tensor, given as bytes.
    ///
    /// # Errors
    /// If no kernel supports the format, or the device fails, for example out of memory.
    pub fn quantize(
        &self,
        bytes: &[u8],
        rows: usize,
        cols: usize,
        format: &BlockFormat,
        dtype: FloatType,
    ) -> Result<PackedTensor> {
        let packer = Packer::new(&self.device, *format, dtype)
            .context("no PTX kernel supports this format; `--device cpu` supports all formats")?;
        let src = self.device.upload("src", bytes)?;
        let first = Slice {
            buffer: &src,
            offset: 0,
        };
        let src = Dense {
            first,
            stride: cols,
        };
        let packed = packer.pack(&self.stream, src, [rows, cols])?;
        let tensor_scale = packed.tensor_scale.download::<f32>()?[0];
        let (codes, scales) = (packed.codes.download()?, packed.scales.download()?);
        Ok(PackedTensor::new(
            *format,
            rows,
            cols,
            codes,
            scales,
            tensor_scale,
        )?)
    }
}
