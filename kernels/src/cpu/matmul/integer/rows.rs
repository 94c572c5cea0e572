//! Activations as codes, and as the integers that products read.

use super::dot::Operand;
use crate::cpu;
use crate::format::{BlockFormat, FormatError, IntegerElement, PackedTensor, read_scale};
use std::sync::OnceLock;

/// Columns whose integers are reordered among each other.
pub(super) const GROUP: usize = 16;

/// Tokens [tokens, cols] in a block format, each with its own tensor scale.
#[derive(Debug)]
pub struct PackedRows {
    format: BlockFormat,
    cols: usize,
    codes: Vec<u8>,
    scales: Vec<u8>,
    tensor_scales: Vec<f32>,
    /// For the first kind of weights that they were multiplied with.
    integers: OnceLock<Integers>,
}

/// What of tokens is written when they are quantised.
#[derive(Debug)]
pub struct PackedRowsMut<'a> {
    /// [`BlockFormat::row_code_bytes`] of each token.
    pub codes: &'a mut [u8],
    /// [`BlockFormat::row_scale_bytes`] of each token.
    pub scales: &'a mut [u8],
    /// One of each token; 1 where the format has none.
    pub tensor_scales: &'a mut [f32],
}

impl PackedRows {
    /// Tokens whose codes and scales are zero.
    pub fn zeroed(format: BlockFormat, tokens: usize, cols: usize) -> Self {
        Self {
            format,
            cols,
            codes: vec![0; tokens * format.row_code_bytes(cols)],
            scales: vec![0; tokens * format.row_scale_bytes(cols)],
            tensor_scales: vec![1.0; tokens],
            integers: OnceLock::new(),
        }
    }

    /// The format.
    pub const fn format(&self) -> &BlockFormat {
        &self.format
    }

    /// Number of tokens.
    pub const fn tokens(&self) -> usize {
        self.tensor_scales.len()
    }

    /// Number of columns.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// For a quantiser to fill.
    pub fn parts_mut(&mut self) -> PackedRowsMut<'_> {
        self.integers = OnceLock::new();
        PackedRowsMut {
            codes: &mut self.codes,
            scales: &mut self.scales,
            tensor_scales: &mut self.tensor_scales,
        }
    }

    /// The values [tokens, cols].
    ///
    /// # Errors
    /// [`FormatError::Length`] unless `out` has their size.
    pub fn dequantize(&self, out: &mut [f32]) -> Result<(), FormatError> {
        let expected = self.tokens() * self.cols;
        if out.len() != expected {
            return Err(FormatError::Length {
                what: "output",
                got: out.len(),
                expected,
            });
        }
        for (token, out) in out.chunks_exact_mut(self.cols.max(1)).enumerate() {
            let packed = PackedTensor::new(
                self.format,
                1,
                self.cols,
                self.row_codes(token).to_vec(),
                self.row_scales(token).to_vec(),
                self.tensor_scales[token],
            )?;
            cpu::dequantize(&packed, out)?;
        }
        Ok(())
    }

    fn row_codes(&self, token: usize) -> &[u8] {
        let bytes = self.format.row_code_bytes(self.cols);
        &self.codes[token * bytes..][..bytes]
    }

    fn row_scales(&self, token: usize) -> &[u8] {
        let bytes = self.format.row_scale_bytes(self.cols);
        &self.scales[token * bytes..][..bytes]
    }

    pub(super) fn tensor_scale(&self, token: usize) -> f32 {
        self.tensor_scales[token]
    }

    /// Calls `reader` with the integers, which are made once for the first `arrangement`.
    pub(super) fn with_integers<T>(
        &self,
        element: IntegerElement,
        arrangement: Arrangement,
        reader: impl FnOnce(&Integers) -> T,
    ) -> T {
        let make = || Integers::new(self, element, arrangement);
        let kept = self.integers.get_or_init(make);
        match kept.arrangement == arrangement {
            true => reader(kept),
            false => reader(&make()),
        }
    }
}

impl From<&PackedTensor> for PackedRows {
    fn from(packed: &PackedTensor) -> Self {
        Self {
            format: *packed.format(),
            cols: packed.cols(),
            codes: packed.codes().to_vec(),
            scales: packed.scales().to_vec(),
            tensor_scales: vec![packed.tensor_scale(); packed.rows()],
            integers: OnceLock::new(),
        }
    }
}

/// How the integers of a group of [`GROUP`] columns lie, which follows from the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrangement {
    pub operand: Operand,
    /// Whether a word of weights has eight codes of four bits: its low nibbles become one word of
    /// bytes, the high ones the next.
    pub has_nibbles: bool,
    /// What is added to the integers of weights.
    pub raised_by: i32,
}

impl Arrangement {
    /// The columns of a group in the order in which they lie.
    pub fn columns(self) -> [usize; GROUP] {
        let byte = |i: usize| match self.has_nibbles {
            true => i / 8 * 8 + i % 4 * 2 + i / 4 % 2,
            false => i,
        };
        std::array::from_fn(|i| match self.operand {
            Operand::Bytes => byte(i),
            // Bytes 0 and 2 of a word are one word, bytes 1 and 3 the next.
            Operand::Words => byte(i / 4 * 4 + i % 2 * 2 + i / 2 % 2),
        })
    }
}

/// The integers of tokens, and the factors of their blocks.
#[derive(Debug)]
pub(super) struct Integers {
    arrangement: Arrangement,
    /// Words of every token, `stride` apart, whole groups.
    pub words: Vec<u32>,
    pub stride: usize,
    /// What sums of a block begin with, so that what was added to weights is subtracted:
    /// [tokens, blocks].
    pub starts: Vec<i32>,
    /// [tokens, blocks].
    pub factors: Vec<f32>,
    pub blocks: usize,
}

impl Integers {
    fn new(rows: &PackedRows, element: IntegerElement, arrangement: Arrangement) -> Self {
        let (format, cols) = (&rows.format, rows.cols);
        let (scale, k) = (format.scale(), format.block_size());
        let layout = format.element().layout();
        let integers = element.integers();
        let unpacked = cols.next_multiple_of(GROUP);
        let used = unpacked / arrangement.operand.columns();
        // Large powers of two would put the tokens of a tile into the same few lines of a cache.
        let stride = used + if used.is_multiple_of(256) { 16 } else { 0 };
        let (tokens, blocks) = (rows.tokens(), format.blocks_per_row(cols));
        let mut made = Self {
            arrangement,
            words: vec![0; tokens * stride],
            stride,
            starts: Vec::with_capacity(tokens * blocks),
            factors: Vec::with_capacity(tokens * blocks),
            blocks,
        };
        let order = arrangement.columns();
        let (mut codes, mut values) = (vec![0; cols], vec![0i32; unpacked]);
        for token in 0..tokens {
            layout.unpack(rows.row_codes(token), &mut codes);
            for (value, &code) in values.iter_mut().zip(&codes) {
                *value = integers[usize::from(code)];
            }
            let to = &mut made.words[token * stride..][..used];
            let words = to.chunks_exact_mut(GROUP / arrangement.operand.columns());
            for (words, values) in words.zip(values.as_chunks::<GROUP>().0) {
                arrangement.operand.pack(words, values, &order);
            }
            let scales = rows.row_scales(token).chunks_exact(scale.storage_bytes());
            for (scales, values) in scales.zip(values[..cols].chunks(k)) {
                let sum: i32 = values.iter().sum();
                made.starts.push(sum.wrapping_mul(-arrangement.raised_by));
                made.factors
                    .push(scale.decode(read_scale(scales)) * element.unit());
            }
        }
        made
    }
}

impl Operand {
    /// Words of the values of a group, in an order of its columns.
    pub(super) fn pack(self, words: &mut [u32], values: &[i32; GROUP], order: &[usize; GROUP]) {
        let columns = self.columns();
        for (word, order) in words.iter_mut().zip(order.chunks_exact(columns)) {
            let parts = order.iter().rev().map(|&column| values[column] as u32);
            *word = match self {
                Self::Bytes => parts.fold(0, |word, part| word << 8 | part & 0xFF),
                Self::Words => parts.fold(0, |word, part| word << 16 | part & 0xFFFF),
            };
        }
    }
}
