//! Weights on a device.

use super::MatmulVariant;
use crate::fragment::{FragmentTensor, WeightFormat};
use crate::kernel::Kernel;
use crate::kernel::{Call, LaunchError, Slice};
use mxlab_harness::device::{Buffer, Device, DeviceError};

/// A weight matrix in fragment order, on a device.
#[derive(Debug)]
pub struct Weights {
    format: WeightFormat,
    rows: usize,
    cols: usize,
    codes: Buffer,
    scales: Option<Buffer>,
    alphas: Buffer,
}

impl Weights {
    /// Copies weights to a device; `name` is what reports call them.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn upload(
        device: &Device,
        name: &str,
        tensor: &FragmentTensor,
    ) -> Result<Self, DeviceError> {
        let scales = (!tensor.scales.is_empty())
            .then(|| device.upload(&format!("{name} (scales)"), &tensor.scales));
        Ok(Self {
            format: tensor.format,
            rows: tensor.rows,
            cols: tensor.cols,
            codes: device.upload(name, &tensor.codes)?,
            scales: scales.transpose()?,
            alphas: device.upload(&format!("{name} (alphas)"), &tensor.alphas)?,
        })
    }

    /// Weights in the given buffers.
    pub(in crate::family) const fn of_parts(
        format: WeightFormat,
        [rows, cols]: [usize; 2],
        codes: Buffer,
        scales: Option<Buffer>,
        alphas: Buffer,
    ) -> Self {
        Self {
            format,
            rows,
            cols,
            codes,
            scales,
            alphas,
        }
    }

    /// How they lie.
    pub const fn format(&self) -> &WeightFormat {
        &self.format
    }

    /// Rows: features of y.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: features of x.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// Codes, as of [`FragmentTensor::codes`].
    pub const fn codes(&self) -> &Buffer {
        &self.codes
    }

    /// Scales, as of [`FragmentTensor::scales`]; weights in bf16 have none.
    pub const fn scales(&self) -> Option<&Buffer> {
        self.scales.as_ref()
    }

    /// What results are multiplied by: an f32 for each tile.
    pub const fn alphas(&self) -> &Buffer {
        &self.alphas
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        let scales = self.scales.as_ref().map_or(0, Buffer::bytes);
        self.codes.bytes() + scales + self.alphas.bytes()
    }

    /// The operands of a kernel that are of the weights.
    ///
    /// # Errors
    /// [`LaunchError::Layout`] if the kernel is for weights of another format.
    pub fn call(&self, variant: &MatmulVariant) -> Result<Call<'_>, LaunchError> {
        if self.format != *variant.weights() {
            return Err(LaunchError::Layout {
                kernel: variant.id().to_string(),
                reason: format!("the weights are {:?}", self.format),
            });
        }
        Ok(Call::new()
            .size("rows", self.rows)
            .size("cols", self.cols)
            .buffer("codes", Slice::whole(&self.codes))
            .optional("scales", self.scales.as_ref().map(Slice::whole))
            .buffer("alphas", Slice::whole(&self.alphas)))
    }
}
