//! The input formats of projections, and the operand types of their products.

use clap::ValueEnum;
use mxlab_harness::device::{DeviceKind, Properties};
use mxlab_kernels::family::matmul::{MatmulOutput, MatmulVariant, Regime};
use mxlab_kernels::family::rows::{RowOperation, RowVariant};
use mxlab_kernels::format::{BlockFormat, ElementFormat, Rotation};
use mxlab_kernels::fragment::{FragmentError, FragmentFormat, OperandType, WeightFormat};
use mxlab_kernels::kernel::Kernel;
use mxlab_kernels::support::{Taker, support};

use crate::model::LlamaError;

/// The input of projections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input {
    /// Its format; `None` for unquantised.
    pub format: Option<BlockFormat>,
    /// Operand type of input and weights.
    pub operand: OperandType,
    /// How it is rotated before it is quantised; one that row kernels do.
    pub rotation: Option<Rotation>,
}

impl Default for Input {
    fn default() -> Self {
        Self::bf16(None)
    }
}

/// Operand types that tensor cores may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Operands {
    /// bf16 for every format
    Bf16,
    /// s8, or else e4m3, if weights and input both convert to it; bf16 otherwise
    #[value(name = "8-bit")]
    Bytes,
}

impl Input {
    /// Quantised to `format`, multiplied as bf16.
    pub const fn bf16(format: Option<BlockFormat>) -> Self {
        Self {
            format,
            operand: OperandType::Bf16,
            rotation: None,
        }
    }

    /// The same, rotated before.
    ///
    /// # Errors
    /// [`LlamaError::Rotation`] if row kernels do not rotate so.
    pub fn rotated(self, rotation: &Rotation) -> Result<Self, LlamaError> {
        let rows = RowVariant::new(RowOperation::Copy, None);
        rows.and_then(|rows| rows.rotated(rotation))
            .map_err(LlamaError::Rotation)?;
        Ok(Self {
            rotation: Some(*rotation),
            ..self
        })
    }

    /// Whether nothing happens to rows in bf16.
    pub(super) const fn is_as_it_is(&self) -> bool {
        self.format.is_none() && self.rotation.is_none()
    }

    /// The input of projections with these formats of weights and activations, on a device.
    pub fn new(
        operands: Operands,
        device: &Properties,
        weights: Option<&BlockFormat>,
        activations: Option<&BlockFormat>,
    ) -> Self {
        let bf16 = Self::bf16(activations.copied());
        let (Operands::Bytes, Some(weights), Some(activations)) = (operands, weights, activations)
        else {
            return bf16;
        };
        let bytes = [OperandType::S8, OperandType::E4m3].into_iter();
        let mut bytes = bytes.filter(|&operand| is_taken(operand, device, weights, activations));
        Self {
            operand: bytes.next().unwrap_or(OperandType::Bf16),
            ..bf16
        }
    }
}

/// Whether weights and activations convert to 8-bit operands that the device multiplies.
fn is_taken(
    operand: OperandType,
    device: &Properties,
    weights: &BlockFormat,
    activations: &BlockFormat,
) -> bool {
    let Ok(fragments) = FragmentFormat::of_operand(weights, operand) else {
        return false;
    };
    let weights_as = WeightFormat::Packed(fragments);
    // Only verified kernels.
    let is_known = MatmulVariant::scales_of_bytes(operand).contains(&weights.scale())
        && !weights.has_tensor_scale();
    // The regime with the largest requirement.
    let prefill = MatmulVariant::new(weights_as, Regime::Tile192, MatmulOutput::Bf16);
    let runs = device.kind == DeviceKind::Emulator || prefill.runs_on(device.sm);
    let has_rows = RowVariant::packed(RowOperation::Copy, *activations, operand).is_ok();
    is_known && runs && has_rows && weights.block_size() == activations.block_size()
}

/// The weights that convert to an operand type, in words.
pub(super) fn convertible_weights(operand: OperandType) -> String {
    let scales = MatmulVariant::scales_of_bytes(operand);
    let is_taken = |element: &&ElementFormat| {
        scales.iter().all(|&scale| {
            let format = BlockFormat::new(**element).scale(scale).build();
            format.is_ok_and(|format| support(&format).has(Taker::Weights(operand)))
        })
    };
    let elements = ElementFormat::ALL.iter().filter(is_taken);
    let elements: Vec<_> = elements.map(|element| element.name()).collect();
    let scales: Vec<_> = scales.iter().map(ToString::to_string).collect();
    format!(
        "{} weights under {} scales",
        elements.join(", "),
        scales.join(" or ")
    )
}

/// The fragment format of weights that are stored in a format, or in bf16, and multiplied as
/// `operand`.
///
/// # Errors
/// If tensor cores do not support the format.
pub(super) fn weight_format(
    format: Option<&BlockFormat>,
    operand: OperandType,
) -> Result<WeightFormat, FragmentError> {
    Ok(match format {
        None => WeightFormat::Dense,
        Some(format) => WeightFormat::Packed(FragmentFormat::of_operand(format, operand)?),
    })
}
