//! Packing and unpacking of a chunk of codes; the order is that of [`crate::format::pack_row`].

use crate::format::{pack_row, unpack_row};

/// Codes handled together: a multiple of 8, so that a chunk of any width is whole bytes.
pub(super) const CHUNK: usize = 16;

/// Bytes of a packed chunk.
pub(super) const fn chunk_bytes(bits: u32) -> usize {
    CHUNK * bits as usize / 8
}

/// Packs a chunk, one code a byte, into exactly [`chunk_bytes`] bytes. Codes of four and eight
/// bits are stored from registers instead, without coming by here.
#[inline(always)]
pub(super) fn pack_chunk(bits: u32, codes: &[u8; CHUNK], packed: &mut [u8]) {
    match bits {
        2 => pack_by_words::<2>(codes, packed),
        3 => pack_by_words::<3>(codes, packed),
        6 => pack_by_words::<6>(codes, packed),
        _ => pack_row(bits, codes, packed),
    }
}

#[inline(always)]
fn pack_by_words<const BITS: usize>(codes: &[u8; CHUNK], packed: &mut [u8]) {
    for (packed, codes) in packed
        .as_chunks_mut::<BITS>()
        .0
        .iter_mut()
        .zip(codes.as_chunks::<8>().0)
    {
        let word = close_gaps(u64::from_le_bytes(*codes), BITS as u32);
        packed.copy_from_slice(&word.to_le_bytes()[..BITS]);
    }
}

/// One code a byte from exactly [`chunk_bytes`] bytes.
#[inline(always)]
pub(super) fn unpack_chunk(bits: u32, packed: &[u8]) -> [u8; CHUNK] {
    let mut codes = [0; CHUNK];
    match bits {
        2 => unpack_by_words::<2>(packed, &mut codes),
        3 => unpack_by_words::<3>(packed, &mut codes),
        6 => unpack_by_words::<6>(packed, &mut codes),
        _ => unpack_row(bits, packed, &mut codes),
    }
    codes
}

#[inline(always)]
fn unpack_by_words<const BITS: usize>(packed: &[u8], codes: &mut [u8; CHUNK]) {
    for (codes, bytes) in codes
        .as_chunks_mut::<8>()
        .0
        .iter_mut()
        .zip(packed.as_chunks::<BITS>().0)
    {
        let mut word = [0; 8];
        word[..BITS].copy_from_slice(bytes);
        *codes = open_gaps(u64::from_le_bytes(word), BITS as u32).to_le_bytes();
    }
}

/// The low `bits` bits of eight bytes, joined: neighbours pairwise, three times.
#[inline(always)]
const fn close_gaps(x: u64, bits: u32) -> u64 {
    let x = close_pairs(x, 8, bits);
    let x = close_pairs(x, 16, 2 * bits);
    close_pairs(x, 32, 4 * bits)
}

/// The reverse of [`close_gaps`].
#[inline(always)]
const fn open_gaps(x: u64, bits: u32) -> u64 {
    let x = open_pairs(x, 32, 4 * bits);
    let x = open_pairs(x, 16, 2 * bits);
    open_pairs(x, 8, bits)
}

/// Of fields `width` apart, each with `bits` bits in use, the odd ones brought down to the even ones.
#[inline(always)]
const fn close_pairs(x: u64, width: u32, bits: u32) -> u64 {
    let even = even_fields(width, bits);
    (x & even) | (x >> (width - bits)) & (even << bits)
}

/// The reverse of [`close_pairs`].
#[inline(always)]
const fn open_pairs(x: u64, width: u32, bits: u32) -> u64 {
    let even = even_fields(width, bits);
    (x & even) | (x & (even << bits)) << (width - bits)
}

/// The low `bits` bits of every other field of `width`.
#[inline(always)]
const fn even_fields(width: u32, bits: u32) -> u64 {
    u64::MAX / (u64::MAX >> (64 - 2 * width)) * (u64::MAX >> (64 - bits))
}
