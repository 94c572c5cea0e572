//! The formats of the kernels that a registry walks.

use super::{BLOCK_SIZES, BlockOperation};
use crate::format::{BlockFormat, Dialect, ElementFormat, Rounding, ScaleFormat, ScaleRule};
use crate::support::has_ptx;

/// Whether rule and rounding are those that kernels which quantise on the way come with in a
/// registry.
pub(crate) fn is_usual(format: &BlockFormat) -> bool {
    let rule = match format.rule() {
        ScaleRule::Floor | ScaleRule::Even | ScaleRule::Nearest => true,
        ScaleRule::Ceil
        | ScaleRule::Rceil
        | ScaleRule::Mse
        | ScaleRule::NearestFlush
        | ScaleRule::FourOverSix => false,
    };
    let rounding = match format.rounding() {
        Rounding::Even | Rounding::Stochastic { .. } => true,
        Rounding::Away | Rounding::HalfToZero | Rounding::TowardZero => false,
    };
    rule && rounding
}

/// Whether the format is one of those that variants come with whose steps to a format are those of
/// another kernel, which comes with all: FP4, FP6 and FP8 in blocks of 32 under powers of two and
/// in blocks of 16 under fractions, rounded half to even.
pub(crate) fn is_headline(format: &BlockFormat) -> bool {
    let elements = [
        ElementFormat::FP4_E2M1,
        ElementFormat::FP6_E2M3,
        ElementFormat::FP8_E4M3,
    ];
    let scales = [
        (ScaleFormat::E8M0, ScaleRule::Floor, 32),
        (ScaleFormat::UE5M3, ScaleRule::Nearest, 16),
        (ScaleFormat::UE4M3, ScaleRule::Nearest, 16),
    ];
    elements.contains(&format.element())
        && scales.contains(&(format.scale(), format.rule(), format.block_size()))
        && (format.rounding(), format.dialect()) == (Rounding::Even, Dialect::Ocp)
}

/// The formats of [`BlockVariant::all`](super::BlockVariant::all) for an operation.
pub(crate) fn formats(operation: BlockOperation) -> impl Iterator<Item = BlockFormat> {
    let elements = ElementFormat::ALL.iter().copied();
    let elements = elements.filter(|&element| has_ptx(element));
    elements.flat_map(move |element| {
        let plain = scales(operation).flat_map(move |(scale, rule)| {
            let builder = BlockFormat::new(element)
                .scale(scale)
                .tensor_scale(scale == ScaleFormat::UE4M3);
            roundings(operation, rule)
                .filter_map(move |rounding| builder.rule(rule).rounding(rounding).build().ok())
        });
        let dialects = [
            Dialect::MicroxcalingCuda,
            Dialect::MicroxcalingTorch,
            Dialect::Ggml,
        ];
        let others = dialects
            .into_iter()
            .filter(move |_| {
                !matches!(
                    operation,
                    BlockOperation::TensorScale | BlockOperation::Dequantize
                )
            })
            .filter_map(move |dialect| BlockFormat::new(element).dialect(dialect).build().ok());
        let all_sizes = plain.chain(others).flat_map(move |format| {
            BLOCK_SIZES
                .into_iter()
                .filter(move |&k| operation != BlockOperation::TensorScale || k == 16)
                .filter_map(move |k| format.to_builder().block_size(k).build().ok())
        });
        let unusual = unusual_scales(operation).filter_map(move |(scale, rule)| {
            let builder = BlockFormat::new(element).scale(scale).rule(rule);
            builder.block_size(32).build().ok()
        });
        all_sizes.chain(unusual)
    })
}

/// The scale formats of other widths than those of [`scales`], and their rules.
fn unusual_scales(operation: BlockOperation) -> impl Iterator<Item = (ScaleFormat, ScaleRule)> {
    let rules = ScaleRule::ALL
        .into_iter()
        .filter(|rule| rule.fits(ScaleFormat::E8M0))
        .filter(move |rule| operation.chooses_scales() || *rule == ScaleRule::Floor);
    let powers = rules.flat_map(|rule| (2..8).map(move |bits| (ScaleFormat::E8M0 { bits }, rule)));
    let mantissas = (0..=10).filter(|bits| ![3, 5].contains(bits));
    let fractions = mantissas.map(|mantissa_bits| ScaleFormat::Unsigned {
        exponent_bits: 5,
        mantissa_bits,
    });
    powers
        .chain(fractions.map(|scale| (scale, ScaleRule::Nearest)))
        .filter(move |_| operation != BlockOperation::TensorScale)
}

/// The scale formats and rules of [`BlockVariant::all`](super::BlockVariant::all) for an operation.
fn scales(operation: BlockOperation) -> impl Iterator<Item = (ScaleFormat, ScaleRule)> {
    let ue5m5 = ScaleFormat::Unsigned {
        exponent_bits: 5,
        mantissa_bits: 5,
    };
    let powers = ScaleRule::ALL
        .into_iter()
        .filter(|rule| rule.fits(ScaleFormat::E8M0))
        .filter(move |rule| operation.chooses_scales() || *rule == ScaleRule::Floor)
        .map(|rule| (ScaleFormat::E8M0, rule));
    let fractions = [
        ScaleFormat::UE4M3,
        ScaleFormat::UE5M3,
        ue5m5,
        ScaleFormat::Fp16,
        ScaleFormat::Bf16,
        ScaleFormat::Fp32,
    ];
    let tried = [ScaleFormat::UE4M3, ScaleFormat::UE5M3, ScaleFormat::Fp32];
    let tried = tried
        .into_iter()
        .filter(move |_| operation.chooses_scales() || operation == BlockOperation::TensorScale);
    let all = powers
        .chain(fractions.map(|scale| (scale, ScaleRule::Nearest)))
        .chain(tried.map(|scale| (scale, ScaleRule::FourOverSix)));
    all.filter(move |(scale, _)| {
        operation != BlockOperation::TensorScale || *scale == ScaleFormat::UE4M3
    })
}

/// The roundings of [`BlockVariant::all`](super::BlockVariant::all) for an operation and rule.
fn roundings(operation: BlockOperation, rule: ScaleRule) -> impl Iterator<Item = Rounding> {
    let matters =
        operation.rounds() || (operation == BlockOperation::Scale && rule.is_least_error());
    Rounding::ALL
        .into_iter()
        .filter(move |rounding| *rounding != Rounding::HalfToZero)
        .filter(move |rounding| matters || *rounding == Rounding::Even)
}
