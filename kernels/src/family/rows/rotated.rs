//! Row kernels that rotate their rows before they quantise them.

use super::operation::Formats;
use super::{RowOperation, RowVariant, formats_of_packed};
use crate::family::block::{BlockOperation, formats, is_headline, is_usual};
use crate::family::macros::rotated::RotatedBlocks;
use crate::format::{Rotation, RotationSpan, Rounding};
use crate::fragment::OperandType;
use crate::kernel::VariantError;

impl RowVariant {
    /// The kernel that rotates its rows, rounded to bf16, and rounds them to bf16 again before they
    /// are quantised.
    ///
    /// # Errors
    /// [`VariantError::Rotation`] unless it is one of blocks of 8 to 256 columns.
    pub fn rotated(self, rotation: &Rotation) -> Result<Self, VariantError> {
        let blocks = match rotation.span() {
            RotationSpan::Block(size) => RotatedBlocks::new(size, rotation.seed().is_some()),
            RotationSpan::Row => None,
        };
        let rotation = *rotation;
        Ok(Self {
            rotation: Some(blocks.ok_or(VariantError::Rotation { rotation })?),
            ..self
        })
    }

    /// Whether `rotation_seed` is a parameter.
    pub fn has_signs(&self) -> bool {
        self.rotation.is_some_and(RotatedBlocks::has_signs)
    }

    /// The rotated kernels of the registry.
    pub(super) fn all_rotated() -> impl Iterator<Item = Self> {
        RowOperation::ALL.into_iter().flat_map(|operation| {
            let listed = operation.parts().formats;
            let is_copy = operation == RowOperation::Copy;
            let formats = formats(BlockOperation::FakeQuantize).filter(move |format| {
                let even = format.to_builder().rounding(Rounding::Even).build();
                listed.has(format)
                    && is_usual(format)
                    && even.is_ok_and(|even| is_headline(&even))
                    && (is_copy || is_headline(format))
            });
            let dense = std::iter::once(None).chain(formats.map(Some));
            let dense = dense.filter_map(move |format| Self::new(operation, format).ok());
            let packed = [OperandType::E4m3, OperandType::S8].into_iter();
            let packed = packed.flat_map(move |operand| {
                let formats = formats_of_packed().filter(is_headline);
                let formats = formats.filter(move |format| listed.has(format));
                formats.filter_map(move |format| Self::packed(operation, format, operand).ok())
            });
            let sizes = RotatedBlocks::SIZES.into_iter().filter(move |&size| {
                let is_input = listed != Formats::Bf16;
                is_copy || is_input && size == 32
            });
            let rotations = sizes.flat_map(RotatedBlocks::of_size);
            dense.chain(packed).flat_map(move |variant| {
                rotations.clone().map(move |rotation| Self {
                    rotation: Some(rotation),
                    ..variant
                })
            })
        })
    }
}
