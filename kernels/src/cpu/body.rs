//! The kernels, generic over the rounding; `dispatch.rs` compiles them per instruction set.
//!
//! Everything here is `inline(always)` so that it takes on the target features of its caller.

use super::lanes::{CodeLanes, magnitude, magnitude_bits};
use super::pack::{CHUNK, chunk_bytes, pack_chunk, unpack_chunk};
use super::plan::Plan;
use super::scale::{BlockScale, block_scale};
use crate::format::{
    Grid, PackedTensor, packed_row_bytes, random_at, read_scale, unpack_code, write_scale,
};
use crate::reference::quantize_block;
use std::ops::Range;

/// The bits of a block's largest magnitude; NaN is above infinity.
#[inline(always)]
fn amax_bits(x: &[f32]) -> u32 {
    let (chunks, rest) = x.as_chunks::<CHUNK>();
    let mut amax = [0; CHUNK];
    for chunk in chunks {
        for (amax, &x) in amax.iter_mut().zip(chunk) {
            *amax = (*amax).max(magnitude_bits(x));
        }
    }
    for (amax, &x) in amax.iter_mut().zip(rest) {
        *amax = (*amax).max(magnitude_bits(x));
    }
    let mut largest = 0;
    for amax in amax {
        largest = largest.max(amax);
    }
    largest
}

/// The random number of an element; only a stochastic kernel draws one.
#[inline(always)]
fn random<const ROUNDING: u8>(plan: &Plan, index: u64) -> u32 {
    if ROUNDING == super::lanes::STOCHASTIC {
        random_at(plan.seed, index)
    } else {
        0
    }
}

/// Scaled elements of a chunk.
#[inline(always)]
fn scaled(x: &[f32; CHUNK], scale: BlockScale) -> [f32; CHUNK] {
    let mut t = *x;
    match scale {
        BlockScale::Fraction { divisor, .. } => {
            for t in &mut t {
                *t /= divisor;
            }
        }
        BlockScale::Power { inverse, .. } => {
            for t in &mut t {
                *t *= inverse;
            }
        }
        _ => {}
    }
    t
}

#[inline(always)]
fn encode_chunk<const ROUNDING: u8, const SIGNED: bool>(
    plan: &Plan,
    x: &[f32; CHUNK],
    scale: BlockScale,
    index: u64,
) -> [u8; CHUNK] {
    let lanes = &plan.lanes;
    let t = scaled(x, scale);
    let mut codes = [0; CHUNK];
    if lanes.is_int {
        for i in 0..CHUNK {
            let a = magnitude(t[i]).min(lanes.max);
            let (_, code) = lanes.round::<ROUNDING>(a, random::<ROUNDING>(plan, index + i as u64));
            let minus = ((x[i].to_bits() as i32) >> 31) as u32;
            codes[i] = ((code ^ minus).wrapping_sub(minus) & lanes.code_mask) as u8;
        }
    } else {
        for i in 0..CHUNK {
            let a = magnitude(t[i]);
            let random = random::<ROUNDING>(plan, index + i as u64);
            let (value, code) = lanes.round::<ROUNDING>(a.min(lanes.max), random);
            let sign = plan.signs.of::<SIGNED>(x[i], a, value);
            let sign = if sign == 0 { 0 } else { lanes.sign_bit };
            codes[i] = (code | sign) as u8;
        }
    }
    codes
}

#[inline(always)]
fn fake_chunk<const ROUNDING: u8, const SIGNED: bool>(
    plan: &Plan,
    x: &mut [f32; CHUNK],
    scale: BlockScale,
    block_x: f32,
    index: u64,
) {
    let t = scaled(x, scale);
    for i in 0..CHUNK {
        let a = magnitude(t[i]);
        let random = random::<ROUNDING>(plan, index + i as u64);
        let (value, _) = plan.lanes.round::<ROUNDING>(a.min(plan.lanes.max), random);
        let sign = plan.signs.of::<SIGNED>(x[i], a, value);
        x[i] = f32::from_bits(value.to_bits() | sign) * block_x * plan.tensor_scale;
    }
}

/// Rows to packed codes and scales. Blocks must start at byte boundaries.
#[inline(always)]
pub(super) fn quantize_rows<const ROUNDING: u8, const SIGNED: bool>(
    plan: &Plan,
    x: &[f32],
    cols: usize,
    first_row: usize,
    codes: &mut [u8],
    scales: &mut [u8],
) {
    let bits = plan.format.element().bits();
    let block_size = plan.format.block_size();
    let row_bytes = packed_row_bytes(bits, cols);
    let mut scales = scales.chunks_exact_mut(plan.format.scale().storage_bytes());
    for (row, (x, codes)) in x
        .chunks_exact(cols)
        .zip(codes.chunks_exact_mut(row_bytes))
        .enumerate()
    {
        let mut index = (first_row + row) as u64 * cols as u64;
        let mut codes = codes;
        for x in x.chunks(block_size) {
            let (block_codes, rest) = codes.split_at_mut(packed_row_bytes(bits, x.len()));
            codes = rest;
            let scale = block_scale(plan, amax_bits(x));
            let scale_code = match scale {
                BlockScale::Power { code, .. } | BlockScale::Fraction { code, .. } => {
                    encode_block::<ROUNDING, SIGNED>(plan, x, scale, index, bits, block_codes);
                    code
                }
                BlockScale::Zero => {
                    block_codes.fill(0);
                    0
                }
                BlockScale::NaN => {
                    block_codes.fill(0);
                    plan.format.scale().nan_code()
                }
                BlockScale::Special => quantize_special(plan, x, index, bits, block_codes),
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

#[inline(always)]
fn encode_block<const ROUNDING: u8, const SIGNED: bool>(
    plan: &Plan,
    x: &[f32],
    scale: BlockScale,
    index: u64,
    bits: u32,
    packed: &mut [u8],
) {
    let (chunks, rest) = x.as_chunks::<CHUNK>();
    let (whole, packed_rest) = packed.split_at_mut(chunks.len() * chunk_bytes(bits));
    let mut index = index;
    for (x, packed) in chunks.iter().zip(whole.chunks_exact_mut(chunk_bytes(bits))) {
        let codes = encode_chunk::<ROUNDING, SIGNED>(plan, x, scale, index);
        pack_chunk(bits, &codes, packed);
        index += CHUNK as u64;
    }
    if !rest.is_empty() {
        let mut padded = [0.0; CHUNK];
        padded[..rest.len()].copy_from_slice(rest);
        let codes = encode_chunk::<ROUNDING, SIGNED>(plan, &padded, scale, index);
        let mut bytes = [0; CHUNK];
        pack_chunk(bits, &codes, &mut bytes[..chunk_bytes(bits)]);
        packed_rest.copy_from_slice(&bytes[..packed_rest.len()]);
    }
}

/// A block by the scalar definition.
#[cold]
#[inline(never)]
fn quantize_special(plan: &Plan, x: &[f32], index: u64, bits: u32, packed: &mut [u8]) -> u32 {
    let mut codes = vec![0; x.len()];
    let scale = quantize_block(x, index, &plan.context(), &mut codes);
    crate::format::pack_row(bits, &codes, packed);
    scale
}

/// Rows quantised and dequantised in place.
#[inline(always)]
pub(super) fn fake_rows<const ROUNDING: u8, const SIGNED: bool>(
    plan: &Plan,
    x: &mut [f32],
    cols: usize,
    first_row: usize,
) {
    for (row, x) in x.chunks_exact_mut(cols).enumerate() {
        let mut index = (first_row + row) as u64 * cols as u64;
        for x in x.chunks_mut(plan.format.block_size()) {
            let scale = block_scale(plan, amax_bits(x));
            match scale {
                BlockScale::Power { x: block_x, .. } | BlockScale::Fraction { x: block_x, .. } => {
                    fake_block::<ROUNDING, SIGNED>(plan, x, scale, block_x, index);
                }
                BlockScale::Zero => x.fill(0.0),
                BlockScale::NaN => x.fill(f32::NAN),
                BlockScale::Special => fake_special(plan, x, index),
            }
            index += x.len() as u64;
        }
    }
}

#[inline(always)]
fn fake_block<const ROUNDING: u8, const SIGNED: bool>(
    plan: &Plan,
    x: &mut [f32],
    scale: BlockScale,
    block_x: f32,
    index: u64,
) {
    let mut index = index;
    let (chunks, rest) = x.as_chunks_mut::<CHUNK>();
    for x in chunks {
        fake_chunk::<ROUNDING, SIGNED>(plan, x, scale, block_x, index);
        index += CHUNK as u64;
    }
    if !rest.is_empty() {
        let mut padded = [0.0; CHUNK];
        padded[..rest.len()].copy_from_slice(rest);
        fake_chunk::<ROUNDING, SIGNED>(plan, &mut padded, scale, block_x, index);
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

#[cold]
#[inline(never)]
fn fake_special(plan: &Plan, x: &mut [f32], index: u64) {
    let mut codes = vec![0; x.len()];
    let scale = quantize_block(x, index, &plan.context(), &mut codes);
    let scale = plan.format.scale().decode(scale);
    for (x, code) in x.iter_mut().zip(codes) {
        *x = plan.format.element().decode(code) * scale * plan.tensor_scale;
    }
}

/// [`quantize_rows`] for any format, block by block through the scalar definition.
pub(super) fn quantize_rows_scalar(
    plan: &Plan,
    x: &[f32],
    cols: usize,
    first_row: usize,
    codes: &mut [u8],
    scales: &mut [u8],
) {
    let bits = plan.format.element().bits();
    let block_size = plan.format.block_size();
    let mut scales = scales.chunks_exact_mut(plan.format.scale().storage_bytes());
    let mut row_codes = vec![0; cols];
    let packed = codes.chunks_exact_mut(packed_row_bytes(bits, cols));
    for (row, (x, packed)) in x.chunks_exact(cols).zip(packed).enumerate() {
        let mut index = (first_row + row) as u64 * cols as u64;
        for (x, codes) in x.chunks(block_size).zip(row_codes.chunks_mut(block_size)) {
            let scale = quantize_block(x, index, &plan.context(), codes);
            if let Some(bytes) = scales.next() {
                write_scale(scale, bytes);
            }
            index += x.len() as u64;
        }
        crate::format::pack_row(bits, &row_codes, packed);
    }
}

/// [`fake_rows`] for any format, block by block through the scalar definition.
pub(super) fn fake_rows_scalar(plan: &Plan, x: &mut [f32], cols: usize, first_row: usize) {
    for (row, x) in x.chunks_exact_mut(cols).enumerate() {
        let mut index = (first_row + row) as u64 * cols as u64;
        for x in x.chunks_mut(plan.format.block_size()) {
            fake_special(plan, x, index);
            index += x.len() as u64;
        }
    }
}

/// Some rows of a packed tensor to values.
#[inline(always)]
pub(super) fn dequantize_rows(packed: &PackedTensor, rows: Range<usize>, out: &mut [f32]) {
    let format = packed.format();
    let element = format.element();
    let lanes = CodeLanes::of_element(element, crate::format::FloatType::F32);
    let bits = element.bits();
    let block_size = format.block_size();
    let row_bytes = packed.row_code_bytes();
    let scale_bytes = format.scale().storage_bytes();
    let is_aligned = (block_size * bits as usize).is_multiple_of(8);
    for (row, out) in rows.zip(out.chunks_exact_mut(packed.cols())) {
        let codes = &packed.codes()[row * row_bytes..][..row_bytes];
        let scales = &packed.scales()[row * packed.row_scale_bytes()..][..packed.row_scale_bytes()];
        let blocks = out
            .chunks_mut(block_size)
            .zip(scales.chunks_exact(scale_bytes));
        for (block, (out, scale)) in blocks.enumerate() {
            let scale = format.scale().decode(read_scale(scale));
            let first = block * block_size;
            for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
                let first = first + chunk * CHUNK;
                let byte = first * bits as usize / 8;
                let chunk_codes = match codes.get(byte..byte + chunk_bytes(bits)) {
                    Some(bytes) if is_aligned => unpack_chunk(bits, bytes),
                    _ => {
                        let mut chunk_codes = [0; CHUNK];
                        for (i, code) in chunk_codes[..out.len()].iter_mut().enumerate() {
                            *code = unpack_code(bits, codes, first + i);
                        }
                        chunk_codes
                    }
                };
                let mut values = [0.0; CHUNK];
                match element.grid() {
                    Grid::Float(_) => {
                        for i in 0..CHUNK {
                            values[i] = lanes.decode(u32::from(chunk_codes[i]));
                        }
                    }
                    Grid::Int(_) => {
                        for i in 0..CHUNK {
                            values[i] = lanes.decode_int(u32::from(chunk_codes[i]));
                        }
                    }
                    Grid::Table(table) => {
                        for i in 0..CHUNK {
                            values[i] = table[usize::from(chunk_codes[i])];
                        }
                    }
                }
                for value in &mut values {
                    *value = *value * scale * packed.tensor_scale();
                }
                if let Some(out) = out.as_chunks_mut::<CHUNK>().0.first_mut() {
                    *out = values;
                } else {
                    out.copy_from_slice(&values[..out.len()]);
                }
            }
        }
    }
}
