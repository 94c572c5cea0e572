//! The order of codes in bytes: consecutive codes fill consecutive bits, lowest first.
//!
//! So a byte holds four codes of two bits, or two FP4 codes, low nibble = even index; three bytes hold
//! eight codes of three bits, or four FP6 codes; a byte holds one 8-bit code. Every row starts at a byte boundary.

/// Bytes that a row of `cols` codes takes.
pub const fn packed_row_bytes(bits: u32, cols: usize) -> usize {
    let (whole, rest) = (cols / 8, cols % 8);
    whole * bits as usize + (rest * bits as usize).div_ceil(8)
}

/// Packs one code a byte to `bits` a code, into exactly [`packed_row_bytes`] bytes of `packed`.
pub fn pack_row(bits: u32, codes: &[u8], packed: &mut [u8]) {
    let (mut pending, mut pending_bits) = (0u32, 0);
    let mut packed = packed.iter_mut();
    for &code in codes {
        pending |= u32::from(code) << pending_bits;
        pending_bits += bits;
        while pending_bits >= 8 {
            if let Some(byte) = packed.next() {
                *byte = pending as u8;
            }
            pending >>= 8;
            pending_bits -= 8;
        }
    }
    if pending_bits > 0
        && let Some(byte) = packed.next()
    {
        *byte = pending as u8;
    }
}

/// Code `index` of a packed row.
pub fn unpack_code(bits: u32, packed: &[u8], index: usize) -> u8 {
    let first_bit = index * bits as usize;
    let (byte, shift) = (first_bit / 8, first_bit % 8);
    let next = packed.get(byte + 1).copied().unwrap_or(0);
    let window = u16::from_le_bytes([packed[byte], next]);
    (window >> shift) as u8 & (u8::MAX >> (8 - bits))
}

/// Unpacks the first `codes.len()` codes of a row to one code a byte.
pub fn unpack_row(bits: u32, packed: &[u8], codes: &mut [u8]) {
    for (index, code) in codes.iter_mut().enumerate() {
        *code = unpack_code(bits, packed, index);
    }
}
