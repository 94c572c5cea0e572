//! Blocks to packed E2M1 in about half of the operations that any element takes.
//!
//! Elements are scaled to twice their value t, which is rounded to 0, 1, 2, 3, 4, 6, 8, 12. As at
//! the head of [`super`], a constant c makes the sum 2t + c round half to even at the right place:
//! c = K e, with e the binade of 2t, at least 2, and K = 1.5 * 2^22, so that the sums of a t of
//! either sign are in one binade. Both 2t + K e and, after it, the difference from K e are one
//! fused operation. The results are small whole numbers, and as bytes, 32 at a time, they become
//! codes. Under a scale that saturates they may be large, infinite or, by infinity less infinity,
//! NaN: all of these become the largest code, as they should.
//!
//! Where scales are fractions, x / d is replaced by products. The definition rounds x / d to f32,
//! and a code says on which side of seven boundaries this lies. With h = RN(2 / d) and l = RN((2 -
//! h d) / d), where 2 - h d is exact, q = RN(x h + RN(x l)) is as close to 2x / d, to a relative
//! 2^-47 before it is rounded, and grows with x. So q gives the same code for all x if it does for
//! the numbers next to each boundary. A test tries these for every significand of d. Exponents
//! change nothing as long as no operation near a boundary underflows; see [`DIVISORS`].

use super::lanes::EVEN;
use super::pack::CHUNK;
use super::plan::{Plan, ScalePlan};
use super::quantize::Kernel;
use super::scale::plain_scales;
use super::simd::{PacksE2m1, Simd};
use crate::format::{CodeLayout, ElementFormat};

/// Any block size; the usual ones have loops of their own.
const ANY: usize = 0;
/// Elements that are packed together.
const UNIT: usize = 64;
/// The most blocks whose scales are made before their elements are rounded, and the most elements:
/// enough to hide the latency of the scales, few enough to stay in the cache.
const BATCH_BLOCKS: usize = 32;
const BATCH: usize = 2048;
/// How many elements ahead of its use x is fetched: scales are made a batch ahead.
const AHEAD: usize = 2048;

const EXPONENT_FIELD: u32 = 0x7F80_0000;
/// c = K e.
const K: f32 = 1.5 * (1 << 22) as f32;

/// Between these, boundaries, the reciprocals of divisors and what these leave are normal numbers.
const DIVISORS: [u32; 2] = [(127 - 120) << 23, (127 + 70) << 23];

/// What elements are multiplied by.
#[derive(Clone, Copy)]
struct Factor<F> {
    high: F,
    /// With fractions: what `high` lacks.
    low: F,
}

/// The factors of a batch.
type Factors = Factor<[f32; BATCH_BLOCKS]>;

impl<S: Simd> Kernel<'_, S> {
    /// The way that rows go with a rounding, if they are quantised here.
    #[inline(always)]
    pub fn e2m1<const ROUNDING: u8, const SIGNED: bool>(&self) -> Option<S::E2m1> {
        if !(ROUNDING == EVEN && SIGNED) {
            return None;
        }
        let (format, block_size) = (&self.plan.format, self.plan.format.block_size());
        let is_e2m1 = format.element() == ElementFormat::FP4_E2M1;
        let fits = matches!(block_size, 16 | 32) || block_size.is_multiple_of(UNIT);
        let is_plain = matches!(
            self.plan.scale,
            ScalePlan::Floor { .. } | ScalePlan::Fraction { .. }
        );
        let is_here = is_e2m1 && fits && is_plain && self.layout == CodeLayout::Bits4;
        self.s.e2m1().filter(|_| is_here)
    }

    /// Quantises from the front of a row as many whole groups as have plain scales. Returns the
    /// number of elements.
    #[inline(always)]
    pub fn quantize_e2m1(
        &self,
        e2m1: S::E2m1,
        x: &[f32],
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> usize {
        let Self { s, plan, .. } = *self;
        match (self.scales.is_some(), plan.format.block_size()) {
            (true, 16) => quantize_groups::<S, true, 16>(s, e2m1, plan, x, codes, scales),
            (true, _) => quantize_groups::<S, true, ANY>(s, e2m1, plan, x, codes, scales),
            (false, 16) => quantize_groups::<S, false, 16>(s, e2m1, plan, x, codes, scales),
            (false, 32) => quantize_groups::<S, false, 32>(s, e2m1, plan, x, codes, scales),
            (false, _) => quantize_groups::<S, false, ANY>(s, e2m1, plan, x, codes, scales),
        }
    }

    #[inline(always)]
    fn quantize_groups<const DIVIDES: bool, const SIZE: usize>(
        &self,
        e2m1: S::E2m1,
        x: &[f32],
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> usize {
        let block_size = self.block_size::<SIZE>();
        let group = S::LANES * block_size;
        let group_scales = S::LANES * self.plan.format.scale().storage_bytes();
        let groups = (BATCH / group).clamp(1, BATCH_BLOCKS / S::LANES);
        let mut scales = scales.chunks_exact_mut(group_scales);
        let mut factors = Factor {
            high: [0.0; BATCH_BLOCKS],
            low: [0.0; BATCH_BLOCKS],
        };
        let mut done = 0;
        loop {
            let mut plain = 0;
            let batch = x[done..].chunks_exact(group).take(groups);
            for (i, x) in batch.enumerate() {
                let Some(scales) = scales.next() else { break };
                if !self.e2m1_scales::<DIVIDES, SIZE>(x, scales, &mut factors, i * S::LANES) {
                    break;
                }
                plain += group;
            }
            let codes = &mut codes[done / 2..][..plain / 2];
            self.encode_e2m1::<DIVIDES, SIZE>(e2m1, &x[done..][..plain], &factors, codes);
            done += plain;
            if plain < groups * group {
                return done;
            }
        }
    }

    #[inline(always)]
    fn block_size<const SIZE: usize>(&self) -> usize {
        match SIZE {
            ANY => self.plan.format.block_size(),
            size => size,
        }
    }

    /// The bits of the largest magnitude of each block of a group.
    #[inline(always)]
    fn amax_of_blocks<const SIZE: usize>(&self, x: &[f32]) -> S::U {
        let block_size = self.block_size::<SIZE>();
        let x = &x[..S::LANES * block_size];
        let mut amax = [self.s.splat_bits(0); CHUNK];
        for (i, amax) in amax[..S::LANES].iter_mut().enumerate() {
            *amax = self.amax_lanes(&x[i * block_size..][..block_size]).0;
        }
        self.s.largest_of_each(&amax)
    }

    /// Writes the scales of a group and its factors, the first at `at`. Whether they are plain.
    #[inline(always)]
    fn e2m1_scales<const DIVIDES: bool, const SIZE: usize>(
        &self,
        x: &[f32],
        scales: &mut [u8],
        factors: &mut Factors,
        at: usize,
    ) -> bool {
        let s = self.s;
        let amax = self.amax_of_blocks::<SIZE>(x);
        let plain = match self.plan.is_four_over_six {
            true => self.four_over_six::<EVEN, true>(x, self.block_size::<SIZE>(), amax),
            false => plain_scales(s, self.plan, self.scales, amax, 1.0),
        };
        let Some(plain) = plain else { return false };
        let factor = if DIVIDES {
            let divisor = plain.factors;
            let [least, end] = DIVISORS.map(|bits| s.splat_bits(bits));
            let bits = s.bits(divisor);
            if !s.all(s.both(s.exceeds(bits, least), s.exceeds(end, bits))) {
                return false;
            }
            doubled_reciprocal(s, divisor)
        } else {
            Factor {
                high: s.add(plain.factors, plain.factors),
                low: s.splat(0.0),
            }
        };
        s.store(factor.high, &mut factors.high[at..]);
        if DIVIDES {
            s.store(factor.low, &mut factors.low[at..]);
        }
        self.write_scales(plain.codes, scales);
        true
    }

    /// The codes of whole groups.
    #[inline(always)]
    fn encode_e2m1<const DIVIDES: bool, const SIZE: usize>(
        &self,
        e2m1: S::E2m1,
        x: &[f32],
        factors: &Factors,
        codes: &mut [u8],
    ) {
        let (s, block_size) = (self.s, self.block_size::<SIZE>());
        // Units of a block, or blocks of a unit.
        let (units, blocks) = ((block_size / UNIT).max(1), UNIT.div_ceil(block_size));
        let x = x.as_chunks::<UNIT>().0;
        let codes = codes.as_chunks_mut::<{ UNIT / 2 }>().0;
        for (unit, (x, codes)) in x.iter().zip(codes).enumerate() {
            let first = unit / units * blocks;
            let mut pairs = [s.splat_bits(0); 2];
            for (half, pair) in pairs.iter_mut().enumerate() {
                let mut doubled = [s.splat_bits(0); 4];
                let mut signs = [s.splat_bits(0); 4];
                for v in 0..UNIT / 2 / S::LANES {
                    let at = half * UNIT / 2 + v * S::LANES;
                    let block = first + at / CHUNK * blocks / (UNIT / CHUNK);
                    let factor = Factor {
                        high: s.splat(factors.high[block % BATCH_BLOCKS]),
                        low: s.splat(factors.low[block % BATCH_BLOCKS]),
                    };
                    let x = s.load(&x[at..]);
                    doubled[v] = e2m1.integers(round(s, scaled::<S, DIVIDES>(s, x, factor)));
                    signs[v] = s.bits(x);
                }
                *pair = e2m1.pair(&doubled, &signs);
            }
            e2m1.store(pairs, codes);
            for line in x.as_chunks::<CHUNK>().0 {
                s.prefetch(line, AHEAD);
            }
        }
    }
}

/// A function of its own, so that the loops keep their constants in registers.
fn quantize_groups<S: Simd, const DIVIDES: bool, const SIZE: usize>(
    s: S,
    e2m1: S::E2m1,
    plan: &Plan,
    x: &[f32],
    codes: &mut [u8],
    scales: &mut [u8],
) -> usize {
    s.outline(
        #[inline(always)]
        || Kernel::new(s, plan).quantize_groups::<DIVIDES, SIZE>(e2m1, x, codes, scales),
    )
}

/// 2 / d, for [`scaled`].
#[inline(always)]
fn doubled_reciprocal<S: Simd>(s: S, divisor: S::F) -> Factor<S::F> {
    let two = s.splat(2.0);
    let high = s.div(two, divisor);
    let minus = s.float(s.xor(s.bits(high), s.splat_bits(1 << 31)));
    let rest = s.fma(minus, divisor, two);
    let low = s.div(rest, divisor);
    Factor { high, low }
}

/// 2t.
#[inline(always)]
fn scaled<S: Simd, const DIVIDES: bool>(s: S, x: S::F, factor: Factor<S::F>) -> S::F {
    match DIVIDES {
        true => s.fma(x, factor.high, s.mul(x, factor.low)),
        false => s.mul(x, factor.high),
    }
}

/// 2t on the grid.
#[inline(always)]
fn round<S: Simd>(s: S, doubled: S::F) -> S::F {
    let e = s.and(s.bits(doubled), s.splat_bits(EXPONENT_FIELD));
    let e = s.float(s.max_bits(e, s.bits(s.splat(2.0))));
    let sum = s.fma(e, s.splat(K), doubled);
    s.fma(e, s.splat(-K), sum)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::isa::Isa;
    use super::super::simd::Avx2;
    use super::*;

    /// Where the code changes.
    const BOUNDARIES: [f32; 7] = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0];

    /// Of divisors with eight significands from the given one on, how many numbers next to
    /// boundaries products and quotients bring to other codes.
    #[inline(always)]
    fn differences<S: Simd>(s: S, significand: u32, exponent: u32) -> usize {
        let first = s.add_bits(s.splat_bits(exponent << 23 | significand), s.iota());
        let divisor = s.float(first);
        let factor = doubled_reciprocal(s, divisor);
        let mut differences = 0;
        for boundary in BOUNDARIES {
            let boundary = s.bits(s.mul(divisor, s.splat(boundary)));
            for ulps in [-2, -1, 0, 1, 2_i32] {
                let x = s.float(s.add_bits(boundary, s.splat_bits(ulps as u32)));
                let quotient = s.div(x, divisor);
                let expected = round(s, s.add(quotient, quotient));
                let found = round(s, scaled::<S, true>(s, x, factor));
                differences += usize::from(!s.all(s.equal(found, expected)));
            }
        }
        differences
    }

    #[test]
    fn products_bring_numbers_next_to_boundaries_where_quotients_do() {
        if !Isa::Avx2.is_available() {
            return;
        }
        // SAFETY: the CPU has the features.
        let s = unsafe { Avx2::new() };
        let exponents = DIVISORS.map(|bits| bits >> 23);
        let all = (0..1 << 23).step_by(Avx2::LANES);
        let differences = s.outline(
            #[inline(always)]
            || {
                let mut found = 0;
                for significand in all {
                    found += differences(s, significand, 127);
                    // Exponents at the ends behave alike; every 64th is enough to see that.
                    if significand.is_multiple_of(512) {
                        found += differences(s, significand, exponents[0]);
                        found += differences(s, significand, exponents[1] - 1);
                    }
                }
                found
            },
        );
        assert_eq!(differences, 0);
    }
}
