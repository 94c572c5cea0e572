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
    if bits == 6 {
        for (packed, codes) in packed.chunks_exact_mut(6).zip(codes.as_chunks::<8>().0) {
            packed.copy_from_slice(&close_gaps(u64::from_le_bytes(*codes)).to_le_bytes()[..6]);
        }
    } else {
        pack_row(bits, codes, packed);
    }
}

/// One code a byte from exactly [`chunk_bytes`] bytes.
#[inline(always)]
pub(super) fn unpack_chunk(bits: u32, packed: &[u8]) -> [u8; CHUNK] {
    let mut codes = [0; CHUNK];
    if bits == 6 {
        let words = codes.as_chunks_mut::<8>().0.iter_mut();
        for (codes, bytes) in words.zip(packed.chunks_exact(6)) {
            let mut word = [0; 8];
            word[..6].copy_from_slice(bytes);
            *codes = open_gaps(u64::from_le_bytes(word)).to_le_bytes();
        }
    } else {
        unpack_row(bits, packed, &mut codes);
    }
    codes
}

/// Eight bytes of six bits each, joined to 48 bits: neighbours pairwise, three times.
#[inline(always)]
const fn close_gaps(x: u64) -> u64 {
    let x = (x & 0x003F_003F_003F_003F) | (x & 0x3F00_3F00_3F00_3F00) >> 2;
    let x = (x & 0x0000_0FFF_0000_0FFF) | (x & 0x0FFF_0000_0FFF_0000) >> 4;
    (x & 0x00FF_FFFF) | x >> 32 << 24
}

/// The reverse of [`close_gaps`].
#[inline(always)]
const fn open_gaps(x: u64) -> u64 {
    let x = (x & 0x00FF_FFFF) | (x & 0xFFFF_FF00_0000) << 8;
    let x = (x & 0x0000_0FFF_0000_0FFF) | (x & 0x00FF_F000_00FF_F000) << 4;
    (x & 0x003F_003F_003F_003F) | (x & 0x0FC0_0FC0_0FC0_0FC0) << 2
}
