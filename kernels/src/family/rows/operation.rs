//! The operations on rows, as a table of their operands.

use crate::format::BlockFormat;
use std::ops::RangeInclusive;

/// How a kernel computes its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowOperation {
    /// `x / sqrt(mean(x^2) + eps) * gain`, rounded before the gain too.
    Norm,
    /// `x / sqrt(mean(x^2) + eps) * (offset + gain)`, rounded once.
    NormOnce,
    /// `(x - mean) / sqrt(mean((x - mean)^2) + eps) * gain + bias`.
    LayerNorm,
    /// [`RowOperation::NormOnce`], added to a residual.
    NormAdd,
    /// `silu(gate) * up`.
    Swiglu,
    /// `gelu(gate) * up`, by the tanh approximation.
    Geglu,
    /// `gelu(x)`, by the tanh approximation.
    Gelu,
    /// `x * factor / divisor`.
    Multiply,
    /// `x * factor`, added to a residual.
    MultiplyAdd,
    /// `cap * tanh(x / cap)`.
    SoftCap,
    /// The rows themselves.
    Copy,
}

/// What an operation is made of, beside `src`.
pub(super) struct Parts {
    pub name: &'static str,
    /// Its template, without the folder.
    pub template: &'static str,
    /// What an element is, for the header.
    pub formula: &'static str,
    /// Vectors of a row's features.
    pub vectors: &'static [&'static str],
    /// Another matrix, and its stride.
    pub second: Option<[&'static str; 2]>,
    pub numbers: &'static [(&'static str, RangeInclusive<f32>)],
    /// Formats of its rows in the registry.
    pub formats: Formats,
}

/// The formats of an operation's rows in the registry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Formats {
    /// bf16: its rows are no input of a projection.
    Bf16,
    /// bf16, and the headline formats; the steps to a format are those of an operation that comes
    /// with all.
    Headline,
    /// All.
    All,
}

const EPS: (&str, RangeInclusive<f32>) = ("eps", 0.0..=f32::INFINITY);
const FACTOR: (&str, RangeInclusive<f32>) = ("factor", f32::MIN..=f32::MAX);
const UP: Option<[&str; 2]> = Some(["up", "up_stride"]);
const RESIDUAL: Option<[&str; 2]> = Some(["residual", "residual_stride"]);
const OFFSET: (&str, RangeInclusive<f32>) = ("offset", f32::MIN..=f32::MAX);
const POSITIVE: RangeInclusive<f32> = f32::MIN_POSITIVE..=f32::MAX;

impl RowOperation {
    /// Every operation there is.
    pub const ALL: [Self; 11] = [
        Self::Norm,
        Self::NormOnce,
        Self::LayerNorm,
        Self::NormAdd,
        Self::Swiglu,
        Self::Geglu,
        Self::Gelu,
        Self::Multiply,
        Self::MultiplyAdd,
        Self::SoftCap,
        Self::Copy,
    ];

    /// The name.
    pub const fn name(self) -> &'static str {
        self.parts().name
    }

    /// Whether it computes a norm.
    pub(super) const fn is_norm(self) -> bool {
        matches!(
            self,
            Self::Norm | Self::NormOnce | Self::LayerNorm | Self::NormAdd
        )
    }

    /// The operation as data.
    pub(super) const fn parts(self) -> Parts {
        let copy = Parts {
            name: "copy",
            template: "copy",
            formula: "x",
            vectors: &[],
            second: None,
            numbers: &[],
            formats: Formats::All,
        };
        match self {
            Self::Norm => Parts {
                name: "norm",
                template: "norm",
                formula: "bf16(bf16(x / sqrt(mean(x^2) + eps)) gain)",
                vectors: &["gain"],
                numbers: &[EPS],
                ..copy
            },
            Self::NormOnce => Parts {
                name: "norm_once",
                template: "norm",
                formula: "bf16(x / sqrt(mean(x^2) + eps) (offset + gain))",
                vectors: &["gain"],
                numbers: &[EPS, OFFSET],
                formats: Formats::Headline,
                ..copy
            },
            Self::LayerNorm => Parts {
                name: "layer_norm",
                template: "norm",
                formula: "bf16((x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) gain + bias)",
                vectors: &["gain", "bias"],
                numbers: &[EPS],
                formats: Formats::Headline,
                ..copy
            },
            Self::NormAdd => Parts {
                name: "norm_add",
                template: "norm",
                formula: "bf16(residual + bf16(x / sqrt(mean(x^2) + eps) (offset + gain)))",
                vectors: &["gain"],
                second: RESIDUAL,
                numbers: &[EPS, OFFSET],
                formats: Formats::Bf16,
            },
            Self::Swiglu => Parts {
                name: "swiglu",
                template: "swiglu",
                formula: "bf16(bf16(silu(gate)) up)",
                second: UP,
                ..copy
            },
            Self::Geglu => Parts {
                name: "geglu",
                template: "map",
                formula: "bf16(bf16(gelu(x)) up)",
                second: UP,
                formats: Formats::Headline,
                ..copy
            },
            Self::Gelu => Parts {
                name: "gelu",
                template: "map",
                formula: "bf16(gelu(x))",
                formats: Formats::Headline,
                ..copy
            },
            Self::Multiply => Parts {
                name: "multiply",
                template: "map",
                formula: "bf16(x factor / divisor)",
                numbers: &[FACTOR, ("divisor", POSITIVE)],
                formats: Formats::Bf16,
                ..copy
            },
            Self::MultiplyAdd => Parts {
                name: "multiply_add",
                template: "map",
                formula: "bf16(residual + bf16(x factor))",
                second: RESIDUAL,
                numbers: &[FACTOR],
                formats: Formats::Bf16,
                ..copy
            },
            Self::SoftCap => Parts {
                name: "soft_cap",
                template: "map",
                formula: "bf16(cap bf16(tanh(bf16(x / cap))))",
                numbers: &[("cap", POSITIVE)],
                formats: Formats::Bf16,
                ..copy
            },
            Self::Copy => copy,
        }
    }
}

impl Formats {
    /// Whether the registry has rows in a format.
    pub fn has(self, format: &BlockFormat) -> bool {
        match self {
            Self::Bf16 => false,
            Self::Headline => crate::family::block::is_headline(format),
            Self::All => true,
        }
    }
}
