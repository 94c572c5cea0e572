//! A complete block-scaled format.

use super::{Dialect, ElementFormat, FormatError, Rounding, ScaleFormat, ScaleRule};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A block format: element format, scale format, scale rule, rounding, dialect and block size k.
///
/// [`BlockFormat::new`] starts a builder that accepts only parts that fit together.
/// [`crate::support`] says where a new part, such as zero points, finds its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "BlockFormatBuilder", into = "BlockFormatBuilder")]
pub struct BlockFormat {
    pub(crate) element: ElementFormat,
    pub(crate) scale: ScaleFormat,
    pub(crate) rule: ScaleRule,
    pub(crate) rounding: Rounding,
    pub(crate) block_size: usize,
    pub(crate) tensor_scale: bool,
    pub(crate) dialect: Dialect,
}

/// Builds a [`BlockFormat`]. Only the element is required. The scale defaults to E8M0, the dialect
/// to `ocp`, k to 32; rule and rounding default to the dialect's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BlockFormatBuilder {
    element: ElementFormat,
    #[serde(default = "default_scale")]
    scale: ScaleFormat,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<ScaleRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rounding: Option<Rounding>,
    #[serde(default = "default_block_size")]
    block_size: usize,
    #[serde(default)]
    tensor_scale: bool,
    #[serde(default = "default_dialect")]
    dialect: Dialect,
}

const fn default_scale() -> ScaleFormat {
    ScaleFormat::E8M0
}

const fn default_block_size() -> usize {
    32
}

const fn default_dialect() -> Dialect {
    Dialect::Ocp
}

impl BlockFormatBuilder {
    /// Sets the scale format.
    #[must_use]
    pub const fn scale(mut self, scale: ScaleFormat) -> Self {
        self.scale = scale;
        self
    }

    /// Sets the scale rule.
    #[must_use]
    pub const fn rule(mut self, rule: ScaleRule) -> Self {
        self.rule = Some(rule);
        self
    }

    /// Sets the rounding of elements.
    #[must_use]
    pub const fn rounding(mut self, rounding: Rounding) -> Self {
        self.rounding = Some(rounding);
        self
    }

    /// Sets k, the number of consecutive elements that share a scale.
    #[must_use]
    pub const fn block_size(mut self, block_size: usize) -> Self {
        self.block_size = block_size;
        self
    }

    /// Adds one f32 scale for the whole tensor (NVFP4).
    #[must_use]
    pub const fn tensor_scale(mut self, tensor_scale: bool) -> Self {
        self.tensor_scale = tensor_scale;
        self
    }

    /// Sets the dialect.
    #[must_use]
    pub const fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Builds the format if its parts fit together.
    ///
    /// # Errors
    /// [`FormatError`] naming the part that does not fit.
    pub fn build(self) -> Result<BlockFormat, FormatError> {
        let rule = self.rule.unwrap_or(self.dialect.default_rule(self.scale));
        if !(1..=1 << 30).contains(&self.block_size) {
            return Err(FormatError::BlockSize {
                block_size: self.block_size,
            });
        }
        if !ScaleFormat::all().any(|known| known == self.scale) {
            return Err(FormatError::UnknownScale {
                name: format!("{:?}", self.scale),
                known: super::error::list(ScaleFormat::all()),
            });
        }
        rule.check(self.scale, self.element)?;
        self.dialect
            .check(self.element, self.scale, self.block_size)?;
        let has_small_range =
            matches!(self.scale, ScaleFormat::Unsigned { .. } | ScaleFormat::Fp16);
        if self.tensor_scale && !has_small_range {
            return Err(FormatError::TensorScale { scale: self.scale });
        }
        Ok(BlockFormat {
            element: self.element,
            scale: self.scale,
            rule,
            rounding: self.rounding.unwrap_or(self.dialect.default_rounding()),
            block_size: self.block_size,
            tensor_scale: self.tensor_scale,
            dialect: self.dialect,
        })
    }
}

impl BlockFormat {
    /// Starts a format; finish with [`BlockFormatBuilder::build`].
    #[allow(clippy::new_ret_no_self)]
    pub const fn new(element: ElementFormat) -> BlockFormatBuilder {
        BlockFormatBuilder {
            element,
            scale: default_scale(),
            rule: None,
            rounding: None,
            block_size: default_block_size(),
            tensor_scale: false,
            dialect: default_dialect(),
        }
    }

    /// NVFP4: E2M1 elements, UE4M3 scales, k = 16, one f32 scale per tensor.
    pub const NVFP4: Self = Self {
        element: ElementFormat::FP4_E2M1,
        scale: ScaleFormat::UE4M3,
        rule: ScaleRule::Nearest,
        rounding: Rounding::Even,
        block_size: 16,
        tensor_scale: true,
        dialect: Dialect::Nvidia,
    };

    /// The element format.
    pub const fn element(&self) -> ElementFormat {
        self.element
    }

    /// The scale format.
    pub const fn scale(&self) -> ScaleFormat {
        self.scale
    }

    /// The scale rule.
    pub const fn rule(&self) -> ScaleRule {
        self.rule
    }

    /// The rounding of elements.
    pub const fn rounding(&self) -> Rounding {
        self.rounding
    }

    /// k, the number of consecutive elements that share a scale.
    pub const fn block_size(&self) -> usize {
        self.block_size
    }

    /// Whether the tensor also has an f32 scale of its own.
    pub const fn has_tensor_scale(&self) -> bool {
        self.tensor_scale
    }

    /// The magnitude that a tensor scale, if it follows from the tensor, brings amax to.
    pub fn largest(&self) -> f32 {
        self.rule.largest_scale(self.scale) * self.element.half_range()
    }

    /// The dialect.
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// A builder with this format's parts, to change some of them.
    pub const fn to_builder(self) -> BlockFormatBuilder {
        BlockFormatBuilder {
            element: self.element,
            scale: self.scale,
            rule: Some(self.rule),
            rounding: Some(self.rounding),
            block_size: self.block_size,
            tensor_scale: self.tensor_scale,
            dialect: self.dialect,
        }
    }

    /// Blocks in a row; the last may be short.
    pub const fn blocks_per_row(&self, cols: usize) -> usize {
        cols.div_ceil(self.block_size)
    }

    /// Bytes of the codes of a row of `cols` elements.
    pub const fn row_code_bytes(&self, cols: usize) -> usize {
        self.element.layout().bytes(cols)
    }

    /// Bytes of the scales of a row of `cols` elements.
    pub const fn row_scale_bytes(&self, cols: usize) -> usize {
        self.blocks_per_row(cols) * self.scale.storage_bytes()
    }

    /// Bytes of codes and of scales that a packed [rows, cols] tensor takes. The f32 tensor
    /// scale, where there is one, counts as scale bytes.
    pub const fn packed_bytes(&self, rows: usize, cols: usize) -> (usize, usize) {
        let codes = rows * self.row_code_bytes(cols);
        let scales = rows * self.row_scale_bytes(cols);
        (codes, scales + if self.tensor_scale { 4 } else { 0 })
    }
}

impl TryFrom<BlockFormatBuilder> for BlockFormat {
    type Error = FormatError;

    fn try_from(builder: BlockFormatBuilder) -> Result<Self, FormatError> {
        builder.build()
    }
}

impl From<BlockFormat> for BlockFormatBuilder {
    fn from(format: BlockFormat) -> Self {
        format.to_builder()
    }
}

impl fmt::Display for BlockFormat {
    /// As in `fp4_e2m1 e8m0 k32 floor/even ocp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            element,
            scale,
            rule,
            rounding,
            block_size,
            dialect,
            ..
        } = self;
        write!(f, "{element} {scale}")?;
        if self.tensor_scale {
            write!(f, "+fp32")?;
        }
        write!(f, " k{block_size} {rule}/{rounding} {dialect}")
    }
}
