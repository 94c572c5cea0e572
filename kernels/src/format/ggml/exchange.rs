//! ggml's own block layouts of MXFP4 and NVFP4, for exchange with its files.

use crate::format::{CodeLayout, CodeOrder, Dialect, FormatError, PackedTensor};

/// Elements of a block.
const BLOCK: usize = 32;

/// The tensor as a sequence of ggml's `block_mxfp4`: 17 bytes, the E8M0 scale first, then byte
/// i with element i in its low and element i + 16 in its high nibble.
///
/// # Errors
/// [`FormatError::Dialect`] unless the tensor is E2M1 with E8M0 scales and k = 32,
/// [`FormatError::Length`] unless a row is a multiple of 32.
pub fn ggml_mxfp4_blocks(tensor: &PackedTensor) -> Result<Vec<u8>, FormatError> {
    let format = tensor.format();
    Dialect::Ggml.check(format.element(), format.scale(), format.block_size())?;
    if !tensor.cols().is_multiple_of(BLOCK) {
        let expected = tensor.cols().next_multiple_of(BLOCK);
        return Err(FormatError::Length {
            what: "columns",
            got: tensor.cols(),
            expected,
        });
    }
    let mut blocks = Vec::with_capacity(tensor.bytes());
    for row in 0..tensor.rows() {
        for block in 0..tensor.cols() / BLOCK {
            blocks.push(tensor.scale_code(row, block) as u8);
            let (mut codes, mut packed) = ([0; BLOCK], [0; BLOCK / 2]);
            for i in 0..BLOCK {
                codes[CodeOrder::Halves.place(i, BLOCK)] = tensor.code(row, block * BLOCK + i);
            }
            CodeLayout::Bits4.pack(&codes, &mut packed);
            blocks.extend(packed);
        }
    }
    Ok(blocks)
}

/// The codes of a block in ascending order, given as ggml has them: [`CodeOrder::Halves`].
pub fn ggml_mxfp4_codes(pairs: [u8; BLOCK / 2]) -> [u8; BLOCK / 2] {
    // Eight low nibbles, and eight high ones, become four bytes at once in a word.
    let [first, second] = [0, 8].map(|at| {
        let word = u64::from_le_bytes(std::array::from_fn(|i| pairs[at + i]));
        [word, word >> 4].map(|nibbles| {
            let nibbles = nibbles & 0x0F0F_0F0F_0F0F_0F0F;
            (nibbles | nibbles >> 4).to_le_bytes()
        })
    });
    std::array::from_fn(|i| [first, second][i / 4 % 2][i / 8][i % 4 * 2])
}

/// The tensor as a sequence of ggml's `block_nvfp4`: 36 bytes, four UE4M3 scales first, then for
/// each of four blocks of 16 byte i with element i in its low and element i + 8 in its high nibble.
/// The scale of the whole tensor is no part of it.
///
/// # Errors
/// [`FormatError::Length`] unless a row is a multiple of 64.
///
/// # Panics
/// Unless elements have 4 bits and scales a byte for 16 elements.
pub fn ggml_nvfp4_blocks(tensor: &PackedTensor) -> Result<Vec<u8>, FormatError> {
    const BLOCK: usize = 16;
    let (format, cols) = (tensor.format(), tensor.cols());
    assert_eq!(format.element().layout(), CodeLayout::Bits4);
    assert_eq!(
        (format.scale().storage_bytes(), format.block_size()),
        (1, BLOCK)
    );
    if !cols.is_multiple_of(4 * BLOCK) {
        return Err(FormatError::Length {
            what: "columns",
            got: cols,
            expected: cols.next_multiple_of(4 * BLOCK),
        });
    }
    let codes = tensor.codes().as_chunks::<{ 4 * BLOCK / 2 }>().0;
    let scales = tensor.scales().as_chunks::<4>().0;
    let mut blocks = Vec::with_capacity(tensor.bytes());
    for (scales, codes) in scales.iter().zip(codes) {
        blocks.extend(scales);
        for codes in codes.as_chunks::<{ BLOCK / 2 }>().0 {
            let code = |index| CodeLayout::Bits4.code(codes, index);
            blocks.extend((0..BLOCK / 2).map(|i| code(i) | code(i + BLOCK / 2) << 4));
        }
    }
    Ok(blocks)
}

/// The codes of a block of NVFP4 in ascending order, given as ggml has them: byte i with element i
/// in its low and element i + 8 in its high nibble.
pub fn ggml_nvfp4_codes(pairs: [u8; 8]) -> [u8; 8] {
    let word = u64::from_le_bytes(pairs);
    let halves = [word, word >> 4].map(|nibbles| {
        let nibbles = nibbles & 0x0F0F_0F0F_0F0F_0F0F;
        (nibbles | nibbles >> 4).to_le_bytes()
    });
    std::array::from_fn(|i| halves[i / 4][i % 4 * 2])
}

/// The UE4M3 code of a scale of NVFP4 as ggml has it: the highest bit has no meaning, and the code
/// that is NaN elsewhere is zero.
pub fn ggml_nvfp4_scale(code: u8) -> u8 {
    match code {
        0x7F => 0,
        code => code & 0x7F,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back_in_ascending_order() {
        let codes: [u8; BLOCK] = std::array::from_fn(|i| (i * 7 % 16) as u8);
        let mut halves = [0; BLOCK];
        for (i, code) in codes.into_iter().enumerate() {
            halves[CodeOrder::Halves.place(i, BLOCK)] = code;
        }
        let pack = |codes: [u8; BLOCK]| {
            let mut packed = [0; BLOCK / 2];
            CodeLayout::Bits4.pack(&codes, &mut packed);
            packed
        };
        assert_eq!(ggml_mxfp4_codes(pack(halves)), pack(codes));
    }
}
