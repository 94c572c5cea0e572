//! Quantising by the PTX kernels of a device.

use anyhow::{Context, Result};
use mxlab_harness::device::{Buffer, Device, DeviceChoice, Stream};
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor};
use mxlab_kernels::launch::{BlockLauncher, BlockOperands, Dense, Slice};
use mxlab_kernels::ptx::Family;

/// A device that quantises tensors, one after another.
pub struct OnDevice {
    device: Device,
    stream: Stream,
}

impl OnDevice {
    /// Opens the device; `None` if it is the CPU, which runs no PTX.
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

    /// Quantises a contiguous [rows, cols] tensor, given as the bytes of its elements.
    ///
    /// # Errors
    /// If no kernel takes the format, or the device refuses: it is out of memory, say.
    pub fn quantize(
        &self,
        bytes: &[u8],
        rows: usize,
        cols: usize,
        format: &BlockFormat,
        dtype: FloatType,
    ) -> Result<PackedTensor> {
        let launcher = |family| {
            BlockLauncher::new(&self.device, family, *format, dtype)
                .context("no PTX kernel for this format; `--device cpu` takes all")
        };
        let whole = |buffer| Slice { buffer, offset: 0 };
        let sizes = PackedTensor::zeroed(*format, rows, cols)?;
        let src = self.device.upload("src", bytes)?;
        let tensor_scale: Buffer = self.device.upload("tensor_scale", &[1.0f32])?;
        let first = whole(&src);
        let shape = BlockOperands {
            rows,
            cols,
            src: Some(Dense {
                first,
                stride: cols,
            }),
            tensor_scale: Some(&tensor_scale),
            ..BlockOperands::default()
        };
        if format.has_tensor_scale() {
            let workspace = self.device.upload("workspace", &[0u32; 2])?;
            let operands = BlockOperands {
                workspace: Some(&workspace),
                ..shape
            };
            launcher(Family::TensorScale)?.launch(&self.stream, &operands)?;
            // The workspace is free afterwards.
            self.stream.synchronize()?;
        }
        let codes = self.device.allocate("codes", sizes.codes().len())?;
        let scales = self.device.allocate("scales", sizes.scales().len())?;
        let operands = BlockOperands {
            codes: Some(whole(&codes)),
            scales: Some(whole(&scales)),
            ..shape
        };
        launcher(Family::Quantize)?.launch(&self.stream, &operands)?;
        self.stream.synchronize()?;
        let tensor_scale = tensor_scale.download::<f32>()?[0];
        let (codes, scales) = (codes.download()?, scales.download()?);
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
