//! Parameters of a checkpoint, kept on the device.

use half::bf16;
use mxlab_harness::device::Buffer;
use mxlab_kernels::format::{BlockFormat, FloatType};

use super::{DeviceBackend, DeviceMatrix};
use crate::checkpoint::TensorView;
use crate::llama::LlamaError;
use crate::llama::load::{Role, Store};

impl Store for DeviceBackend {
    fn dtype(&self) -> FloatType {
        FloatType::Bf16
    }

    fn matrix(
        &self,
        view: &TensorView,
        role: Role,
        format: Option<&BlockFormat>,
    ) -> Result<DeviceMatrix, LlamaError> {
        DeviceMatrix::load(
            &self.device,
            &self.stream,
            &self.kernels,
            view,
            role,
            format.map(|format| (format, self.storage)),
        )
    }

    fn vector(&self, name: &str, values: Vec<f32>) -> Result<Buffer, LlamaError> {
        let bits = values.iter().map(|&x| bf16::from_f32(x).to_bits());
        let mut bits: Vec<u16> = bits.collect();
        bits.resize(values.len().next_multiple_of(8), 0);
        Ok(self.device.upload(name, &bits)?)
    }
}
