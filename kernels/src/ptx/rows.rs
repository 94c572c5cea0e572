//! The kernels that make rows of activations and quantise them on the way out: norm, swiglu, copy.

use super::context::Context;
use super::formats::formats;
use super::render::render_template;
use super::{Access, Family, Variant, VariantError};
use crate::format::{BlockFormat, FloatType, Rounding, ScaleRule};
use crate::reference::exponential::COEFFICIENTS;
use serde::Serialize;
use std::f64::consts::LOG2_E;
use std::fmt;

/// What a kernel makes rows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowOperation {
    /// `x / sqrt(mean(x^2) + eps) * gain`.
    Norm,
    /// `silu(gate) * up`.
    Swiglu,
    /// The rows themselves.
    Copy,
}

impl RowOperation {
    /// Every operation there is.
    pub const ALL: [Self; 3] = [Self::Norm, Self::Swiglu, Self::Copy];

    /// The name; also that of its template and directory.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Norm => "norm",
            Self::Swiglu => "swiglu",
            Self::Copy => "copy",
        }
    }
}

/// One kernel: an operation, and the format that its rows are quantised to.
///
/// # Launch
/// A thread block of 256 threads for each row. Parameters, those in brackets where the format rounds
/// stochastically:
///
/// | operation | u64 | f32 | u32 |
/// |---|---|---|---|
/// | norm | dst, src, gain, \[positions, seed (u32)\] | eps | cols, dst_stride, src_stride |
/// | swiglu | dst, src_gate, src_up, \[positions, seed (u32)\] | | cols, dst_stride, gate_stride, up_stride |
/// | copy | dst, src, \[positions, seed (u32)\] | | cols, dst_stride, src_stride |
///
/// Rows are bf16, 16-byte aligned, padded with zeros to a multiple of 8 columns; `positions` has the position
/// of each row's token, a u32 each, which with the seed chooses the random numbers. A tensor scale is one a
/// row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowVariant {
    operation: RowOperation,
    /// Of the fake-quantising kernel whose steps the rows go through.
    quantizer: Option<Variant>,
}

/// What templates know as `v`: of the quantising part, and of the operation.
#[derive(Serialize)]
struct RowContext {
    #[serde(flatten)]
    quantizer: Option<Context>,
    kernel: String,
    description: String,
    is_quantized: bool,
    /// Rows have a tensor scale each.
    scales_rows: bool,
    /// Elements are rounded stochastically.
    draws: bool,
    log2_e: u64,
    /// Of the highest power first.
    exp_coefficients: Vec<u64>,
}

impl RowVariant {
    /// The kernel that leaves rows in `format`, or in bf16.
    ///
    /// # Errors
    /// [`VariantError`] if there is none.
    pub fn new(operation: RowOperation, format: Option<BlockFormat>) -> Result<Self, VariantError> {
        let quantizer = format.map(|format| {
            Variant::new(
                Family::FakeQuantize,
                format,
                FloatType::Bf16,
                Access::Aligned,
            )
        });
        Ok(Self {
            operation,
            quantizer: quantizer.transpose()?,
        })
    }

    /// What it makes rows of.
    pub const fn operation(&self) -> RowOperation {
        self.operation
    }

    /// The format of its rows; `None` for bf16.
    pub fn format(&self) -> Option<&BlockFormat> {
        self.quantizer.as_ref().map(Variant::format)
    }

    /// Whether `positions` and `seed` are parameters.
    pub fn is_random(&self) -> bool {
        self.quantizer.is_some_and(|variant| variant.is_random())
    }

    /// The name of the entry.
    pub fn id(&self) -> String {
        let name = self.operation.name();
        match &self.quantizer {
            None => format!("{name}_bf16__sm80"),
            Some(variant) => {
                let id = variant.id();
                let id = id.strip_prefix("fake_quantize").unwrap_or(&id);
                format!("{name}{}", id.replace("_aligned", ""))
            }
        }
    }

    /// Its PTX: one module with one entry, named as [`RowVariant::id`] says.
    pub fn render(&self) -> String {
        let format = self.format();
        let name = self.operation.name();
        let context = RowContext {
            quantizer: self.quantizer.as_ref().map(Context::new),
            kernel: self.id(),
            description: match format {
                None => format!("{name} in bf16"),
                Some(format) => format!("{name}, rows in {format}"),
            },
            is_quantized: format.is_some(),
            scales_rows: format.is_some_and(BlockFormat::has_tensor_scale),
            draws: self.is_random(),
            log2_e: LOG2_E.to_bits(),
            exp_coefficients: COEFFICIENTS.iter().rev().map(|c| c.to_bits()).collect(),
        };
        render_template(&format!("{name}/{name}.ptx.j2"), &context)
    }

    /// Every kernel that a registry walks: bf16, and the formats of [`Variant::all`] with the rule `floor`,
    /// `even` or that of fractions, rounded half to even or stochastically.
    pub fn all() -> impl Iterator<Item = Self> {
        let is_chosen = |format: &BlockFormat| {
            let rule = matches!(
                format.rule(),
                ScaleRule::Floor | ScaleRule::Even | ScaleRule::Nearest
            );
            let rounding = matches!(
                format.rounding(),
                Rounding::Even | Rounding::Stochastic { .. }
            );
            rule && rounding
        };
        RowOperation::ALL.into_iter().flat_map(move |operation| {
            let quantized = formats(Family::FakeQuantize).filter(is_chosen).map(Some);
            let formats = std::iter::once(None).chain(quantized);
            formats.filter_map(move |format| Self::new(operation, format).ok())
        })
    }
}

impl fmt::Display for RowVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.id())
    }
}
