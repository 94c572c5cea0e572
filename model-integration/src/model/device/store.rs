//! Parameters of a checkpoint, kept on the device.

use half::bf16;
use mxlab_kernels::format::{BlockFormat, FloatType, Rotation};
use mxlab_kernels::fragment::{FragmentFormat, OperandType};

use super::input::Input;
use super::matrix::Loader;
use super::{DeviceBackend, DeviceMatrix, DeviceStack, DeviceVector};
use crate::checkpoint::TensorView;
use crate::checkpoint::encoding::StoredInput;
use crate::description::parameters::Usage;
use crate::model::LlamaError;
use crate::model::load::{Arrangement, Member, Store};

impl DeviceBackend {
    const fn loader(&self) -> Loader<'_> {
        Loader {
            device: &self.device,
            stream: &self.stream,
            kernels: &self.kernels,
            storage: self.storage,
        }
    }
}

/// Whether kernels multiply weights in this format.
pub fn takes(weights: &BlockFormat) -> bool {
    FragmentFormat::of_operand(weights, OperandType::Bf16).is_ok()
}

impl Store for DeviceBackend {
    fn dtype(&self) -> FloatType {
        FloatType::Bf16
    }

    fn input(&self, weights: Option<&BlockFormat>, activations: Option<&BlockFormat>) -> Input {
        let device = self.device.properties();
        Input::new(self.storage.operands(), device, weights, activations)
    }

    fn takes(&self, weights: &BlockFormat) -> bool {
        takes(weights)
    }

    fn stored_input(
        &self,
        weights: Option<&BlockFormat>,
        stored: &StoredInput,
    ) -> Result<Input, LlamaError> {
        match stored {
            StoredInput::Block(format, None) => Ok(self.input(weights, Some(format))),
            StoredInput::Block(..) | StoredInput::Scalar(_) => Err(LlamaError::StoredInput {
                input: stored.name(),
            }),
        }
    }

    fn rotated(&self, input: Input, rotation: &Rotation, cols: usize) -> Result<Input, LlamaError> {
        rotation.of_rows(cols)?;
        input.rotated(rotation)
    }

    fn matrix(
        &self,
        view: &TensorView,
        usage: Usage,
        format: Option<&BlockFormat>,
        input: &Input,
    ) -> Result<DeviceMatrix, LlamaError> {
        DeviceMatrix::load(&self.loader(), view, usage, format, input.operand)
    }

    fn stack(
        &self,
        members: Vec<Member>,
        arrangement: Arrangement,
        format: Option<&BlockFormat>,
        input: &Input,
    ) -> Result<Option<DeviceStack>, LlamaError> {
        DeviceStack::load(&self.loader(), members, arrangement, format, input.operand)
    }

    fn vector(&self, name: &str, values: Vec<f32>) -> Result<DeviceVector, LlamaError> {
        let bits = values.iter().map(|&x| bf16::from_f32(x).to_bits());
        let mut bits: Vec<u16> = bits.collect();
        bits.resize(values.len().next_multiple_of(8), 0);
        Ok(DeviceVector {
            values: self.device.upload(name, &bits)?,
            len: values.len(),
        })
    }
}
