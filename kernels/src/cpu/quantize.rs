//! Quantises rows to packed codes and scales, or to dequantised values.
//!
//! The bodies are `inline(always)` so that they take on the target features of [`Simd::outline`].

use super::lanes::{Lanes, STOCHASTIC, magnitude_bits, random_from};
use super::pack::{CHUNK, pack_chunk};
use super::plan::{Plan, ScalePlan};
use super::scalar::{fake_special, quantize_special};
use super::scale::{BlockScale, block_scale, block_scales, exponent_by_rule, power, special};
use super::simd::Simd;
use crate::format::{CodeLayout, write_scale};

/// The state of one call.
struct Kernel<'a, S: Simd> {
    s: S,
    plan: &'a Plan,
    lanes: Lanes<'a, S>,
    /// For scales that are fractions.
    scales: Option<Lanes<'a, S>>,
    layout: CodeLayout,
}

impl<'a, S: Simd> Kernel<'a, S> {
    #[inline(always)]
    fn new(s: S, plan: &'a Plan) -> Self {
        Self {
            s,
            plan,
            lanes: plan.codec.spread(s),
            scales: match &plan.scale {
                ScalePlan::Fraction { codec, .. } => Some(codec.spread(s)),
                _ => None,
            },
            layout: plan.layout,
        }
    }

    /// Lane by lane, the largest magnitudes of whole vectors, and the elements behind them; NaN is
    /// above infinity.
    #[inline(always)]
    fn amax_lanes<'x>(&self, x: &'x [f32]) -> (S::U, &'x [f32]) {
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

    /// The scale with the least error of a block: three candidates, with squared errors added in
    /// order in f64, as the definition has it.
    #[inline(always)]
    fn least_error<const ROUNDING: u8, const SIGNED: bool>(
        &self,
        x: &[f32],
        index: u64,
        limit: i32,
    ) -> BlockScale {
        let amax = self.amax(x);
        if let Some(special) = special(self.plan, amax) {
            return special;
        }
        let middle = exponent_by_rule(self.plan, f32::from_bits(amax), limit);
        let candidates = [middle - 1, middle, middle + 1].map(|s| power(s, limit));
        let mut errors = [0.0; 3];
        for (chunk, x) in x.chunks(CHUNK).enumerate() {
            let mut values = [[0.0; CHUNK]; 3];
            for (values, candidate) in values.iter_mut().zip(candidates) {
                values[..x.len()].copy_from_slice(x);
                if let BlockScale::Power { x, inverse, .. } = candidate {
                    let by = self.factors(inverse, x);
                    let index = index + (chunk * CHUNK) as u64;
                    self.fake_chunk::<ROUNDING, SIGNED, false>(values, by, index);
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
            let is_first = matches!(best.1, BlockScale::NaN);
            if matches!(candidate, BlockScale::Power { .. }) && (is_first || error < best.0) {
                best = (error, candidate);
            }
        }
        best.1
    }

    /// The scales of the blocks of a group.
    #[inline(always)]
    fn group_scales<const ROUNDING: u8, const SIGNED: bool>(
        &self,
        group: &[f32],
        index: u64,
        scales: &mut [BlockScale; CHUNK],
    ) {
        let (s, plan) = (self.s, self.plan);
        match plan.scale {
            ScalePlan::LeastError { limit } => {
                scales_of_least_error::<S, ROUNDING, SIGNED>(s, plan, group, index, limit, scales);
            }
            _ => self.scales_by_amax(group, scales),
        }
    }

    #[inline(always)]
    fn scales_by_amax(&self, group: &[f32], scales: &mut [BlockScale; CHUNK]) {
        let (s, block_size) = (self.s, self.plan.format.block_size());
        if group.len() == S::LANES * block_size && block_size.is_multiple_of(S::LANES) {
            let mut amax = [s.splat_bits(0); CHUNK];
            for (amax, x) in amax.iter_mut().zip(group.chunks_exact(block_size)) {
                *amax = self.amax_lanes(x).0;
            }
            let amax = s.largest_of_each(&amax);
            if block_scales(s, self.plan, self.scales, amax, scales) {
                return;
            }
        }
        for (scale, x) in scales.iter_mut().zip(group.chunks(block_size)) {
            *scale = block_scale(self.plan, self.amax(x));
        }
    }

    /// Elements divided by their block's scale.
    #[inline(always)]
    fn scaled(&self, x: S::F, scale: BlockScale) -> S::F {
        match scale {
            BlockScale::Power { inverse, .. } => self.s.mul(x, self.s.splat(inverse)),
            BlockScale::Fraction { divisor, .. } => self.s.div(x, self.s.splat(divisor)),
            _ => x,
        }
    }

    #[inline(always)]
    fn random<const ROUNDING: u8>(&self, index: u64) -> S::U {
        if ROUNDING == STOCHASTIC {
            random_from(self.s, self.plan.seed, index)
        } else {
            self.s.splat_bits(0)
        }
    }

    #[inline(always)]
    fn encode_chunk<const ROUNDING: u8, const SIGNED: bool>(
        &self,
        x: &[f32; CHUNK],
        scale: BlockScale,
        index: u64,
        packed: &mut [u8],
    ) {
        let (s, layout) = (self.s, self.layout);
        let mut bytes = [0; CHUNK];
        for first in (0..CHUNK).step_by(S::LANES) {
            let x = s.load(&x[first..]);
            let random = self.random::<ROUNDING>(index + first as u64);
            let codes = self
                .lanes
                .encode::<ROUNDING, SIGNED>(x, self.scaled(x, scale), random);
            match layout {
                CodeLayout::Bits4 => s.store_nibbles(codes, &mut packed[first / 2..]),
                CodeLayout::Bits8 => s.store_bytes(codes, &mut packed[first..]),
                CodeLayout::Bits2
                | CodeLayout::Bits3
                | CodeLayout::Bits5
                | CodeLayout::Bits6
                | CodeLayout::Bits7 => s.store_bytes(codes, &mut bytes[first..]),
            }
        }
        if !matches!(layout, CodeLayout::Bits4 | CodeLayout::Bits8) {
            pack_chunk(layout, &bytes, packed);
        }
    }

    #[inline(always)]
    fn encode_block<const ROUNDING: u8, const SIGNED: bool>(
        &self,
        x: &[f32],
        scale: BlockScale,
        mut index: u64,
        packed: &mut [u8],
    ) {
        let layout = self.layout;
        let bytes = layout.bytes(CHUNK);
        let (chunks, rest) = x.as_chunks::<CHUNK>();
        let mut packed_rest = packed;
        for x in chunks {
            let (packed, behind) = packed_rest.split_at_mut(bytes);
            packed_rest = behind;
            self.encode_chunk::<ROUNDING, SIGNED>(x, scale, index, packed);
            index += CHUNK as u64;
        }
        if !rest.is_empty() {
            let mut padded = [0.0; CHUNK];
            padded[..rest.len()].copy_from_slice(rest);
            let mut packed = [0; CHUNK];
            self.encode_chunk::<ROUNDING, SIGNED>(&padded, scale, index, &mut packed[..bytes]);
            packed_rest.copy_from_slice(&packed[..packed_rest.len()]);
            layout.clear_behind(rest.len(), packed_rest);
        }
    }

    /// What elements are multiplied or divided by before they are rounded, and multiplied by after.
    #[inline(always)]
    fn factors(&self, scale: f32, block_x: f32) -> [S::F; 3] {
        let s = self.s;
        [
            s.splat(scale),
            s.splat(block_x),
            s.splat(self.plan.tensor_scale),
        ]
    }

    /// `DIVIDES`: scales are fractions.
    #[inline(always)]
    fn fake_chunk<const ROUNDING: u8, const SIGNED: bool, const DIVIDES: bool>(
        &self,
        x: &mut [f32; CHUNK],
        [scale, block_x, tensor_scale]: [S::F; 3],
        index: u64,
    ) {
        let s = self.s;
        for first in (0..CHUNK).step_by(S::LANES) {
            let element = s.load(&x[first..]);
            let random = self.random::<ROUNDING>(index + first as u64);
            let scaled = match DIVIDES {
                true => s.div(element, scale),
                false => s.mul(element, scale),
            };
            let value = self.lanes.fake::<ROUNDING, SIGNED>(element, scaled, random);
            s.store(s.mul(s.mul(value, block_x), tensor_scale), &mut x[first..]);
        }
    }

    #[inline(always)]
    fn fake_block<const ROUNDING: u8, const SIGNED: bool, const DIVIDES: bool>(
        &self,
        x: &mut [f32],
        factors: [S::F; 3],
        mut index: u64,
    ) {
        let (chunks, rest) = x.as_chunks_mut::<CHUNK>();
        for x in chunks {
            self.fake_chunk::<ROUNDING, SIGNED, DIVIDES>(x, factors, index);
            index += CHUNK as u64;
        }
        if !rest.is_empty() {
            let mut padded = [0.0; CHUNK];
            padded[..rest.len()].copy_from_slice(rest);
            self.fake_chunk::<ROUNDING, SIGNED, DIVIDES>(&mut padded, factors, index);
            rest.copy_from_slice(&padded[..rest.len()]);
        }
    }
}

/// The scales of the blocks of a group for [`ScalePlan::LeastError`]: the same function whether
/// codes or values are wanted. A function of its own, marked cold: otherwise the compiler spills
/// the registers of the common plans.
#[cold]
#[inline(never)]
fn scales_of_least_error<S: Simd, const ROUNDING: u8, const SIGNED: bool>(
    s: S,
    plan: &Plan,
    group: &[f32],
    index: u64,
    limit: i32,
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
                *scale = kernel.least_error::<ROUNDING, SIGNED>(x, index, limit);
            }
        },
    );
}

/// Rows to packed codes and scales. Blocks must start at byte boundaries.
#[inline(always)]
pub(super) fn quantize_rows<S: Simd, const ROUNDING: u8, const SIGNED: bool>(
    s: S,
    plan: &Plan,
    x: &[f32],
    cols: usize,
    first_row: usize,
    codes: &mut [u8],
    scales: &mut [u8],
) {
    let kernel = Kernel::new(s, plan);
    let layout = kernel.layout;
    let block_size = plan.format.block_size();
    let row_bytes = layout.bytes(cols);
    let block_bytes = layout.bytes(block_size);
    let mut scales = scales.chunks_exact_mut(plan.format.scale().storage_bytes());
    let mut block_scales = [BlockScale::Zero; CHUNK];
    let rows = x.chunks_exact(cols).zip(codes.chunks_exact_mut(row_bytes));
    for (row, (x, mut codes)) in rows.enumerate() {
        let mut index = (first_row + row) as u64 * cols as u64;
        for group in x.chunks(S::LANES * block_size) {
            kernel.group_scales::<ROUNDING, SIGNED>(group, index, &mut block_scales);
            for (x, &scale) in group.chunks(block_size).zip(&block_scales) {
                let (block_codes, rest) = codes.split_at_mut(block_bytes.min(codes.len()));
                codes = rest;
                let scale_code = match scale {
                    BlockScale::Power { code, .. } | BlockScale::Fraction { code, .. } => {
                        kernel.encode_block::<ROUNDING, SIGNED>(x, scale, index, block_codes);
                        code
                    }
                    BlockScale::Zero => {
                        block_codes.fill(plan.zero_byte);
                        layout.clear_behind(x.len(), block_codes);
                        0
                    }
                    BlockScale::NaN => {
                        block_codes.fill(0);
                        plan.format.scale().nan_code()
                    }
                    BlockScale::Special => quantize_special(plan, x, index, block_codes),
                };
                if let Some(bytes) = scales.next() {
                    if let [byte] = bytes {
                        *byte = scale_code as u8;
                    } else {
                        write_scale(scale_code, bytes);
                    }
                }
                index += x.len() as u64;
            }
        }
    }
}

/// Rows quantised and dequantised in place.
#[inline(always)]
pub(super) fn fake_rows<S: Simd, const ROUNDING: u8, const SIGNED: bool>(
    s: S,
    plan: &Plan,
    x: &mut [f32],
    cols: usize,
    first_row: usize,
) {
    let kernel = Kernel::new(s, plan);
    let block_size = plan.format.block_size();
    let mut scales = [BlockScale::Zero; CHUNK];
    for (row, x) in x.chunks_exact_mut(cols).enumerate() {
        let mut index = (first_row + row) as u64 * cols as u64;
        for group in x.chunks_mut(S::LANES * block_size) {
            kernel.group_scales::<ROUNDING, SIGNED>(group, index, &mut scales);
            for (x, &scale) in group.chunks_mut(block_size).zip(&scales) {
                match scale {
                    BlockScale::Power {
                        x: block_x,
                        inverse,
                        ..
                    } => {
                        let factors = kernel.factors(inverse, block_x);
                        kernel.fake_block::<ROUNDING, SIGNED, false>(x, factors, index);
                    }
                    BlockScale::Fraction {
                        x: block_x,
                        divisor,
                        ..
                    } => {
                        let factors = kernel.factors(divisor, block_x);
                        kernel.fake_block::<ROUNDING, SIGNED, true>(x, factors, index);
                    }
                    BlockScale::Zero => x.fill(0.0),
                    BlockScale::NaN => x.fill(f32::NAN),
                    BlockScale::Special => fake_special(plan, x, index),
                }
                index += x.len() as u64;
            }
        }
    }
}
