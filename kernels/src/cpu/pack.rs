//! Packing and unpacking of a chunk of codes; the order is that of [`CodeLayout`].

use crate::format::CodeLayout;

/// Codes handled together, whose bytes are whole in every layout.
pub(super) const CHUNK: usize = 16;

/// Packs a chunk, one code a byte, into exactly its bytes. Codes of four and eight bits are mostly
/// stored from registers instead, without coming by here.
#[inline(always)]
pub(super) fn pack_chunk(layout: CodeLayout, codes: &[u8; CHUNK], packed: &mut [u8]) {
    match layout {
        CodeLayout::Bits2 => pack_by_words::<2>(codes, packed),
        CodeLayout::Bits3 => pack_by_words::<3>(codes, packed),
        CodeLayout::Bits6 => pack_by_words::<6>(codes, packed),
        CodeLayout::Bits4 | CodeLayout::Bits5 | CodeLayout::Bits7 | CodeLayout::Bits8 => {
            pack_other(layout, codes, packed);
        }
    }
}

/// Widths that no element has, or that the kernels store from registers.
#[cold]
#[inline(never)]
fn pack_other(layout: CodeLayout, codes: &[u8; CHUNK], packed: &mut [u8]) {
    layout.pack(codes, packed);
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

/// One code a byte from exactly the bytes of a chunk.
#[inline(always)]
pub(super) fn unpack_chunk(layout: CodeLayout, packed: &[u8]) -> [u8; CHUNK] {
    let mut codes = [0; CHUNK];
    match layout {
        CodeLayout::Bits2 => unpack_by_words::<2>(packed, &mut codes),
        CodeLayout::Bits3 => unpack_by_words::<3>(packed, &mut codes),
        CodeLayout::Bits6 => unpack_by_words::<6>(packed, &mut codes),
        CodeLayout::Bits4 | CodeLayout::Bits5 | CodeLayout::Bits7 | CodeLayout::Bits8 => {
            unpack_other(layout, packed, &mut codes);
        }
    }
    codes
}

/// The reverse of [`pack_other`].
#[cold]
#[inline(never)]
fn unpack_other(layout: CodeLayout, packed: &[u8], codes: &mut [u8; CHUNK]) {
    layout.unpack(packed, codes);
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

/// Of fields `width` apart, each with `bits` bits in use, the odd ones brought down to the even
/// ones.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_packed_as_rows_are() {
        for layout in CodeLayout::ALL {
            let codes: [u8; CHUNK] = std::array::from_fn(|i| (i as u8 * 77 + 25) & layout.mask());
            let mut expected = vec![0; layout.bytes(CHUNK)];
            layout.pack(&codes, &mut expected);
            let mut packed = vec![0; layout.bytes(CHUNK)];
            pack_chunk(layout, &codes, &mut packed);
            assert_eq!(packed, expected, "{layout:?}");
            assert_eq!(unpack_chunk(layout, &packed), codes, "{layout:?}");
        }
    }
}
