//! Quantises rows to packed codes and scales.
//!
//! The bodies are `inline(always)` so that they take on the target features of [`Simd::outline`].

use super::lanes::{Lanes, STOCHASTIC, random_from};
use super::pack::{CHUNK, pack_chunk};
use super::plan::{Plan, ScalePlan};
use super::scalar::quantize_special;
use super::scale::{BlockScale, lanes_of};
use super::simd::Simd;
use crate::format::{CodeLayout, write_scale};
use std::mem;

/// Codes that are packed together: two chunks.
const PAIR: usize = 2 * CHUNK;

/// How far ahead of its use x is fetched into the cache: scales need a group at once, which leaves
/// no time to wait for memory.
const AHEAD: usize = 1024;

/// The state of one call.
pub(super) struct Kernel<'a, S: Simd> {
    pub s: S,
    pub plan: &'a Plan,
    pub lanes: Lanes<'a, S>,
    /// For scales that are fractions.
    pub scales: Option<Lanes<'a, S>>,
    pub layout: CodeLayout,
}

impl<'a, S: Simd> Kernel<'a, S> {
    #[inline(always)]
    pub fn new(s: S, plan: &'a Plan) -> Self {
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

    /// Elements divided by their block's scale.
    #[inline(always)]
    fn scaled(&self, x: S::F, by: By<S>) -> S::F {
        match by {
            By::Product(factor) => self.s.mul(x, factor),
            By::Quotient(divisor) => self.s.div(x, divisor),
        }
    }

    #[inline(always)]
    pub fn random<const ROUNDING: u8>(&self, index: u64) -> S::U {
        if ROUNDING == STOCHASTIC {
            random_from(self.s, self.plan.seed, index)
        } else {
            self.s.splat_bits(0)
        }
    }

    #[inline(always)]
    fn encode<const ROUNDING: u8, const SIGNED: bool>(
        &self,
        x: &[f32],
        by: By<S>,
        index: u64,
    ) -> S::U {
        let x = self.s.load(x);
        let random = self.random::<ROUNDING>(index);
        let scaled = self.scaled(x, by);
        self.lanes.encode::<ROUNDING, SIGNED>(x, scaled, random)
    }

    #[inline(always)]
    fn encode_chunk<const ROUNDING: u8, const SIGNED: bool>(
        &self,
        x: &[f32; CHUNK],
        by: By<S>,
        index: u64,
        packed: &mut [u8],
    ) {
        let (s, layout) = (self.s, self.layout);
        let mut bytes = [0; CHUNK];
        s.prefetch(x, AHEAD);
        for first in (0..CHUNK).step_by(S::LANES) {
            let index = index + first as u64;
            let codes = self.encode::<ROUNDING, SIGNED>(&x[first..], by, index);
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
        let (s, layout) = (self.s, self.layout);
        let by = match scale {
            BlockScale::Fraction { divisor, .. } => By::Quotient(s.splat(divisor)),
            BlockScale::Power { inverse, .. } => By::Product(s.splat(inverse)),
            _ => By::Product(s.splat(1.0)),
        };
        let bytes = layout.bytes(CHUNK);
        let (chunks, rest) = x.as_chunks::<CHUNK>();
        let mut packed_rest = packed;
        for x in chunks {
            let (packed, behind) = packed_rest.split_at_mut(bytes);
            packed_rest = behind;
            self.encode_chunk::<ROUNDING, SIGNED>(x, by, index, packed);
            index += CHUNK as u64;
        }
        if !rest.is_empty() {
            let mut padded = [0.0; CHUNK];
            padded[..rest.len()].copy_from_slice(rest);
            let mut packed = [0; CHUNK];
            let bytes = &mut packed[..bytes];
            self.encode_chunk::<ROUNDING, SIGNED>(&padded, by, index, bytes);
            packed_rest.copy_from_slice(&packed[..packed_rest.len()]);
            layout.clear_behind(rest.len(), packed_rest);
        }
    }

    #[inline(always)]
    fn store_pair(&self, encoded: &[S::U; 4], packed: &mut [u8]) {
        let (s, layout) = (self.s, self.layout);
        match layout {
            CodeLayout::Bits4 => s.store_nibbles_of_32(encoded, packed),
            CodeLayout::Bits8 => s.store_bytes_of_32(encoded, packed),
            CodeLayout::Bits2
            | CodeLayout::Bits3
            | CodeLayout::Bits5
            | CodeLayout::Bits6
            | CodeLayout::Bits7 => {
                let mut bytes = [0; PAIR];
                s.store_bytes_of_32(encoded, &mut bytes);
                let packed = packed.chunks_exact_mut(layout.bytes(CHUNK));
                for (bytes, packed) in bytes.as_chunks::<CHUNK>().0.iter().zip(packed) {
                    pack_chunk(layout, bytes, packed);
                }
            }
        }
    }

    /// Whether [`Kernel::encode_pairs`] handles a group.
    #[inline(always)]
    fn comes_in_pairs(&self, group: &[f32]) -> bool {
        let block_size = self.plan.format.block_size();
        (block_size == CHUNK || block_size.is_multiple_of(PAIR)) && group.len().is_multiple_of(PAIR)
    }

    /// The codes of whole blocks, by the factor of each, or with `DIVIDES` the divisor.
    #[inline(always)]
    fn encode_pairs<const ROUNDING: u8, const SIGNED: bool, const DIVIDES: bool>(
        &self,
        group: &[f32],
        factors: &[f32; CHUNK],
        mut index: u64,
        codes: &mut [u8],
    ) {
        let (s, block_size) = (self.s, self.plan.format.block_size());
        let by = |factor: f32| match DIVIDES {
            true => By::Quotient(s.splat(factor)),
            false => By::Product(s.splat(factor)),
        };
        // Pairs of a block, or blocks of a pair.
        let (pairs, blocks) = ((block_size / PAIR).max(1), PAIR.div_ceil(block_size));
        let x = group.as_chunks::<PAIR>().0.chunks_exact(pairs);
        let bytes = self.layout.bytes(PAIR);
        let codes = codes.chunks_exact_mut(pairs * bytes);
        for ((x, codes), factors) in x.zip(codes).zip(factors.chunks_exact(blocks)) {
            let by = [by(factors[0]), by(factors[blocks - 1])];
            for (x, codes) in x.iter().zip(codes.chunks_exact_mut(bytes)) {
                s.prefetch(x, AHEAD);
                s.prefetch(&x[CHUNK..], AHEAD);
                let mut encoded = [s.splat_bits(0); 4];
                for (v, encoded) in encoded[..PAIR / S::LANES].iter_mut().enumerate() {
                    let first = v * S::LANES;
                    let (by, index) = (by[first / CHUNK], index + first as u64);
                    *encoded = self.encode::<ROUNDING, SIGNED>(&x[first..], by, index);
                }
                self.store_pair(&encoded, codes);
                index += PAIR as u64;
            }
        }
    }
}

/// What elements are divided by their scale with.
#[derive(Clone, Copy)]
enum By<S: Simd> {
    Product(S::F),
    Quotient(S::F),
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
    mut scales: &mut [u8],
) {
    let kernel = Kernel::new(s, plan);
    let layout = kernel.layout;
    let block_size = plan.format.block_size();
    let block_bytes = layout.bytes(block_size);
    let scale_bytes = plan.format.scale().storage_bytes();
    let mut block_scales = [BlockScale::Zero; CHUNK];
    let mut index = first_row as u64 * cols as u64;
    let cols = if kernel.is_seamless(cols) {
        x.len()
    } else {
        cols
    };
    let rows = x
        .chunks_exact(cols)
        .zip(codes.chunks_exact_mut(layout.bytes(cols)));
    let e2m1 = kernel.e2m1::<ROUNDING, SIGNED>();
    for (mut x, mut codes) in rows {
        while !x.is_empty() {
            if let Some(e2m1) = e2m1 {
                let done = kernel.quantize_e2m1(e2m1, x, codes, scales);
                x = &x[done..];
                codes = &mut mem::take(&mut codes)[layout.bytes(done)..];
                scales = &mut mem::take(&mut scales)[done / block_size * scale_bytes..];
                index += done as u64;
                if x.is_empty() {
                    break;
                }
            }
            let group;
            (group, x) = x.split_at((S::LANES * block_size).min(x.len()));
            let blocks = group.len().div_ceil(block_size);
            let group_scales;
            (group_scales, scales) = mem::take(&mut scales).split_at_mut(blocks * scale_bytes);
            let group_codes;
            let len = (blocks * block_bytes).min(codes.len());
            (group_codes, codes) = mem::take(&mut codes).split_at_mut(len);
            if kernel.comes_in_pairs(group)
                && let Some(plain) = kernel.plain_scales::<ROUNDING, SIGNED>(group)
            {
                kernel.write_scales(plain.codes, group_scales);
                let (factors, codes) = (lanes_of(s, plain.factors), group_codes);
                if kernel.scales.is_some() {
                    kernel.encode_pairs::<ROUNDING, SIGNED, true>(group, &factors, index, codes);
                } else {
                    kernel.encode_pairs::<ROUNDING, SIGNED, false>(group, &factors, index, codes);
                }
                index += group.len() as u64;
                continue;
            }
            kernel.group_scales::<ROUNDING, SIGNED>(group, index, &mut block_scales);
            let blocks = group
                .chunks(block_size)
                .zip(group_codes.chunks_mut(block_bytes));
            let group_scales = group_scales.chunks_exact_mut(scale_bytes);
            for (((x, codes), bytes), &scale) in blocks.zip(group_scales).zip(&block_scales) {
                let scale_code = match scale {
                    BlockScale::Power { code, .. } | BlockScale::Fraction { code, .. } => {
                        kernel.encode_block::<ROUNDING, SIGNED>(x, scale, index, codes);
                        code
                    }
                    BlockScale::Zero => {
                        codes.fill(plan.zero_byte);
                        layout.clear_behind(x.len(), codes);
                        0
                    }
                    BlockScale::NaN => {
                        codes.fill(0);
                        plan.format.scale().nan_code()
                    }
                    BlockScale::Special => quantize_special(plan, x, index, codes),
                };
                if let [byte] = bytes {
                    *byte = scale_code as u8;
                } else {
                    write_scale(scale_code, bytes);
                }
                index += x.len() as u64;
            }
        }
    }
}
