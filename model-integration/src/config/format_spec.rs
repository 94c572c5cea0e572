//! A format with some parts given and the others inherited.

use mxlab_kernels::format::{
    BlockFormat, Dialect, ElementFormat, Rounding, ScaleFormat, ScaleRule,
};
use serde::Deserialize;

/// Parts of a block format. Each layer of a description (flags, an override, an operand, the file's
/// defaults) is one of these; [`FormatSpec::over`] stacks them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatSpec {
    /// Element format.
    pub element: Option<ElementFormat>,
    /// Scale format; E8M0 by default.
    pub scale: Option<ScaleFormat>,
    /// Bits of a power-of-two scale, 2 to 8.
    pub scale_bits: Option<u8>,
    /// Consecutive elements that share a scale; 32 by default.
    pub block_size: Option<usize>,
    /// Rule that chooses the scale; the dialect's by default.
    pub rule: Option<ScaleRule>,
    /// Rounding of elements; the dialect's by default.
    pub rounding: Option<Rounding>,
    /// Whether the whole tensor has an f32 scale, too.
    pub tensor_scale: Option<bool>,
    /// Quantiser to follow; `ocp` by default.
    pub dialect: Option<Dialect>,
}

impl FormatSpec {
    /// All parts of a format.
    pub fn of(format: &BlockFormat) -> Self {
        Self {
            element: Some(format.element()),
            scale: Some(format.scale()),
            scale_bits: None,
            block_size: Some(format.block_size()),
            rule: Some(format.rule()),
            rounding: Some(format.rounding()),
            tensor_scale: Some(format.has_tensor_scale()),
            dialect: Some(format.dialect()),
        }
    }

    /// These parts, and those of `below` for the missing ones. Bits, rule and tensor scale belong
    /// to their scale format: another one does not inherit them.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        let of_scale = match self.scale {
            Some(_) => Self::default(),
            None => below,
        };
        Self {
            element: self.element.or(below.element),
            scale: self.scale.or(below.scale),
            scale_bits: self.scale_bits.or(of_scale.scale_bits),
            block_size: self.block_size.or(below.block_size),
            rule: self.rule.or(of_scale.rule),
            rounding: self.rounding.or(below.rounding),
            tensor_scale: self.tensor_scale.or(of_scale.tensor_scale),
            dialect: self.dialect.or(below.dialect),
        }
    }

    /// The format, if its parts are compatible.
    ///
    /// # Errors
    /// A message with the part that is missing or incompatible.
    pub fn build(self) -> Result<BlockFormat, String> {
        let element = self.element.ok_or("field `element`: missing")?;
        let scale = match (self.scale.unwrap_or(ScaleFormat::E8M0), self.scale_bits) {
            (scale, None) => scale,
            (ScaleFormat::E8M0 { bits: 8 }, Some(bits @ 2..=8)) => ScaleFormat::E8M0 { bits },
            (ScaleFormat::E8M0 { bits }, Some(same)) if bits == same => ScaleFormat::E8M0 { bits },
            (scale, Some(bits)) if u32::from(bits) == scale.bits() => scale,
            (ScaleFormat::E8M0 { .. }, Some(bits)) if !(2..=8).contains(&bits) => {
                return Err(format!("field `scale_bits`: {bits} is not in 2..8"));
            }
            (scale, Some(bits)) => {
                return Err(format!(
                    "field `scale_bits`: {bits}, but {scale} has {} bits",
                    scale.bits()
                ));
            }
        };
        let mut builder = BlockFormat::new(element).scale(scale);
        if let Some(dialect) = self.dialect {
            builder = builder.dialect(dialect);
        }
        if let Some(block_size) = self.block_size {
            builder = builder.block_size(block_size);
        }
        if let Some(rule) = self.rule {
            builder = builder.rule(rule);
        }
        if let Some(rounding) = self.rounding {
            builder = builder.rounding(rounding);
        }
        if let Some(tensor_scale) = self.tensor_scale {
            builder = builder.tensor_scale(tensor_scale);
        }
        builder.build().map_err(|error| error.to_string())
    }
}
