//! Draws numbers biased to where quantisers err.

use crate::format::{BlockFormat, ElementFormat, FloatType, ScaleFormat, ScaleRule};
use rand::Rng;

/// The style of the elements of a block.
#[derive(Clone, Copy)]
enum Style {
    /// One binade.
    Uniform,
    /// Many binades below the largest.
    HeavyTail,
    /// Where the rounding turns or a unit in the last place beside, under a power of two.
    Turns,
    /// The same under a scale that the scale format has: one element makes the block choose it.
    ScaledTurns,
    /// The largest where the choice of the scale turns, or a unit in the last place beside.
    ScaleEdge,
    /// Powers of two and their neighbours.
    Powers,
    /// Signed zeros, and now and then something else.
    Sparse,
    /// Two numbers, of which the errors decide between scales, and zeros. For `four-over-six` often
    /// as far from a value under one scale as from one under the other, or just not.
    Pair,
    /// Zeros only.
    Zeros,
    /// Any bits: every NaN, infinity and subnormal.
    AnyBits,
    /// Numbers, and one that is not.
    OneSpecial,
    /// Subnormals of the dense type and the smallest normals.
    Tiny,
    /// Values next to the largest of the dense type.
    Huge,
}

const STYLES: [Style; 18] = [
    Style::Uniform,
    Style::HeavyTail,
    Style::Turns,
    Style::Turns,
    Style::Turns,
    Style::ScaledTurns,
    Style::ScaledTurns,
    Style::ScaleEdge,
    Style::Powers,
    Style::Powers,
    Style::Sparse,
    Style::Pair,
    Style::Pair,
    Style::Zeros,
    Style::AnyBits,
    Style::OneSpecial,
    Style::Tiny,
    Style::Huge,
];

/// Bits of the `len` elements of a row, each block of one style. `divisors` has what each block is
/// divided by, where that is given.
pub(super) fn dense_bits(
    rng: &mut impl Rng,
    len: usize,
    divisors: &[Option<f64>],
    format: &BlockFormat,
    dense: FloatType,
) -> Vec<u32> {
    let mut bits = Vec::with_capacity(len);
    // An error of one element decides only where there are few.
    let is_sparse = format.rule().is_least_error() && rng.random_ratio(1, 3);
    for divisor in divisors {
        let count = (len - bits.len()).min(format.block_size());
        let style = match is_sparse {
            true => Style::Pair,
            false => STYLES[rng.random_range(0..STYLES.len())],
        };
        let scale = divisor
            .unwrap_or_else(|| f64::from(format.scale().decode(scale_code(rng, format.scale()))));
        block(rng, style, scale, count, format, dense, &mut bits);
    }
    bits
}

fn block(
    rng: &mut impl Rng,
    style: Style,
    scale: f64,
    count: usize,
    format: &BlockFormat,
    dense: FloatType,
    bits: &mut Vec<u32>,
) {
    let e = block_exponent(rng, format, dense);
    let scale = if scale.is_finite() { scale } else { 1.0 };
    let edge = scale_edge(rng, format, scale);
    let is_four_over_six = format.rule() == ScaleRule::FourOverSix;
    let rounds_log2 = format.dialect().rounded_log2(dense).is_some();
    // The one element that is not like the others.
    let special = rng.random_range(0..count);
    let other = rng.random_range(0..count);
    let mask = u32::MAX >> (32 - 8 * dense.bytes());
    let sign_bit = 1 << (8 * dense.bytes() - 1);
    // The bits below those of infinity are those of the largest finite number.
    let largest = dense.to_bits(f32::INFINITY) - 1;
    for i in 0..count {
        let sign = if rng.random() { 1.0 } else { -1.0 };
        let scaled = |x: f64| dense.to_bits((sign * x * 2f64.powi(e)) as f32);
        let unit = rng.random_range(0.0..2.0);
        let element = match style {
            Style::Uniform => scaled(unit),
            Style::HeavyTail => scaled(unit * 2f64.powi(-rng.random_range(0..24))),
            Style::Turns => {
                let turn = scaled(turn(rng, format.element()));
                beside(rng, turn, mask)
            }
            Style::ScaledTurns if i == special => {
                dense.to_bits((sign * scale * f64::from(format.element().max_normal())) as f32)
            }
            Style::ScaledTurns => {
                let turn = sign * scale * turn(rng, format.element());
                beside(rng, dense.to_bits(turn as f32), mask)
            }
            Style::ScaleEdge if i == special && rounds_log2 && rng.random() => {
                // What a rounded logarithm takes for the next power of two is just below it.
                let power = dense.to_bits(2f32.powi(rng.random_range(-70..70)));
                power.wrapping_sub(rng.random_range(0..64)) & (mask >> 1)
            }
            Style::ScaleEdge if i == special => {
                beside(rng, dense.to_bits((sign * edge) as f32), mask)
            }
            Style::ScaleEdge => dense.to_bits((sign * edge * rng.random_range(0.0..0.99)) as f32),
            Style::Powers => {
                let power = scaled(2f64.powi(-rng.random_range(0..8)));
                beside(rng, power, mask)
            }
            Style::Pair if i == special && is_four_over_six => dense.to_bits((6.0 * scale) as f32),
            Style::Pair if i == other && is_four_over_six => {
                let codes = format.element().codes();
                let [six, four] = [1.0, 1.5].map(|factor| {
                    let value = format.element().decode(rng.random_range(codes.clone()));
                    factor * f64::from(value.abs())
                });
                beside(
                    rng,
                    dense.to_bits((scale * (six + four) / 2.0) as f32),
                    mask,
                )
            }
            Style::Pair if i == special => scaled(unit),
            Style::Pair if i == other => scaled(unit * 2f64.powi(-rng.random_range(0..6))),
            Style::Sparse if rng.random_ratio(1, 4) => scaled(unit),
            Style::Sparse | Style::Pair | Style::Zeros => dense.to_bits(sign as f32 * 0.0),
            Style::AnyBits => rng.random::<u32>() & mask,
            Style::OneSpecial if i == special => {
                let infinity = dense.to_bits(f32::INFINITY);
                let nan = infinity | rng.random_range(1..=!infinity & mask & !sign_bit);
                let chosen = if rng.random() { infinity } else { nan };
                chosen | if rng.random() { sign_bit } else { 0 }
            }
            Style::OneSpecial => scaled(unit),
            Style::Tiny => {
                let bits = rng.random_range(1..8 * dense.bytes() - 4);
                rng.random_range(0..1u32 << bits) | if rng.random() { sign_bit } else { 0 }
            }
            Style::Huge => {
                let bits = rng.random_range(0..8 * dense.bytes() - 6);
                (largest - rng.random_range(0..1u32 << bits))
                    | if rng.random() { sign_bit } else { 0 }
            }
        };
        bits.push(element);
    }
}

/// The binade of a block: mostly common ones, often those at which the scale ends.
fn block_exponent(rng: &mut impl Rng, format: &BlockFormat, dense: FloatType) -> i32 {
    let range = match dense {
        FloatType::F16 => -24..16,
        FloatType::Bf16 | FloatType::F32 => -149..128,
    };
    let (scale, emax) = (format.scale(), format.element().emax());
    let e = match rng.random_range(0..4) {
        0 => rng.random_range(range.clone()),
        1 => {
            let smallest = scale.smallest().log2().floor() as i32;
            let largest = scale.max().log2().floor() as i32;
            let end = if rng.random() { smallest } else { largest };
            end + emax + rng.random_range(-2..=2)
        }
        _ => rng.random_range(-6..6),
    };
    e.clamp(range.start, range.end - 1)
}

/// An amax at which the choice of the scale turns: where X would be halfway between two scales, and
/// for powers of two where a rule of its own goes up.
fn scale_edge(rng: &mut impl Rng, format: &BlockFormat, scale: f64) -> f64 {
    let element = format.element();
    let max_normal = f64::from(element.max_normal());
    if format.scale().is_power_of_two() {
        let mantissa_bits = element.mantissa_bits().unwrap_or(3) as i32;
        let turn = match rng.random_range(0..3) {
            0 => 1.0,
            1 => max_normal / 2f64.powi(element.emax()),
            _ => 2.0 - 2f64.powi(-mantissa_bits - 1),
        };
        return scale * turn * 2f64.powi(element.emax());
    }
    let code = format.scale().encode_nearest(scale as f32);
    let next = f64::from(
        format
            .scale()
            .decode((code + 1).min(format.scale().max_code())),
    );
    (scale + next) / 2.0 * max_normal
}

/// A number of the grid, or halfway between two: where a rounding turns.
pub(super) fn turn(rng: &mut impl Rng, element: ElementFormat) -> f64 {
    let codes = element.codes();
    let value = |code| f64::from(element.decode(code));
    let code = rng.random_range(*codes.start()..*codes.end());
    let next = if rng.random_ratio(1, 4) {
        code
    } else {
        code + 1
    };
    let turn = (value(code) + value(next)) / 2.0;
    if turn.is_finite() {
        turn
    } else {
        f64::from(element.max_normal())
    }
}

/// The number, or one a unit in the last place away.
fn beside(rng: &mut impl Rng, bits: u32, mask: u32) -> u32 {
    bits.wrapping_add(rng.random_range(0..3)).wrapping_sub(1) & mask
}

/// A scale code: mostly common ones, the ends, and NaN.
pub(super) fn scale_code(rng: &mut impl Rng, scale: ScaleFormat) -> u32 {
    let max = scale.max_code();
    match rng.random_range(0..8) {
        0 => rng.random_range(0..=max),
        1 => rng.random_range(0..4).min(max),
        2 => max - rng.random_range(0..4).min(max),
        3 if rng.random_ratio(1, 4) => scale.nan_code(),
        _ => scale.encode_nearest(2f32.powi(rng.random_range(-8..8)) * rng.random_range(1.0..2.0)),
    }
}
