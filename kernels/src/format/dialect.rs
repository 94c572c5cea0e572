//! Dialects: where public quantisers differ from the plain definition.
//!
//! A dialect brings a default scale rule and rounding, both of which can be overridden,
//! and its original's treatment of logarithms, signed zeros and NaN, which cannot.

use super::error::{list, serde_as_name};
use super::grid::exponent;
use super::{ElementFormat, FloatType, FormatError, Rounding, ScaleFormat, ScaleRule};
use std::fmt;
use std::str::FromStr;

/// The public quantiser that is imitated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The OCP MX specification: `floor`, half to even.
    Ocp,
    /// microxcaling's C++/CUDA code: `floor`, half away from zero, never -0.
    MicroxcalingCuda,
    /// microxcaling's PyTorch code: as above, but floor(log2 x) is taken after rounding log2 to
    /// the tensor's type; -0 only from a negative element that rounds to zero; half is counted
    /// from one ulp further down; a zero block counts as amax 2^-126.
    MicroxcalingTorch,
    /// NVIDIA's recipe: `rceil`, half to even.
    Nvidia,
    /// ggml's `quantize_row_mxfp4_ref`: `floor` of a log2 rounded to f32, half toward zero,
    /// never -0, NaN elements count as zero. It leaves amax below 2^-125 and infinities
    /// undefined; here they are the smallest scale and a NaN block.
    Ggml,
}

/// When an element that is zero, or becomes zero, keeps a minus sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegativeZero {
    /// Always.
    Kept,
    /// Only if it was not zero before rounding.
    Rounded,
    /// Never.
    Dropped,
}

impl Dialect {
    /// Every dialect there is.
    pub const ALL: [Self; 5] = [
        Self::Ocp,
        Self::MicroxcalingCuda,
        Self::MicroxcalingTorch,
        Self::Nvidia,
        Self::Ggml,
    ];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ocp => "ocp",
            Self::MicroxcalingCuda => "microxcaling-cuda",
            Self::MicroxcalingTorch => "microxcaling-torch",
            Self::Nvidia => "nvidia",
            Self::Ggml => "ggml",
        }
    }

    /// The default rule. A fractional scale always means `nearest`.
    pub const fn default_rule(self, scale: ScaleFormat) -> ScaleRule {
        match self {
            _ if !scale.is_power_of_two() => ScaleRule::Nearest,
            Self::Nvidia => ScaleRule::Rceil,
            Self::Ocp | Self::MicroxcalingCuda | Self::MicroxcalingTorch | Self::Ggml => {
                ScaleRule::Floor
            }
        }
    }

    /// The default rounding.
    pub const fn default_rounding(self) -> Rounding {
        match self {
            Self::Ocp | Self::Nvidia => Rounding::Even,
            Self::MicroxcalingCuda | Self::MicroxcalingTorch => Rounding::Away,
            Self::Ggml => Rounding::HalfToZero,
        }
    }

    /// When an element keeps the sign of zero.
    pub const fn negative_zero(self) -> NegativeZero {
        match self {
            Self::Ocp | Self::Nvidia => NegativeZero::Kept,
            Self::MicroxcalingTorch => NegativeZero::Rounded,
            Self::MicroxcalingCuda | Self::Ggml => NegativeZero::Dropped,
        }
    }

    /// Whether a NaN element is left out of amax and stored as zero, instead of making its
    /// block NaN.
    pub const fn ignores_nan(self) -> bool {
        matches!(self, Self::Ggml)
    }

    /// The amax that an all-zero block counts as.
    pub const fn amax_of_zeros(self) -> f32 {
        match self {
            Self::MicroxcalingTorch => f32::MIN_POSITIVE,
            _ => 0.0,
        }
    }

    /// The type to which the original rounds logarithms and sums before it truncates them; `None`
    /// where it uses the exponent field.
    pub const fn rounded_log2(self, source: FloatType) -> Option<FloatType> {
        match self {
            Self::MicroxcalingTorch => Some(source),
            Self::Ggml => Some(FloatType::F32),
            _ => None,
        }
    }

    /// floor(log2 x) for a finite x > 0, as the dialect computes it for a block of `source`
    /// elements.
    pub fn floor_log2(self, x: f64, source: FloatType) -> i32 {
        let e = exponent(x);
        match self.rounded_log2(source) {
            Some(rounded_to) => e + i32::from(log2_rounds_up(x, e, rounded_to)),
            None => e,
        }
    }

    /// Whether a magnitude just below half a step rounds up to one step: the original adds a half
    /// and truncates, and the sum rounds to one.
    pub fn lifts_to_one_step(self, steps: f64, source: FloatType) -> bool {
        let just_below_half = match source {
            FloatType::F32 => 0.5 - f64::from(f32::EPSILON) / 4.0,
            FloatType::Bf16 => 0.5 - 1.0 / 512.0,
            FloatType::F16 => return false,
        };
        self == Self::MicroxcalingTorch && steps == just_below_half
    }

    /// Checks that the dialect's original has such a format.
    ///
    /// # Errors
    /// [`FormatError::Dialect`].
    pub fn check(
        self,
        element: ElementFormat,
        scale: ScaleFormat,
        block_size: usize,
    ) -> Result<(), FormatError> {
        let needs = match self {
            Self::Ocp | Self::Nvidia => return Ok(()),
            Self::MicroxcalingCuda | Self::MicroxcalingTorch => {
                let is_symmetric = element.lowest() == -element.max_normal();
                let is_known = element.mantissa_bits().is_some() && is_symmetric;
                if scale.is_power_of_two() && is_known {
                    return Ok(());
                }
                "float and symmetric integer elements (its int2 is `ternary`) with power-of-two \
                 scales"
            }
            Self::Ggml => {
                let is_mxfp4 = element == ElementFormat::FP4_E2M1 && scale == ScaleFormat::E8M0;
                if is_mxfp4 && block_size == 32 {
                    return Ok(());
                }
                "fp4_e2m1 with e8m0 scales and block size 32"
            }
        };
        Err(FormatError::Dialect {
            dialect: self,
            needs,
        })
    }

    /// Checks that the original works on tensors of this type.
    ///
    /// # Errors
    /// [`FormatError::DialectSource`] for float16 under microxcaling's PyTorch code, which
    /// makes NaN of zero blocks and of scales outside float16's range.
    pub const fn check_source(self, source_type: FloatType) -> Result<(), FormatError> {
        match (self, source_type) {
            (Self::MicroxcalingTorch, FloatType::F16) => Err(FormatError::DialectSource {
                dialect: self,
                source_type,
            }),
            _ => Ok(()),
        }
    }
}

/// Whether log2 x, rounded to nearest in the type, is e + 1 for an x in [2^e, 2^(e+1)).
///
/// It is for the last few values below 2^(e+1): there log2 x = e + 1 - d with d under half an
/// ulp of |e + 1|, which doubles whenever |e + 1| passes a power of two. The windows are
/// counted in units of the type's last place just below 2^(e+1).
fn log2_rounds_up(x: f64, e: i32, rounded_to: FloatType) -> bool {
    const F32_WINDOW: [u32; 7] = [0, 1, 2, 5, 11, 22, 44];
    const BF16_WINDOW: [u32; 7] = [0, 1, 2, 5, 10, 21, 40];
    let (window, mantissa_bits) = match rounded_to {
        FloatType::F32 => (F32_WINDOW, 23),
        FloatType::Bf16 => (BF16_WINDOW, 7),
        FloatType::F16 => return false,
    };
    let magnitude = if e >= 0 { e } else { -e - 1 };
    if magnitude < 2 {
        return false;
    }
    // Below 2^-128 the window would be wider still, but any scale is at its lowest there.
    let binade = (magnitude.ilog2() as usize).min(window.len() - 1);
    let last_place = super::pow2(e - mantissa_bits);
    super::pow2(e + 1) - x <= f64::from(window[binade]) * last_place
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Dialect {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        let found = Self::ALL.into_iter().find(|known| known.name() == name);
        found.ok_or_else(|| FormatError::UnknownDialect {
            name: name.to_owned(),
            known: list(Self::ALL),
        })
    }
}

serde_as_name!(Dialect);
