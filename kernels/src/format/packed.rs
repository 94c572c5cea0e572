//! A quantised matrix in memory.

use super::{BlockFormat, ElementFormat, FormatError, ScaleFormat};

/// Codes and shared scales of a [rows, cols] matrix, blocks along the rows.
///
/// Codes: see [`super::CodeLayout`]. Scales: row-major [rows, ceil(cols / k)], each
/// [`super::ScaleFormat::storage_bytes`] bytes, little-endian.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedTensor {
    format: BlockFormat,
    rows: usize,
    cols: usize,
    codes: Vec<u8>,
    scales: Vec<u8>,
    tensor_scale: f32,
}

impl PackedTensor {
    /// Puts a packed tensor together from its parts. `tensor_scale` is 1 where the format
    /// has none.
    ///
    /// # Errors
    /// [`FormatError::Length`] if a buffer does not fit rows, cols and format,
    /// [`FormatError::TooLarge`] if no buffer could.
    pub fn new(
        format: BlockFormat,
        rows: usize,
        cols: usize,
        codes: Vec<u8>,
        scales: Vec<u8>,
        tensor_scale: f32,
    ) -> Result<Self, FormatError> {
        let (code_bytes, scale_bytes) = Self::buffer_bytes(&format, rows, cols)?;
        check_length("code bytes", codes.len(), code_bytes)?;
        check_length("scale bytes", scales.len(), scale_bytes)?;
        Ok(Self {
            format,
            rows,
            cols,
            codes,
            scales,
            tensor_scale,
        })
    }

    /// A tensor of that shape with all codes and scales zero.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`].
    pub fn zeroed(format: BlockFormat, rows: usize, cols: usize) -> Result<Self, FormatError> {
        let (code_bytes, scale_bytes) = Self::buffer_bytes(&format, rows, cols)?;
        let (codes, scales) = (vec![0; code_bytes], vec![0; scale_bytes]);
        Ok(Self {
            format,
            rows,
            cols,
            codes,
            scales,
            tensor_scale: 1.0,
        })
    }

    /// Lengths of the two buffers, or an error if rows * cols overflows.
    fn buffer_bytes(
        format: &BlockFormat,
        rows: usize,
        cols: usize,
    ) -> Result<(usize, usize), FormatError> {
        // 8 bytes cover the widest element and the widest scale at k = 1.
        let fits = rows.checked_mul(cols).and_then(|n| n.checked_mul(8));
        if fits.is_none_or(|bytes| bytes > isize::MAX as usize) {
            return Err(FormatError::TooLarge { rows, cols });
        }
        let codes = rows * format.row_code_bytes(cols);
        let scales = rows * format.row_scale_bytes(cols);
        Ok((codes, scales))
    }

    /// The format.
    pub const fn format(&self) -> &BlockFormat {
        &self.format
    }

    /// Number of rows.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// All codes, packed.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    /// All scales.
    pub fn scales(&self) -> &[u8] {
        &self.scales
    }

    /// The scale of the tensor as a whole; 1 where the format has none.
    pub const fn tensor_scale(&self) -> f32 {
        self.tensor_scale
    }

    /// Bytes taken by codes, scales and tensor scale.
    pub const fn bytes(&self) -> usize {
        let tensor_scale = if self.format.has_tensor_scale() { 4 } else { 0 };
        self.codes.len() + self.scales.len() + tensor_scale
    }

    /// Bytes of codes in a row.
    pub const fn row_code_bytes(&self) -> usize {
        self.format.row_code_bytes(self.cols)
    }

    /// Bytes of scales in a row.
    pub const fn row_scale_bytes(&self) -> usize {
        self.format.row_scale_bytes(self.cols)
    }

    /// The codes of a row, packed.
    ///
    /// # Panics
    /// If the row is out of range, as an index is.
    pub fn row_codes(&self, row: usize) -> &[u8] {
        let bytes = self.row_code_bytes();
        &self.codes[row * bytes..][..bytes]
    }

    /// The scales of a row.
    ///
    /// # Panics
    /// If the row is out of range, as an index is.
    pub fn row_scales(&self, row: usize) -> &[u8] {
        let bytes = self.row_scale_bytes();
        &self.scales[row * bytes..][..bytes]
    }

    /// The code at (row, col), in the low bits.
    ///
    /// # Panics
    /// If row or col is out of range, as an index is.
    pub fn code(&self, row: usize, col: usize) -> u8 {
        assert!(
            row < self.rows && col < self.cols,
            "({row}, {col}) is outside the tensor"
        );
        let first = row * self.row_code_bytes();
        self.element().layout().code(&self.codes[first..], col)
    }

    /// The scale code of a row's block.
    ///
    /// # Panics
    /// If row or block is out of range, as an index is.
    pub fn scale_code(&self, row: usize, block: usize) -> u32 {
        let blocks = self.format.blocks_per_row(self.cols);
        assert!(
            row < self.rows && block < blocks,
            "block ({row}, {block}) is outside the tensor"
        );
        let width = self.scale().storage_bytes();
        let first = (row * blocks + block) * width;
        read_scale(&self.scales[first..first + width])
    }

    /// The element format.
    pub const fn element(&self) -> ElementFormat {
        self.format.element()
    }

    /// The scale format.
    pub const fn scale(&self) -> ScaleFormat {
        self.format.scale()
    }

    /// The buffers and the tensor scale, for a quantiser to fill.
    pub(crate) fn parts_mut(&mut self) -> (&mut [u8], &mut [u8], &mut f32) {
        (&mut self.codes, &mut self.scales, &mut self.tensor_scale)
    }
}

/// A scale code from its little-endian bytes.
pub(crate) fn read_scale(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |code, &byte| code << 8 | u32::from(byte))
}

/// A scale code to its little-endian bytes.
pub(crate) fn write_scale(code: u32, bytes: &mut [u8]) {
    let width = bytes.len();
    bytes.copy_from_slice(&code.to_le_bytes()[..width]);
}

fn check_length(what: &'static str, got: usize, expected: usize) -> Result<(), FormatError> {
    if got == expected {
        Ok(())
    } else {
        Err(FormatError::Length {
            what,
            got,
            expected,
        })
    }
}
