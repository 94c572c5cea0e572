//! W as stored in a checkpoint: rows of bf16.

use crate::format::FormatError;
use std::ops::Range;

/// A row-major matrix [rows, cols] of bf16, little-endian, wherever it lies.
#[derive(Clone, Copy, Debug)]
pub struct Bf16Rows<'a> {
    elements: &'a [[u8; 2]],
    cols: usize,
}

/// Bits of a bf16 behind the first.
const MANTISSA_BITS: i32 = 7;

impl<'a> Bf16Rows<'a> {
    /// From bytes that are whole rows of `cols` elements.
    ///
    /// # Errors
    /// [`FormatError::Length`] if they are not.
    pub fn new(bytes: &'a [u8], cols: usize) -> Result<Self, FormatError> {
        let (elements, rest) = bytes.as_chunks::<2>();
        let rows = elements.len().checked_div(cols).unwrap_or(0);
        if !rest.is_empty() || elements.len() != rows * cols {
            return Err(FormatError::Length {
                what: "bytes",
                got: bytes.len(),
                expected: 2 * rows * cols,
            });
        }
        Ok(Self { elements, cols })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.elements.len().checked_div(self.cols).unwrap_or(0)
    }

    /// Number of columns.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// log2 of a number that all elements of some rows are multiples of; far below all others if
    /// one is subnormal.
    pub(super) fn unit(&self, rows: Range<usize>) -> i32 {
        let elements = &self.elements[rows.start * self.cols..rows.end * self.cols];
        // The smallest magnitude less 1, so that 0 is the largest.
        let magnitudes = elements
            .iter()
            .map(|&bytes| u16::from_le_bytes(bytes) & 0x7FFF);
        let least = magnitudes.fold(u16::MAX, |least, bits| least.min(bits.wrapping_sub(1)));
        match least.wrapping_add(1) {
            0 => 0,
            bits if bits < 1 << MANTISSA_BITS => i32::MIN / 2,
            bits => i32::from(bits >> MANTISSA_BITS) - 127 - MANTISSA_BITS,
        }
    }

    /// The bits of `columns` of each of some rows.
    pub(super) fn bits(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> impl Iterator<Item = &'a [[u8; 2]]> {
        let rows = self.elements[rows.start * self.cols..rows.end * self.cols].chunks(self.cols);
        rows.map(move |row| &row[columns.clone()])
    }
}

/// The f32 whose high half an element is.
pub(super) fn widened(element: [u8; 2]) -> u32 {
    u32::from(u16::from_le_bytes(element)) << 16
}
