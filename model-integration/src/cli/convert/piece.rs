//! The tensors that hold a matrix in codes, whatever the target.

use anyhow::{Result, ensure};
use mxlab_kernels::format::{
    CodeLayout, PackedTensor, ScaleFormat, ggml_mxfp4_blocks, ggml_nvfp4_blocks,
};
use safetensors::Dtype;
use serde_json::Value;

/// How a target stores a matrix in codes.
#[derive(Clone, Debug)]
pub struct Layout {
    /// What the configuration says about it; modules with the same scheme are listed together.
    pub scheme: Value,
    /// Its tensors.
    pub pieces: Vec<Piece>,
}

/// A tensor of a matrix in codes.
#[derive(Clone, Debug)]
pub struct Piece {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub content: Content,
}

/// What a tensor holds.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// The codes.
    Codes,
    /// Integers that count from the lowest one, in 32-bit words.
    Words,
    /// The scales, divided by two to this power.
    Scales { shift: u32 },
    /// The scale that all blocks have.
    OneScale,
    /// The scale of the whole tensor.
    Factor,
    /// Its reciprocal.
    Divisor,
    /// Rows and columns.
    Shape,
    /// ggml's blocks of MXFP4.
    Mxfp4,
    /// ggml's blocks of NVFP4.
    Nvfp4,
    /// A float that does not depend on the codes.
    Given(f32),
}

/// A matrix in codes, to be written.
pub struct Codes {
    pub packed: PackedTensor,
    /// The divisor of all scales that the source stores in place of a factor.
    pub divisor: Option<f32>,
}

impl Piece {
    pub fn new(name: String, dtype: Dtype, shape: Vec<usize>, content: Content) -> Self {
        Self {
            name,
            dtype,
            shape,
            content,
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// If a scale has no code after the division.
    pub fn bytes(&self, matrix: &Codes) -> Result<Vec<u8>> {
        let packed = &matrix.packed;
        Ok(match self.content {
            Content::Codes => packed.codes().to_vec(),
            Content::Words => words(packed),
            Content::Scales { shift } => scales(packed, shift)?,
            Content::OneScale => {
                let scales = packed.scales();
                let (first, _) = scales.split_at(packed.scale().storage_bytes());
                ensure!(
                    scales.chunks_exact(first.len()).all(|scale| scale == first),
                    "its rows have several scales, and FP8 of ModelOpt takes one; use --to mxlab"
                );
                first.to_vec()
            }
            Content::Factor => packed.tensor_scale().to_le_bytes().to_vec(),
            Content::Divisor => {
                let divisor = matrix.divisor;
                let divisor = divisor.unwrap_or_else(|| reciprocal(packed.tensor_scale()));
                divisor.to_le_bytes().to_vec()
            }
            Content::Shape => [packed.rows(), packed.cols()]
                .iter()
                .flat_map(|&size| (size as u64).to_le_bytes())
                .collect(),
            Content::Mxfp4 => ggml_mxfp4_blocks(packed)?,
            Content::Nvfp4 => ggml_nvfp4_blocks(packed)?,
            Content::Given(value) => value.to_le_bytes().to_vec(),
        })
    }
}

/// The number whose reciprocal is `value`, or one of the nearest.
pub fn reciprocal(value: f32) -> f32 {
    let first = value.recip();
    let near = [first, first.next_up(), first.next_down()];
    let mut exact = near.into_iter().filter(|near| near.recip() == value);
    exact.next().unwrap_or(first)
}

/// Rows of whole words. Our integers are two's complement, so the top bit changes.
fn words(packed: &PackedTensor) -> Vec<u8> {
    let layout = packed.element().layout();
    let (cols, row_bytes) = (packed.cols(), packed.row_code_bytes());
    let mut bytes = Vec::new();
    for row in 0..packed.rows() {
        let codes: Vec<u8> = (0..cols)
            .map(|col| packed.code(row, col) ^ layout.top_bit())
            .collect();
        let start = bytes.len();
        bytes.resize(start + row_words(layout, cols) * 4, 0);
        layout.pack(&codes, &mut bytes[start..start + row_bytes]);
    }
    bytes
}

/// Words of a row of codes.
pub const fn row_words(layout: CodeLayout, cols: usize) -> usize {
    layout.bytes(cols).div_ceil(4)
}

fn scales(packed: &PackedTensor, shift: u32) -> Result<Vec<u8>> {
    if shift == 0 {
        return Ok(packed.scales().to_vec());
    }
    let format = packed.scale();
    let mut bytes = Vec::with_capacity(packed.scales().len());
    for code in codes(packed.scales(), format) {
        let scale = format.decode(code);
        // A power of two, so the quotient is exact unless it is subnormal.
        let moved = scale / (1_u32 << shift) as f32;
        let code = format.encode_nearest(moved);
        ensure!(
            format.decode(code) * (1_u32 << shift) as f32 == scale,
            "scale {scale:e}: a {} of it is no {format}; quantise with fp32 scales",
            1_u32 << shift,
        );
        bytes.extend_from_slice(&code.to_le_bytes()[..format.storage_bytes()]);
    }
    Ok(bytes)
}

fn codes(bytes: &[u8], format: ScaleFormat) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(format.storage_bytes()).map(|bytes| {
        let bytes = bytes.iter().rev();
        bytes.fold(0, |code, &byte| code << 8 | u32::from(byte))
    })
}

/// The safetensors type of the codes of a scale format; `None` if there is none.
pub const fn scale_dtype(format: ScaleFormat) -> Option<Dtype> {
    match format {
        ScaleFormat::Fp32 => Some(Dtype::F32),
        ScaleFormat::Bf16 => Some(Dtype::BF16),
        ScaleFormat::Fp16 => Some(Dtype::F16),
        ScaleFormat::UE4M3 => Some(Dtype::F8_E4M3),
        ScaleFormat::E8M0 => Some(Dtype::U8),
        ScaleFormat::E8M0 { .. } | ScaleFormat::Unsigned { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reciprocals_come_back() {
        let mut exact = 0;
        for step in 0..100_000_u32 {
            let divisor = f32::from_bits(0x3F80_0000 + step * 83);
            // Read as a reciprocal, written as one, and read again.
            let factor = divisor.recip();
            let again = reciprocal(factor);
            assert_eq!(again.recip(), factor, "{divisor}");
            exact += u32::from(again == divisor);
        }
        assert!(exact > 50_000, "{exact}");
    }
}
