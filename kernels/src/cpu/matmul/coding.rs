//! The meaning of a matrix's codes and scales, whatever format they come from.

use crate::format::{BlockFormat, CodeLayout, GgmlFormat, ScaleFormat};

/// The widths of codes that products decode. Other codes are widened to the next of these: 2 and 3
/// bits to 4, which one table of sixteen values decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PanelCodes {
    Bits4,
    Bits6,
    Bits8,
}

impl PanelCodes {
    /// The width that holds the codes of a layout.
    const fn holding(layout: CodeLayout) -> Self {
        match layout {
            CodeLayout::Bits2 | CodeLayout::Bits3 | CodeLayout::Bits4 => Self::Bits4,
            CodeLayout::Bits5 | CodeLayout::Bits6 => Self::Bits6,
            CodeLayout::Bits7 | CodeLayout::Bits8 => Self::Bits8,
        }
    }

    /// Their layout in a row.
    pub const fn layout(self) -> CodeLayout {
        match self {
            Self::Bits4 => CodeLayout::Bits4,
            Self::Bits6 => CodeLayout::Bits6,
            Self::Bits8 => CodeLayout::Bits8,
        }
    }
}

/// An element is `value * scale * tensor scale`, or `value * scale + minimum`.
#[derive(Clone, Debug)]
pub(super) struct Coding {
    pub width: PanelCodes,
    /// By code; the highest bit of six and eight is a sign, unless values are integers.
    pub values: Vec<f32>,
    pub scale: ScaleFormat,
    /// Whether a minimum follows each scale, in its format.
    pub has_minimum: bool,
    pub block_size: usize,
    pub tensor_scale: f32,
}

impl Coding {
    pub fn of_blocks(format: &BlockFormat, tensor_scale: f32) -> Self {
        let element = format.element();
        Self {
            width: PanelCodes::holding(element.layout()),
            values: element.codes().map(|code| element.decode(code)).collect(),
            scale: format.scale(),
            has_minimum: false,
            block_size: format.block_size(),
            tensor_scale,
        }
    }

    /// `None` for super-blocks, whose scales are codes themselves, and for plain f16.
    pub fn of_ggml(format: GgmlFormat) -> Option<Self> {
        let (width, values): (_, Vec<f32>) = match format {
            GgmlFormat::Q8_0 => {
                let values = (0..=u8::MAX).map(|code| f32::from(code as i8));
                (PanelCodes::Bits8, values.collect())
            }
            GgmlFormat::Q5_0 | GgmlFormat::Q5_1 => {
                let magnitudes = (0..32u8).map(f32::from);
                let values = magnitudes.clone().chain(magnitudes.map(|value| -value));
                (PanelCodes::Bits6, values.collect())
            }
            // Two's complement: panels flip the highest bit of the stored codes.
            GgmlFormat::Q4_0 => {
                let values = (0..16u8).map(|code| f32::from(code ^ 8) - 8.0);
                (PanelCodes::Bits4, values.collect())
            }
            GgmlFormat::Q4_1 => (PanelCodes::Bits4, (0..16u8).map(f32::from).collect()),
            GgmlFormat::Iq4Nl => (PanelCodes::Bits4, GgmlFormat::IQ4_NL_LEVELS.to_vec()),
            GgmlFormat::F16
            | GgmlFormat::Q6K
            | GgmlFormat::Q5K
            | GgmlFormat::Q4K
            | GgmlFormat::Q3K
            | GgmlFormat::Q2K => return None,
        };
        Some(Self {
            width,
            values,
            scale: ScaleFormat::Fp16,
            has_minimum: matches!(format, GgmlFormat::Q4_1 | GgmlFormat::Q5_1),
            block_size: format.block_size(),
            tensor_scale: 1.0,
        })
    }

    /// Bytes of a block's scale, and of its minimum.
    pub const fn scale_bytes(&self) -> usize {
        self.scale.storage_bytes() * (1 + self.has_minimum as usize)
    }

    /// Whether a code stands for an infinity or a NaN.
    pub fn has_special_codes(&self) -> bool {
        self.values.iter().any(|value| !value.is_finite())
    }
}
