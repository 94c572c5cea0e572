//! A format as the numbers that the kernels compute with.

use super::lanes::{CodeLanes, Signs};
use crate::format::{
    BlockFormat, Dialect, FloatType, Grid, NegativeZero, Rounding, ScaleFormat, ScaleRule,
};
use crate::reference::BlockContext;

/// Everything a kernel needs to know.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub format: BlockFormat,
    pub source: FloatType,
    pub tensor_scale: f32,
    pub kernel: Kernel,
    pub lanes: CodeLanes,
    pub signs: Signs,
    pub scale: ScalePlan,
    pub seed: u32,
}

/// Which instance of the kernel body rounds the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
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
    /// Block by block through the scalar definition.
    Scalar,
}

/// How a block's scale follows from its amax.
#[derive(Clone, Copy, Debug)]
pub(super) enum ScalePlan {
    /// 2^(floor(log2 amax) - emax), from the exponent field.
    Floor { emax: i32, limit: i32 },
    /// 2^s with another rule or logarithm.
    Power { limit: i32 },
    /// A fraction that lies on a small float grid.
    Fraction {
        lanes: CodeLanes,
        max_normal: f32,
        lifts_zero: bool,
    },
    /// A fraction in another type.
    Wide { max_normal: f32, lifts_zero: bool },
}

impl Plan {
    pub fn new(format: BlockFormat, source: FloatType) -> Self {
        let element = format.element();
        let dialect = format.dialect();
        let is_int = matches!(element.grid(), Grid::Int(_));
        let signs = match dialect.negative_zero() {
            _ if is_int => Signs::DROPPED,
            NegativeZero::Kept => Signs::KEPT,
            NegativeZero::Rounded => Signs::of_nonzero(source),
            NegativeZero::Dropped => Signs::DROPPED,
        };
        Self {
            format,
            source,
            tensor_scale: 1.0,
            kernel: kernel(&format, signs),
            lanes: CodeLanes::of_element(element, source),
            signs,
            scale: ScalePlan::new(&format, source),
            seed: match format.rounding() {
                Rounding::Stochastic { seed } => seed,
                _ => 0,
            },
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

fn kernel(format: &BlockFormat, signs: Signs) -> Kernel {
    let is_torch = format.dialect() == Dialect::MicroxcalingTorch;
    if format.rule() == ScaleRule::Mse || matches!(format.element().grid(), Grid::Table(_)) {
        return Kernel::Scalar;
    }
    match format.rounding() {
        Rounding::Even if is_torch => Kernel::TorchEven,
        Rounding::Away if is_torch => Kernel::TorchAway,
        // The dialect's element exponents matter to the other roundings.
        _ if is_torch => Kernel::Scalar,
        Rounding::Even if signs == Signs::KEPT => Kernel::EvenSigned,
        Rounding::Even => Kernel::Even,
        Rounding::Away => Kernel::Away,
        Rounding::HalfToZero => Kernel::HalfToZero,
        Rounding::TowardZero => Kernel::TowardZero,
        Rounding::Stochastic { .. } => Kernel::Stochastic,
    }
}

impl ScalePlan {
    fn new(format: &BlockFormat, source: FloatType) -> Self {
        let element = format.element();
        let lifts_zero = format.rule() == ScaleRule::Nearest;
        let max_normal = element.max_normal();
        if let Some(limit) = format.scale().exponent_limit() {
            let has_plain_log2 = format.dialect().rounded_log2(source).is_none();
            return if format.rule() == ScaleRule::Floor && has_plain_log2 {
                Self::Floor {
                    emax: element.emax(),
                    limit,
                }
            } else {
                Self::Power { limit }
            };
        }
        match format.scale() {
            ScaleFormat::Bf16 | ScaleFormat::Fp32 => Self::Wide {
                max_normal,
                lifts_zero,
            },
            scale => Self::Fraction {
                lanes: CodeLanes::of_scale(scale),
                max_normal,
                lifts_zero,
            },
        }
    }
}
