//! Quantises and dequantises rows in place. `inline(always)` as in [`super::quantize`].

use super::pack::CHUNK;
use super::plan::Plan;
use super::quantize::Kernel;
use super::scalar::fake_special;
use super::scale::BlockScale;
use super::simd::Simd;

impl<S: Simd> Kernel<'_, S> {
    /// What elements are multiplied or divided by before they are rounded, and multiplied by after.
    #[inline(always)]
    pub fn factors(&self, scale: f32, block_x: f32) -> [S::F; 3] {
        let s = self.s;
        [
            s.splat(scale),
            s.splat(block_x),
            s.splat(self.plan.tensor_scale),
        ]
    }

    /// `DIVIDES`: scales are fractions.
    #[inline(always)]
    pub fn fake_chunk<const ROUNDING: u8, const SIGNED: bool, const DIVIDES: bool>(
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
    let mut index = first_row as u64 * cols as u64;
    let cols = if kernel.is_seamless(cols) {
        x.len()
    } else {
        cols
    };
    for x in x.chunks_exact_mut(cols) {
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
