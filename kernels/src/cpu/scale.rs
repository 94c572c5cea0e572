//! The scale of one block, from its amax.

use super::lanes::{Lanes, magnitude_bits};
use super::pack::CHUNK;
use super::plan::{Plan, ScalePlan};
use super::simd::Simd;
use crate::format::pow2;

const INFINITY_BITS: u32 = 0x7F80_0000;

/// A block's scale code, and the factor of its elements.
#[derive(Clone, Copy)]
pub(super) enum BlockScale {
    /// X = 2^s: multiply by 2^-s.
    Power { code: u32, x: f32, inverse: f32 },
    /// Divide by `divisor`, RN(X * tensor scale).
    Fraction { code: u32, x: f32, divisor: f32 },
    /// Scale code 0 and elements zero.
    Zero,
    /// The NaN code and codes 0.
    NaN,
    /// A NaN that the dialect ignores: left to the scalar definition.
    Special,
}

/// The scale of a block that has an infinity or a NaN; `None` for other blocks.
#[inline(always)]
pub(super) fn special(plan: &Plan, amax_bits: u32) -> Option<BlockScale> {
    if amax_bits < INFINITY_BITS {
        return None;
    }
    Some(if plan.format.dialect().ignores_nan() {
        BlockScale::Special
    } else {
        BlockScale::NaN
    })
}

/// The scale of a block whose largest magnitude has these bits (NaN above infinity).
#[inline(always)]
pub(super) fn block_scale(plan: &Plan, amax_bits: u32) -> BlockScale {
    if let Some(special) = special(plan, amax_bits) {
        return special;
    }
    let amax = f32::from_bits(amax_bits);
    match &plan.scale {
        ScalePlan::Floor { emax, limit } => {
            // Zero and subnormals land at -127 - emax, below any limit.
            power((amax_bits >> 23) as i32 - 127 - emax, *limit)
        }
        ScalePlan::Power { limit } => {
            let s = exponent_by_rule(plan, amax, *limit);
            power(s, *limit)
        }
        ScalePlan::LeastError { .. } => unreachable!("chosen by the elements"),
        ScalePlan::Fraction { .. } | ScalePlan::Wide { .. } => fraction(plan, amax, 1.0),
    }
}

/// The scale nearest to `factor` times what brings amax to the largest element. Plans are those
/// with a `half_range`, for scales that are fractions, and no others.
#[inline(always)]
pub(super) fn fraction(plan: &Plan, amax: f32, factor: f32) -> BlockScale {
    let scale = plan.format.scale();
    let (value, code, lifts_zero) = match &plan.scale {
        ScalePlan::Fraction {
            codec,
            half_range,
            lifts_zero,
        } => {
            let (value, code) = codec.round_scale(factor * ideal(plan, amax, *half_range));
            (value, code, *lifts_zero)
        }
        ScalePlan::Wide {
            half_range,
            lifts_zero,
        } => {
            let code = scale.encode_nearest(factor * ideal(plan, amax, *half_range));
            (scale.decode(code), code, *lifts_zero)
        }
        ScalePlan::Floor { .. } | ScalePlan::Power { .. } | ScalePlan::LeastError { .. } => {
            unreachable!("{scale} has no fractions")
        }
    };
    let (x, code) = if code == 0 && lifts_zero && amax > 0.0 {
        (scale.smallest(), scale.smallest_code())
    } else {
        (value, code)
    };
    let divisor = x * plan.tensor_scale;
    if divisor == 0.0 {
        BlockScale::Zero
    } else {
        BlockScale::Fraction { code, x, divisor }
    }
}

/// The scales of as many blocks as a vector has lanes, none of them special.
#[derive(Clone, Copy)]
pub(super) struct PlainScales<S: Simd> {
    pub codes: S::U,
    /// The values X.
    pub x: S::F,
    /// What elements are multiplied by; divided by if scales are fractions.
    pub factors: S::F,
}

impl<S: Simd> PlainScales<S> {
    /// As scales of blocks.
    #[inline(always)]
    pub fn write(self, s: S, are_fractions: bool, scales: &mut [BlockScale; CHUNK]) {
        let codes = lanes_of(s, s.float(self.codes));
        let (xs, factors) = (lanes_of(s, self.x), lanes_of(s, self.factors));
        for (i, scale) in scales[..S::LANES].iter_mut().enumerate() {
            let (code, x, factor) = (codes[i].to_bits(), xs[i], factors[i]);
            *scale = match are_fractions {
                true => BlockScale::Fraction {
                    code,
                    x,
                    divisor: factor,
                },
                false => BlockScale::Power {
                    code,
                    x,
                    inverse: factor,
                },
            };
        }
    }
}

/// The scales of blocks from the largest magnitude of each. `None` if one of them needs the slow
/// path: it is not finite, at an end of the range, or of another kind of plan. `codec` rounds
/// fractions, after they are multiplied by `factor`.
#[inline(always)]
pub(super) fn plain_scales<S: Simd>(
    s: S,
    plan: &Plan,
    codec: Option<Lanes<'_, S>>,
    amax_bits: S::U,
    factor: f32,
) -> Option<PlainScales<S>> {
    let is_finite = s.exceeds(s.splat_bits(INFINITY_BITS), amax_bits);
    let (is_plain, scales) = match (&plan.scale, codec) {
        (ScalePlan::Floor { emax, limit }, _) => {
            // Both 2^s and 2^-s are normal.
            let most = (*limit).min(126);
            let exponent = s.sub_bits(
                s.shift_right(amax_bits, 23),
                s.splat_bits((127 + emax) as u32),
            );
            let is_plain = s.both(
                s.exceeds(exponent, s.splat_bits((-most - 1) as u32)),
                s.exceeds(s.splat_bits((most + 1) as u32), exponent),
            );
            let bias = s.splat_bits(127);
            let scales = PlainScales {
                codes: s.add_bits(exponent, s.splat_bits(*limit as u32)),
                x: s.float(s.shift_left(s.add_bits(bias, exponent), 23)),
                factors: s.float(s.shift_left(s.sub_bits(bias, exponent), 23)),
            };
            (is_plain, scales)
        }
        (ScalePlan::Fraction { half_range, .. }, Some(codec)) => {
            let mut ideal = s.div(s.float(amax_bits), s.splat(*half_range));
            if plan.format.has_tensor_scale() {
                ideal = s.div(ideal, s.splat(plan.tensor_scale));
            }
            if factor != 1.0 {
                ideal = s.mul(ideal, s.splat(factor));
            }
            let (x, codes) = codec.round_scales(ideal);
            let factors = s.mul(x, s.splat(plan.tensor_scale));
            let is_plain = s.both(
                s.exceeds(codes, s.splat_bits(0)),
                s.at_most(s.splat(f32::from_bits(1)), factors),
            );
            (is_plain, PlainScales { codes, x, factors })
        }
        _ => return None,
    };
    s.all(s.both(is_finite, is_plain)).then_some(scales)
}

#[inline(always)]
pub(super) fn lanes_of<S: Simd>(s: S, x: S::F) -> [f32; CHUNK] {
    let mut lanes = [0.0; CHUNK];
    s.store(x, &mut lanes);
    lanes
}

/// X = 2^s, raised to the smallest scale; NaN above the largest. Plans have a `limit` for scales
/// that are powers of two, and for no others.
#[inline(always)]
pub(super) fn power(s: i32, limit: i32) -> BlockScale {
    if s > limit {
        return BlockScale::NaN;
    }
    let s = s.max(-limit);
    BlockScale::Power {
        code: (s + limit) as u32,
        x: pow2(s) as f32,
        inverse: pow2(-s) as f32,
    }
}

/// The exponent by a rule other than plain `floor`, as defined; the middle candidate of
/// [`ScalePlan::LeastError`].
#[inline(never)]
pub(super) fn exponent_by_rule(plan: &Plan, amax: f32, limit: i32) -> i32 {
    let (format, dialect) = (&plan.format, plan.format.dialect());
    let amax = if amax == 0.0 {
        dialect.amax_of_zeros()
    } else {
        amax
    };
    if amax == 0.0 {
        return -limit;
    }
    let floor_log2 = dialect.floor_log2(f64::from(amax), plan.source);
    let s = format.rule().exponent(amax, floor_log2, format.element());
    s.unwrap_or(-limit).max(-limit)
}

#[inline(always)]
fn ideal(plan: &Plan, amax: f32, half_range: f32) -> f32 {
    let ideal = amax / half_range;
    if plan.format.has_tensor_scale() {
        ideal / plan.tensor_scale
    } else {
        ideal
    }
}

/// The largest finite magnitude, or 0. It compares integers, which have the same order.
#[inline(always)]
pub(super) fn finite_amax<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut amax = s.splat_bits(0);
    let chunks = x.chunks_exact(S::LANES);
    let rest = chunks.remainder().iter().map(|x| x.abs().to_bits());
    for chunk in chunks {
        let magnitudes = magnitude_bits(s, s.load(chunk));
        let is_finite = s.exceeds(s.splat_bits(INFINITY_BITS), magnitudes);
        amax = s.max_bits(amax, s.keep_if(is_finite, magnitudes));
    }
    let rest = rest.filter(|&bits| bits < INFINITY_BITS);
    f32::from_bits(rest.fold(s.largest(amax), u32::max))
}
