//! Dequantises packed rows. `inline(always)` as in [`super::quantize`].

use super::lanes::{Codec, Lanes};
use super::pack::{CHUNK, unpack_chunk};
use super::simd::Simd;
use crate::format::{CodeLayout, FloatType, PackedTensor, read_scale};
use std::ops::Range;

/// Dequantises some rows of a packed tensor.
#[inline(always)]
pub(super) fn dequantize_rows<S: Simd>(
    s: S,
    packed: &PackedTensor,
    rows: Range<usize>,
    out: &mut [f32],
) {
    let format = packed.format();
    let (element, block_size) = (format.element(), format.block_size());
    let codec = Codec::of_element(element, FloatType::F32, 0.0);
    let lanes = codec.spread(s);
    let layout = element.layout();
    let (row_bytes, row_scale_bytes) = (packed.row_code_bytes(), packed.row_scale_bytes());
    let is_aligned = layout.is_whole(block_size);
    for (row, out) in rows.zip(out.chunks_exact_mut(packed.cols())) {
        let codes = &packed.codes()[row * row_bytes..][..row_bytes];
        let scales = &packed.scales()[row * row_scale_bytes..][..row_scale_bytes];
        let scales = scales.chunks_exact(format.scale().storage_bytes());
        for (block, (out, scale)) in out.chunks_mut(block_size).zip(scales).enumerate() {
            let scale = format.scale().decode(read_scale(scale));
            let scales = [s.splat(scale), s.splat(packed.tensor_scale())];
            let first = block * block_size;
            let (chunks, rest) = out.as_chunks_mut::<CHUNK>();
            let mut at = first;
            for out in chunks {
                if is_aligned {
                    let bytes = &codes[layout.place(at).0..][..layout.bytes(CHUNK)];
                    decode_chunk(s, lanes, layout, bytes, out, scales);
                } else {
                    let codes = codes_at(layout, codes, at, CHUNK);
                    decode_codes(s, lanes, layout, &codes, out, scales);
                }
                at += CHUNK;
            }
            if !rest.is_empty() {
                let mut padded = [0.0; CHUNK];
                let chunk = codes_at(layout, codes, at, rest.len());
                decode_codes(s, lanes, layout, &chunk, &mut padded, scales);
                rest.copy_from_slice(&padded[..rest.len()]);
            }
        }
    }
}

/// The codes from `first` on, one a byte, zeros behind them.
fn codes_at(layout: CodeLayout, packed: &[u8], first: usize, len: usize) -> [u8; CHUNK] {
    let mut codes = [0; CHUNK];
    for (i, code) in codes[..len].iter_mut().enumerate() {
        *code = layout.code(packed, first + i);
    }
    codes
}

#[inline(always)]
fn decode_chunk<S: Simd>(
    s: S,
    lanes: Lanes<'_, S>,
    layout: CodeLayout,
    bytes: &[u8],
    out: &mut [f32; CHUNK],
    scales: [S::F; 2],
) {
    match layout {
        CodeLayout::Bits4 => {
            for first in (0..CHUNK).step_by(S::LANES) {
                let value = lanes.decode_small(s.load_nibbles(&bytes[first / 2..]));
                s.store(s.mul(s.mul(value, scales[0]), scales[1]), &mut out[first..]);
            }
        }
        CodeLayout::Bits8 => {
            for first in (0..CHUNK).step_by(S::LANES) {
                let value = lanes.decode(s.load_bytes(&bytes[first..]));
                s.store(s.mul(s.mul(value, scales[0]), scales[1]), &mut out[first..]);
            }
        }
        CodeLayout::Bits2
        | CodeLayout::Bits3
        | CodeLayout::Bits5
        | CodeLayout::Bits6
        | CodeLayout::Bits7 => {
            decode_codes(s, lanes, layout, &unpack_chunk(layout, bytes), out, scales);
        }
    }
}

#[inline(always)]
fn decode_codes<S: Simd>(
    s: S,
    lanes: Lanes<'_, S>,
    layout: CodeLayout,
    codes: &[u8; CHUNK],
    out: &mut [f32; CHUNK],
    scales: [S::F; 2],
) {
    for first in (0..CHUNK).step_by(S::LANES) {
        let codes = s.load_bytes(&codes[first..]);
        let value = match layout {
            CodeLayout::Bits2 | CodeLayout::Bits3 | CodeLayout::Bits4 => lanes.decode_small(codes),
            CodeLayout::Bits5 | CodeLayout::Bits6 | CodeLayout::Bits7 | CodeLayout::Bits8 => {
                lanes.decode(codes)
            }
        };
        s.store(s.mul(s.mul(value, scales[0]), scales[1]), &mut out[first..]);
    }
}
