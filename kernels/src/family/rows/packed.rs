//! Rows as 8-bit operands with separate scales.

use super::RowVariant;
use super::problems::len;
use crate::format::{BlockFormat, ElementFormat, Rounding, pow2};
use crate::fragment::{CHUNK, OperandType};
use crate::reference::{Part, quantize_part};
use crate::registry::{ElementType, EntryError, Outputs, Tensor};

/// A packed row up to a whole chunk, as bits.
pub(super) struct PackedRow {
    /// Bytes.
    pub operands: Vec<u32>,
    /// f32, one a block.
    pub scales: Vec<u32>,
}

impl RowVariant {
    /// The type of what is written, and its bytes.
    pub(super) fn dst(&self, rows: usize, cols: usize, stride: usize) -> (ElementType, usize) {
        match self.is_packed() {
            true => {
                let bytes = (rows - 1) * stride + cols.next_multiple_of(CHUNK);
                (ElementType::U8, bytes)
            }
            false => (ElementType::Bf16, 2 * len(rows, cols, stride)),
        }
    }

    /// Bytes of the scales of packed rows; 0 if they are not.
    pub(super) fn scale_bytes(&self, rows: usize, cols: usize, stride: usize) -> usize {
        let blocks = |k| cols.next_multiple_of(CHUNK).div_ceil(k);
        let format = self.format().filter(|_| self.is_packed());
        format.map_or(0, |format| {
            4 * ((blocks(format.block_size()) - 1) * stride + rows)
        })
    }

    /// A row, packed: zeros follow it up to a whole chunk.
    pub(super) fn pack(
        &self,
        mut row: Vec<f32>,
        part: Part,
        format: &BlockFormat,
    ) -> Result<PackedRow, EntryError> {
        let cols = row.len().next_multiple_of(CHUNK);
        row.resize(cols, 0.0);
        let packed = quantize_part(&row, Part { cols, ..part }, format)?;
        let element = packed.element();
        let exponent = self.operand().activation_exponent(element).unwrap_or(0);
        let operand = |col| {
            let value = f64::from(element.decode(packed.code(0, col))) * pow2(-exponent);
            match self.operand() {
                OperandType::S8 => u32::from((value as i8).cast_unsigned()),
                OperandType::Bf16 | OperandType::E4m3 => {
                    u32::from(ElementFormat::FP8_E4M3.encode(value, Rounding::Even, 0))
                }
            }
        };
        let scale = |block| packed.scale().decode(packed.scale_code(0, block)).to_bits();
        Ok(PackedRow {
            operands: (0..cols).map(operand).collect(),
            scales: (0..format.blocks_per_row(cols)).map(scale).collect(),
        })
    }

    /// What a kernel writes, by name.
    pub(super) fn outputs(&self, dst: Tensor, scales: Tensor) -> Outputs {
        let mut outputs = Outputs::from([("dst", dst)]);
        if self.is_packed() {
            outputs.insert("dst_scales", scales);
        }
        outputs
    }
}
