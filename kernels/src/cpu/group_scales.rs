//! The scales of the blocks of a group: as many blocks as a vector has lanes. `inline(always)` as
//! in [`super::quantize`].

use super::lanes::magnitude_bits;
use super::pack::CHUNK;
use super::plan::{Plan, ScalePlan};
use super::quantize::Kernel;
use super::scale::{
    BlockScale, PlainScales, block_scale, exponent_by_rule, fraction, lanes_of, plain_scales,
    power, special,
};
use super::simd::Simd;
use crate::format::write_scale;

impl<S: Simd> Kernel<'_, S> {
    /// Lane by lane, the largest magnitudes of whole vectors, and the elements behind them; NaN is
    /// above infinity.
    #[inline(always)]
    pub fn amax_lanes<'x>(&self, x: &'x [f32]) -> (S::U, &'x [f32]) {
        let s = self.s;
        let mut amax = s.splat_bits(0);
        let chunks = x.chunks_exact(S::LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            amax = s.max_bits(amax, magnitude_bits(s, s.load(chunk)));
        }
        (amax, rest)
    }

    /// The bits of a block's largest magnitude.
    #[inline(always)]
    fn amax(&self, x: &[f32]) -> u32 {
        let (amax, rest) = self.amax_lanes(x);
        let mut largest = self.s.largest(amax);
        for x in rest {
            largest = largest.max(x.abs().to_bits());
        }
        largest
    }

    /// The scale of a block by a rule that chooses the least error.
    #[inline(always)]
    fn least_error<const ROUNDING: u8, const SIGNED: bool>(
        &self,
        x: &[f32],
        index: u64,
    ) -> BlockScale {
        let (plan, amax) = (self.plan, self.amax(x));
        if let Some(special) = special(plan, amax) {
            return special;
        }
        let amax = f32::from_bits(amax);
        if let ScalePlan::LeastError { limit } = plan.scale {
            let middle = exponent_by_rule(plan, amax, limit);
            let candidates = [middle - 1, middle, middle + 1].map(|s| power(s, limit));
            return self.best_of::<ROUNDING, SIGNED, 3>(x, index, candidates);
        }
        let [six, four] = [1.0, 1.5].map(|factor| fraction(plan, amax, factor));
        match (six, four) {
            (BlockScale::Fraction { code, .. }, BlockScale::Fraction { code: other, .. })
                if code == other =>
            {
                six
            }
            (BlockScale::Zero, BlockScale::Zero) => six,
            _ => self.best_of::<ROUNDING, SIGNED, 2>(x, index, [six, four]),
        }
    }

    /// The candidate with the least error of a block, with squared errors added in order in f64, as
    /// the definition has it. A candidate that is NaN is left out.
    #[inline(always)]
    fn best_of<const ROUNDING: u8, const SIGNED: bool, const N: usize>(
        &self,
        x: &[f32],
        index: u64,
        candidates: [BlockScale; N],
    ) -> BlockScale {
        let mut errors = [0.0; N];
        for (chunk, x) in x.chunks(CHUNK).enumerate() {
            let index = index + (chunk * CHUNK) as u64;
            let mut values = [[0.0; CHUNK]; N];
            for (values, candidate) in values.iter_mut().zip(candidates) {
                values[..x.len()].copy_from_slice(x);
                match candidate {
                    BlockScale::Power { x, inverse, .. } => {
                        let by = self.factors(inverse, x);
                        self.fake_chunk::<ROUNDING, SIGNED, false>(values, by, index);
                    }
                    BlockScale::Fraction { x, divisor, .. } => {
                        let by = self.factors(divisor, x);
                        self.fake_chunk::<ROUNDING, SIGNED, true>(values, by, index);
                    }
                    BlockScale::Zero => values.fill(0.0),
                    BlockScale::NaN | BlockScale::Special => {}
                }
            }
            for (i, &x) in x.iter().enumerate() {
                for (error, values) in errors.iter_mut().zip(&values) {
                    let difference = f64::from(x) - f64::from(values[i]);
                    *error += difference * difference;
                }
            }
        }
        let mut best = (f64::INFINITY, BlockScale::NaN);
        for (candidate, error) in candidates.into_iter().zip(errors) {
            let is_nan = |scale| matches!(scale, BlockScale::NaN);
            if !is_nan(candidate) && (is_nan(best.1) || error < best.0) {
                best = (error, candidate);
            }
        }
        best.1
    }

    /// The scales of a group of whole blocks. `None` if they must be computed one by one.
    #[inline(always)]
    pub fn plain_scales<const ROUNDING: u8, const SIGNED: bool>(
        &self,
        group: &[f32],
    ) -> Option<PlainScales<S>> {
        let (s, block_size) = (self.s, self.plan.format.block_size());
        let may_be_plain = matches!(
            self.plan.scale,
            ScalePlan::Floor { .. } | ScalePlan::Fraction { .. }
        );
        let is_whole =
            block_size.is_multiple_of(S::LANES) && group.len().is_multiple_of(block_size);
        if !(may_be_plain && is_whole) {
            return None;
        }
        let mut blocks = group.chunks_exact(block_size);
        let (first, _) = self.amax_lanes(blocks.next()?);
        // Lanes without a block repeat the first.
        let mut amax = [first; CHUNK];
        for (amax, x) in amax[1..].iter_mut().zip(blocks) {
            *amax = self.amax_lanes(x).0;
        }
        let amax = s.largest_of_each(&amax);
        match self.plan.is_four_over_six {
            true if group.len() < S::LANES * block_size => None,
            true => self.four_over_six::<ROUNDING, SIGNED>(group, block_size, amax),
            false => plain_scales(s, self.plan, self.scales, amax, 1.0),
        }
    }

    /// The scales of the blocks of a group.
    #[inline(always)]
    pub fn group_scales<const ROUNDING: u8, const SIGNED: bool>(
        &self,
        group: &[f32],
        index: u64,
        scales: &mut [BlockScale; CHUNK],
    ) {
        let (s, plan) = (self.s, self.plan);
        if let Some(plain) = self.plain_scales::<ROUNDING, SIGNED>(group) {
            plain.write(s, self.scales.is_some(), scales);
            return;
        }
        if plan.format.rule().is_least_error() {
            scales_of_least_error::<S, ROUNDING, SIGNED>(s, plan, group, index, scales);
            return;
        }
        for (scale, x) in scales
            .iter_mut()
            .zip(group.chunks(plan.format.block_size()))
        {
            *scale = block_scale(plan, self.amax(x));
        }
    }

    /// Writes the codes of as many scales as there is room for.
    #[inline(always)]
    pub fn write_scales(&self, codes: S::U, to: &mut [u8]) {
        let s = self.s;
        if to.len() == S::LANES && self.plan.format.scale().storage_bytes() == 1 {
            return s.store_bytes(codes, to);
        }
        let codes = lanes_of(s, s.float(codes));
        let scales = to.chunks_exact_mut(self.plan.format.scale().storage_bytes());
        for (bytes, code) in scales.zip(codes) {
            write_scale(code.to_bits(), bytes);
        }
    }

    /// Whether rows follow each other without a gap: whole blocks, and whole bytes.
    #[inline(always)]
    pub fn is_seamless(&self, cols: usize) -> bool {
        let block_size = self.plan.format.block_size();
        cols.is_multiple_of(block_size) && self.layout.is_whole(block_size)
    }
}

/// The scales of the blocks of a group by a rule that chooses the least error: the same function
/// whether codes or values are wanted. A function of its own, marked cold: otherwise the compiler
/// spills the registers of the common plans.
#[cold]
#[inline(never)]
pub(super) fn scales_of_least_error<S: Simd, const ROUNDING: u8, const SIGNED: bool>(
    s: S,
    plan: &Plan,
    group: &[f32],
    index: u64,
    scales: &mut [BlockScale; CHUNK],
) {
    s.outline(
        #[inline(always)]
        || {
            let kernel = Kernel::new(s, plan);
            let block_size = plan.format.block_size();
            let blocks = group.chunks(block_size).enumerate();
            for (scale, (block, x)) in scales.iter_mut().zip(blocks) {
                let index = index + (block * block_size) as u64;
                *scale = kernel.least_error::<ROUNDING, SIGNED>(x, index);
            }
        },
    );
}
