//! Where the codes of a row lie in its bytes.

/// How codes lie in the bytes of a row: code i has the bits [b i, b i + b), lowest first.
///
/// ```text
///     2 bits   4 codes in 1 byte        5 bits   8 codes in 5 bytes
///     3 bits   8 codes in 3 bytes       6 bits   4 codes in 3 bytes
///     4 bits   2 codes in 1 byte        7 bits   8 codes in 7 bytes
///                                       8 bits   1 code  in 1 byte
/// ```
///
/// So the even one of two FP4 codes in a byte is in the low nibble. Every row starts at a byte.
///
/// Code that needs a width asks the layout. Code that treats some widths specially matches on the
/// layout without `_`, so that a new width fails to compile instead of being misread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say the bits of a code")]
pub enum CodeLayout {
    Bits2,
    Bits3,
    Bits4,
    Bits5,
    Bits6,
    Bits7,
    Bits8,
}

/// A number of codes that fills whole bytes in every layout.
const WHOLE_CODES: usize = 8;

impl CodeLayout {
    /// Every layout, the narrowest codes first.
    pub const ALL: [Self; 7] = [
        Self::Bits2,
        Self::Bits3,
        Self::Bits4,
        Self::Bits5,
        Self::Bits6,
        Self::Bits7,
        Self::Bits8,
    ];

    /// The layout of codes of `bits` bits; `None` for fewer than 2 or more than 8.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        match bits {
            2..=8 => Some(Self::ALL[bits as usize - 2]),
            _ => None,
        }
    }

    /// Bits of a code.
    pub const fn bits(self) -> u32 {
        self as u32 + 2
    }

    /// The bits of a code, as a mask of a byte.
    pub const fn mask(self) -> u8 {
        u8::MAX >> (8 - self.bits())
    }

    /// The highest bit of a code.
    pub const fn top_bit(self) -> u8 {
        1 << (self.bits() - 1)
    }

    /// The fewest codes that fill whole bytes.
    pub const fn group_codes(self) -> usize {
        match self {
            Self::Bits2 => 4,
            Self::Bits4 => 2,
            Self::Bits6 => 4,
            Self::Bits8 => 1,
            Self::Bits3 | Self::Bits5 | Self::Bits7 => 8,
        }
    }

    /// Bytes of [`CodeLayout::group_codes`].
    pub const fn group_bytes(self) -> usize {
        self.group_codes() * self.bits() as usize / 8
    }

    /// Bytes of `codes` codes that start at a byte, such as a row.
    pub const fn bytes(self, codes: usize) -> usize {
        // Not `codes * bits`, which could overflow where the bytes do not.
        let (whole, rest) = (codes / WHOLE_CODES, codes % WHOLE_CODES);
        whole * self.bits() as usize + (rest * self.bits() as usize).div_ceil(8)
    }

    /// Whether `codes` codes fill whole bytes.
    pub const fn is_whole(self, codes: usize) -> bool {
        codes.is_multiple_of(self.group_codes())
    }

    /// The 32-bit words that `codes` codes fill; `None` if the last word is not full.
    pub const fn words(self, codes: usize) -> Option<usize> {
        let bits = codes * self.bits() as usize;
        match bits.is_multiple_of(32) {
            true => Some(bits / 32),
            false => None,
        }
    }

    /// The byte in which code `index` begins, and its bit in that byte.
    pub const fn place(self, index: usize) -> (usize, u32) {
        let first = index * self.bits() as usize;
        (first / 8, (first % 8) as u32)
    }

    /// The byte that a run of one code repeats; `None` if the bytes of the run differ.
    pub const fn repeated(self, code: u8) -> Option<u8> {
        match self {
            _ if code == 0 => Some(0),
            Self::Bits2 => Some(code * 0x55),
            Self::Bits4 => Some(code * 0x11),
            Self::Bits8 => Some(code),
            Self::Bits3 | Self::Bits5 | Self::Bits6 | Self::Bits7 => None,
        }
    }

    /// Code `index` of a packed row.
    pub fn code(self, packed: &[u8], index: usize) -> u8 {
        let (byte, shift) = self.place(index);
        let next = packed.get(byte + 1).copied().unwrap_or(0);
        let window = u16::from_le_bytes([packed[byte], next]);
        (window >> shift) as u8 & self.mask()
    }

    /// Packs one code a byte, into exactly [`CodeLayout::bytes`] bytes of `packed`.
    pub fn pack(self, codes: &[u8], packed: &mut [u8]) {
        let (mut pending, mut pending_bits) = (0u32, 0);
        let mut packed = packed.iter_mut();
        for &code in codes {
            pending |= u32::from(code) << pending_bits;
            pending_bits += self.bits();
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

    /// Unpacks the first `codes.len()` codes of a row to one code a byte.
    pub fn unpack(self, packed: &[u8], codes: &mut [u8]) {
        for (index, code) in codes.iter_mut().enumerate() {
            *code = self.code(packed, index);
        }
    }

    /// Zeroes the bits behind the last of `codes` codes.
    #[inline(always)]
    pub fn clear_behind(self, codes: usize, packed: &mut [u8]) {
        let used = codes % WHOLE_CODES * self.bits() as usize % 8;
        if used > 0
            && let Some(last) = packed.last_mut()
        {
            *last &= u8::MAX >> (8 - used);
        }
    }
}

/// The order of the codes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeOrder {
    /// One after the other, as in a row.
    Ascending,
    /// ggml's: the first half of a block in the low nibbles of its bytes, the second in the high
    /// ones.
    Halves,
}

impl CodeOrder {
    /// The place of code `index` of a block of `block` codes.
    pub const fn place(self, index: usize, block: usize) -> usize {
        match self {
            Self::Ascending => index,
            Self::Halves => index % (block / 2) * 2 + index / (block / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_the_fewest_codes_of_whole_bytes() {
        for (bits, layout) in (2..).zip(CodeLayout::ALL) {
            assert_eq!(layout.bits(), bits);
            assert_eq!(CodeLayout::from_bits(bits), Some(layout));
            let is_whole = |codes: &usize| (codes * bits as usize).is_multiple_of(8);
            assert_eq!((1..=8).find(is_whole), Some(layout.group_codes()));
            for codes in 0..100 {
                assert_eq!(layout.is_whole(codes), is_whole(&codes), "{bits} {codes}");
                assert_eq!(layout.bytes(codes), (codes * bits as usize).div_ceil(8));
            }
        }
        assert_eq!(CodeLayout::from_bits(1), None);
        assert_eq!(CodeLayout::from_bits(9), None);
    }

    #[test]
    fn a_repeated_byte_is_a_run_of_codes() {
        for layout in CodeLayout::ALL {
            for code in 0..=layout.mask() {
                let mut packed = vec![0; layout.bytes(WHOLE_CODES)];
                layout.pack(&[code; WHOLE_CODES], &mut packed);
                if let Some(byte) = layout.repeated(code) {
                    assert!(
                        packed.iter().all(|&other| other == byte),
                        "{layout:?} {code}"
                    );
                }
            }
        }
    }
}
