//! Scale rules: how the shared scale of a block follows from its amax.

use super::error::{list, serde_as_name};
use super::grid::{exponent, pow2};
use super::{ElementFormat, FormatError, Rounding, ScaleFormat};
use std::fmt;
use std::str::FromStr;

/// A scale rule. The first five choose the exponent s of X = 2^s, the others a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleRule {
    /// `s = floor(log2 amax) - emax` (OCP MX): the largest elements may saturate.
    Floor,
    /// `s = ceil(log2 amax) - emax`.
    Ceil,
    /// The smallest s with `amax <= half_range * 2^s`, exactly ([`ElementFormat::half_range`], the
    /// largest value of a symmetric format, where so nothing saturates).
    Rceil,
    /// `floor` of amax after rounding it to the element's mantissa, half to even.
    Even,
    /// With the s of `floor`: the one of s - 1, s, s + 1 with the least sum of squared errors. An
    /// error is `x - RN_f32(code * 2^s)` under this format's own rounding and saturation; errors
    /// are squared and summed in f64 in element order. s below -L counts as -L; s above L is left
    /// out (if all are, the block is NaN). The smaller s wins a tie.
    Mse,
    /// `X = RNE_X(RN_f32(amax / half_range))`, saturating; an X that rounds to zero is raised to
    /// the smallest scale unless the block is all zero.
    Nearest,
    /// As `nearest`, but an X that rounds to zero stays zero and all elements with it.
    NearestFlush,
    /// For E2M1: the X of `nearest`, which brings amax to 6, or the one that brings it to 4, where
    /// values lie closer. With S the tensor scale and r = `RN_f32(RN_f32(amax / 6) / S)` these are
    /// `RNE_X(r)` and `RNE_X(RN_f32(1.5 r))`, saturated and raised as by `nearest`. The one with
    /// the least sum of squared errors is taken, the first where both have the same. An error is
    /// `x - RN_f32(RN_f32(code * X) * S)` under this format's own rounding; errors are squared and
    /// summed in f64 in element order. A tensor scale of its own leaves room for the second; see
    /// [`ScaleRule::largest_scale`]. (Four Over Six, arXiv 2512.02010, with the error `mse`.)
    FourOverSix,
}

/// How a rule chooses a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// From amax to the exponent of a power of two: [`ScaleRule::exponent`].
    Exponent,
    /// From amax to the one of three exponents with the least error.
    LeastError,
    /// To the scale nearest to amax over half the element's range.
    Fraction {
        /// Whether zero is raised to the smallest scale for an amax above zero.
        lifts_zero: bool,
    },
    /// To the one of two such scales with the least error, neither of them zero.
    FourOverSix,
}

impl ScaleRule {
    /// Every rule there is.
    pub const ALL: [Self; 8] = [
        Self::Floor,
        Self::Ceil,
        Self::Rceil,
        Self::Even,
        Self::Mse,
        Self::Nearest,
        Self::NearestFlush,
        Self::FourOverSix,
    ];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Ceil => "ceil",
            Self::Rceil => "rceil",
            Self::Even => "even",
            Self::Mse => "mse",
            Self::Nearest => "nearest",
            Self::NearestFlush => "nearest-flush",
            Self::FourOverSix => "four-over-six",
        }
    }

    /// How the rule chooses a scale. Every implementation of scales matches on this.
    pub const fn kind(self) -> RuleKind {
        match self {
            Self::Floor | Self::Ceil | Self::Rceil | Self::Even => RuleKind::Exponent,
            Self::Mse => RuleKind::LeastError,
            Self::Nearest => RuleKind::Fraction { lifts_zero: true },
            Self::NearestFlush => RuleKind::Fraction { lifts_zero: false },
            Self::FourOverSix => RuleKind::FourOverSix,
        }
    }

    /// Whether the rule rounds elements to choose among scales.
    pub const fn is_least_error(self) -> bool {
        match self.kind() {
            RuleKind::LeastError | RuleKind::FourOverSix => true,
            RuleKind::Exponent | RuleKind::Fraction { .. } => false,
        }
    }

    /// Whether a fraction that rounds to zero is raised to the smallest scale.
    pub const fn lifts_zero(self) -> bool {
        match self.kind() {
            RuleKind::Fraction { lifts_zero } => lifts_zero,
            RuleKind::FourOverSix => true,
            RuleKind::Exponent | RuleKind::LeastError => false,
        }
    }

    /// Whether the rule starts from the dialect's floor(log2 amax). The other rules are exact.
    pub const fn follows_log2(self) -> bool {
        match self {
            Self::Floor | Self::Mse => true,
            Self::Ceil
            | Self::Rceil
            | Self::Even
            | Self::Nearest
            | Self::NearestFlush
            | Self::FourOverSix => false,
        }
    }

    /// The X of a block with the largest amax of a tensor, if the tensor scale follows from that.
    ///
    /// The largest X there is; for `four-over-six` the largest power of two that can be increased
    /// by half, 256 of UE4M3.
    pub fn largest_scale(self, scale: ScaleFormat) -> f32 {
        let max = scale.max();
        match self.kind() {
            RuleKind::FourOverSix => pow2(exponent(f64::from(max) / 1.5)) as f32,
            RuleKind::Exponent | RuleKind::LeastError | RuleKind::Fraction { .. } => max,
        }
    }

    /// Whether the rule can choose a scale of this format.
    pub const fn fits(self, scale: ScaleFormat) -> bool {
        match self.kind() {
            RuleKind::Exponent | RuleKind::LeastError => scale.is_power_of_two(),
            RuleKind::Fraction { .. } | RuleKind::FourOverSix => !scale.is_power_of_two(),
        }
    }

    /// Checks that the rule fits scale and element format.
    ///
    /// # Errors
    /// [`FormatError::RuleScale`], or [`FormatError::RuleElement`] for `even` on a table and for
    /// `four-over-six` on another element than E2M1.
    pub fn check(self, scale: ScaleFormat, element: ElementFormat) -> Result<(), FormatError> {
        if !self.fits(scale) {
            let fitting = list(Self::ALL.into_iter().filter(|rule| rule.fits(scale)));
            return Err(FormatError::RuleScale {
                rule: self,
                scale,
                fitting,
            });
        }
        let expected = match self {
            Self::Even if element.mantissa_bits().is_none() => "an element with a mantissa",
            Self::FourOverSix if element != ElementFormat::FP4_E2M1 => "fp4_e2m1",
            _ => return Ok(()),
        };
        Err(FormatError::RuleElement {
            rule: self,
            element,
            expected,
        })
    }

    /// The exponent s for a finite `amax > 0`, before the limits of the scale format.
    ///
    /// `floor_log2` is the dialect's floor(log2 amax). [`ScaleRule::Floor`] and [`ScaleRule::Mse`]
    /// (its middle candidate) use it; the others are exact. `None` for a rule that chooses no
    /// exponent.
    pub fn exponent(self, amax: f32, floor_log2: i32, element: ElementFormat) -> Option<i32> {
        let emax = element.emax();
        let amax = f64::from(amax);
        let e = exponent(amax);
        match self {
            Self::Floor | Self::Mse => Some(floor_log2 - emax),
            Self::Ceil => Some(e + i32::from(amax > pow2(e)) - emax),
            Self::Rceil => {
                let fits = amax <= f64::from(element.half_range()) * pow2(e - emax);
                Some(e - emax + i32::from(!fits))
            }
            Self::Even => {
                let step = pow2(e - element.mantissa_bits()? as i32);
                let rounded = Rounding::Even.round(amax / step, 0) * step;
                Some(exponent(rounded) - emax)
            }
            Self::Nearest | Self::NearestFlush | Self::FourOverSix => None,
        }
    }
}

impl fmt::Display for ScaleRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ScaleRule {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        let found = Self::ALL.into_iter().find(|known| known.name() == name);
        found.ok_or_else(|| FormatError::UnknownRule {
            name: name.to_owned(),
            known: list(Self::ALL),
        })
    }
}

serde_as_name!(ScaleRule);
