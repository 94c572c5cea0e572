//! ggml's own block layout of MXFP4, for exchange with its files.

use super::{Dialect, FormatError, PackedTensor};

/// The tensor as a sequence of ggml's `block_mxfp4`: 17 bytes, the E8M0 scale first, then byte
/// i with element i in its low and element i + 16 in its high nibble.
///
/// # Errors
/// [`FormatError::Dialect`] unless the tensor is E2M1 with E8M0 scales and k = 32,
/// [`FormatError::Length`] unless a row is a multiple of 32.
pub fn ggml_mxfp4_blocks(tensor: &PackedTensor) -> Result<Vec<u8>, FormatError> {
    let format = tensor.format();
    Dialect::Ggml.check(format.element(), format.scale(), format.block_size())?;
    if !tensor.cols().is_multiple_of(32) {
        let expected = tensor.cols().next_multiple_of(32);
        return Err(FormatError::Length {
            what: "columns",
            got: tensor.cols(),
            expected,
        });
    }
    let mut blocks = Vec::with_capacity(tensor.bytes());
    for row in 0..tensor.rows() {
        for block in 0..tensor.cols() / 32 {
            blocks.push(tensor.scale_code(row, block) as u8);
            let code = |i: usize| tensor.code(row, block * 32 + i);
            blocks.extend((0..16).map(|i| code(i) | code(i + 16) << 4));
        }
    }
    Ok(blocks)
}
