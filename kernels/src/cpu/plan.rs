//! The numbers of a format that the kernels compute with.

use super::lanes::Codec;
use crate::format::{
    BlockFormat, CodeLayout, Dialect, FloatType, Grid, NegativeZero, Rounding, ScaleFormat,
    ScaleRule,
};
use crate::reference::BlockContext;

/// All parameters of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub format: BlockFormat,
    pub source: FloatType,
    pub tensor_scale: f32,
    /// How codes are written: as packed, or one a byte.
    pub layout: CodeLayout,
    pub kernel: Kernel,
    pub codec: Codec,
    pub scale: ScalePlan,
    /// Whether a fraction larger by half is tried as well, and the one with the least error taken.
    pub is_four_over_six: bool,
    /// The seed of stochastic rounding.
    pub seed: u32,
    /// The byte that packed zeros repeat. Only tables have a zero with a code other than 0, and
    /// only tables of 16 values get here.
    pub zero_byte: u8,
}

/// Which instance of the kernel body rounds the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Half to even, every sign kept: the common case.
    EvenSigned,
    Even,
    Away,
    HalfToZero,
    TowardZero,
    Stochastic,
    /// As microxcaling's PyTorch code: just below a half is a half.
    TorchEven,
    TorchAway,
    /// To a table of values, by thresholds.
    Table,
    /// Block by block through the scalar definition.
    Scalar,
}

/// How a block's scale follows from its amax.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ScalePlan {
    /// 2^(floor(log2 amax) - emax), from the exponent field.
    Floor { emax: i32, limit: i32 },
    /// 2^s with another rule or logarithm.
    Power { limit: i32 },
    /// 2^s, with the one of three candidates for s that has the least error.
    LeastError { limit: i32 },
    /// A fraction that lies on a small float grid.
    Fraction {
        codec: Codec,
        half_range: f32,
        lifts_zero: bool,
    },
    /// A fraction in another type.
    Wide { half_range: f32, lifts_zero: bool },
}

impl Plan {
    pub fn new(format: BlockFormat, source: FloatType) -> Self {
        let (element, rounding) = (format.element(), format.rounding());
        let codec = Codec::of_element(element, source, sign_lost_up_to(&format, source));
        Self {
            format,
            source,
            tensor_scale: 1.0,
            layout: element.layout(),
            kernel: kernel(&format),
            codec: codec.with_thresholds(element, rounding),
            scale: ScalePlan::new(&format, source),
            is_four_over_six: format.rule() == ScaleRule::FourOverSix,
            seed: rounding.seed(),
            zero_byte: element.layout().repeated(element.zero_code()).unwrap_or(0),
        }
    }

    /// The same with codes written one a byte.
    pub fn with_byte_codes(self) -> Self {
        Self {
            layout: CodeLayout::Bits8,
            zero_byte: self.format.element().zero_code(),
            ..self
        }
    }

    /// The same for the scalar definition.
    pub fn context(&self) -> BlockContext<'_> {
        BlockContext {
            format: &self.format,
            source: self.source,
            tensor_scale: self.tensor_scale,
        }
    }
}

/// A result of zero loses its minus sign if the scaled element's magnitude was at most this.
fn sign_lost_up_to(format: &BlockFormat, source: FloatType) -> f32 {
    // Integers have one zero.
    if matches!(format.element().grid(), Grid::Int(_)) {
        return f32::INFINITY;
    }
    match (format.dialect().negative_zero(), source) {
        (NegativeZero::Kept, _) => -1.0,
        (NegativeZero::Dropped, _) => f32::INFINITY,
        // Half of the type's smallest number still rounds to zero, which is even.
        (NegativeZero::Rounded, FloatType::F32) => 0.0,
        (NegativeZero::Rounded, FloatType::Bf16) => f32::from_bits(1 << 15),
        (NegativeZero::Rounded, FloatType::F16) => f32::from_bits((127 - 25) << 23),
    }
}

fn kernel(format: &BlockFormat) -> Kernel {
    let is_torch = format.dialect() == Dialect::MicroxcalingTorch;
    let keeps_signs = format.dialect().negative_zero() == NegativeZero::Kept;
    match (format.element().grid(), format.rounding()) {
        (Grid::Table(_), Rounding::Stochastic { .. }) => Kernel::Scalar,
        (Grid::Table(table), _) if table.len() == 16 => Kernel::Table,
        (Grid::Table(_), _) => Kernel::Scalar,
        (_, Rounding::Even) if is_torch => Kernel::TorchEven,
        (_, Rounding::Away) if is_torch => Kernel::TorchAway,
        // The dialect's element exponents matter to the other roundings.
        _ if is_torch => Kernel::Scalar,
        (Grid::Float(_), Rounding::Even) if keeps_signs => Kernel::EvenSigned,
        (_, Rounding::Even) => Kernel::Even,
        (_, Rounding::Away) => Kernel::Away,
        (_, Rounding::HalfToZero) => Kernel::HalfToZero,
        (_, Rounding::TowardZero) => Kernel::TowardZero,
        (_, Rounding::Stochastic { .. }) => Kernel::Stochastic,
    }
}

impl ScalePlan {
    fn new(format: &BlockFormat, source: FloatType) -> Self {
        let element = format.element();
        let lifts_zero = format.rule().lifts_zero();
        let half_range = element.half_range();
        if let Some(limit) = format.scale().exponent_limit() {
            let has_plain_log2 = format.dialect().rounded_log2(source).is_none();
            return match format.rule() {
                ScaleRule::Mse => Self::LeastError { limit },
                ScaleRule::Floor if has_plain_log2 => Self::Floor {
                    emax: element.emax(),
                    limit,
                },
                ScaleRule::Floor | ScaleRule::Ceil | ScaleRule::Rceil | ScaleRule::Even => {
                    Self::Power { limit }
                }
                ScaleRule::Nearest | ScaleRule::NearestFlush | ScaleRule::FourOverSix => {
                    unreachable!("{} does not fit {}", format.rule(), format.scale())
                }
            };
        }
        match format.scale() {
            ScaleFormat::Bf16 | ScaleFormat::Fp32 => Self::Wide {
                half_range,
                lifts_zero,
            },
            scale @ (ScaleFormat::E8M0 { .. }
            | ScaleFormat::Unsigned { .. }
            | ScaleFormat::Fp16) => Self::Fraction {
                codec: Codec::of_scale(scale),
                half_range,
                lifts_zero,
            },
        }
    }
}
