//! Tensors as models have them: normal-like values. To make large tensors fast, only some rows are
//! drawn; every other row repeats one of them, chosen at random. A fixed cycle would hide faults: a
//! kernel that reads a wrong row, or skips keys of a cache, would find the same values there.

use super::{ElementType, EntryError, PartialElement, Tensor};
use crate::format::{BlockFormat, FloatType, PackedTensor, random_at};
use crate::reference::quantize;
use rand::Rng;

/// Rows that are drawn.
const DRAWN: usize = 32;

/// A matrix of numbers around 0, of variance 1.
pub(crate) struct Typical {
    rows: usize,
    cols: usize,
    /// Values of the drawn rows.
    values: Vec<f32>,
    /// Chooses the drawn row that each other row repeats.
    seed: u32,
}

/// A quantised one.
pub(crate) struct TypicalPacked {
    rows: usize,
    /// The rows that are drawn.
    drawn: PackedTensor,
    seed: u32,
}

impl Typical {
    /// Draws one.
    pub fn draw(rng: &mut impl Rng, rows: usize, cols: usize) -> Self {
        // The sum of twelve numbers from 0 to 1 has a variance of 1.
        let mut normal = || (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
        let values = (0..rows.min(DRAWN) * cols).map(|_| normal()).collect();
        let seed = rng.random();
        Self {
            rows,
            cols,
            values,
            seed,
        }
    }

    /// Its elements rounded to `float`, rows `stride` elements apart, zeros between them.
    pub fn dense(&self, float: FloatType, stride: usize) -> Tensor {
        let bits = self.values.chunks(self.cols).flat_map(|row| {
            let padding = std::iter::repeat_n(0, stride - self.cols);
            row.iter().map(|&x| float.to_bits(x)).chain(padding)
        });
        let bits: Vec<u32> = bits.collect();
        Tensor {
            element: float.into(),
            bits: repeated(&bits, stride, self.rows, self.seed),
        }
    }

    /// A byte for each element, rows `stride` elements apart, zeros between them.
    pub fn bytes(&self, byte: impl Fn(f32) -> u8, stride: usize) -> Tensor {
        let bytes = self.values.chunks(self.cols).flat_map(|row| {
            let padding = std::iter::repeat_n(0, stride - self.cols);
            row.iter().map(|&x| byte(x).into()).chain(padding)
        });
        let bits: Vec<u32> = bytes.collect();
        Tensor {
            element: ElementType::U8,
            bits: repeated(&bits, stride, self.rows, self.seed),
        }
    }

    /// Its elements, rounded to `source`, in a block format.
    pub fn packed(
        &self,
        format: &BlockFormat,
        source: FloatType,
    ) -> Result<TypicalPacked, EntryError> {
        let x: Vec<f32> = self.values.iter().map(|&x| source.round(x)).collect();
        let rows = x.len() / self.cols;
        Ok(TypicalPacked {
            rows: self.rows,
            drawn: quantize(&x, rows, self.cols, format, source)?,
            seed: self.seed,
        })
    }
}

impl TypicalPacked {
    /// Codes in the layout of a packed tensor.
    pub fn packed_codes(&self) -> Tensor {
        let codes = Tensor::of_bytes(self.drawn.codes());
        self.all_rows(codes, self.drawn.row_code_bytes())
    }

    /// A byte for each code.
    pub fn codes(&self) -> Tensor {
        let (rows, cols) = (self.drawn.rows(), self.drawn.cols());
        let row = |row| (0..cols).map(move |col| self.drawn.code(row, col));
        let codes: Vec<u8> = (0..rows).flat_map(row).collect();
        self.all_rows(Tensor::of_bytes(&codes), cols)
    }

    /// Codes of scales.
    ///
    /// # Errors
    /// [`PartialElement`] if the packed tensor's scales are no whole number of codes.
    pub fn scales(&self) -> Result<Tensor, PartialElement> {
        let element = ElementType::from(self.drawn.scale());
        let scales = Tensor::from_bytes(element, self.drawn.scales())?;
        let blocks = self.drawn.format().blocks_per_row(self.drawn.cols());
        Ok(self.all_rows(scales, blocks))
    }

    /// The scale of the tensor as a whole; 1 where the format has none.
    pub fn tensor_scale(&self) -> Tensor {
        Tensor::of_values(&[self.drawn.tensor_scale()], FloatType::F32)
    }

    fn all_rows(&self, drawn: Tensor, row: usize) -> Tensor {
        Tensor {
            element: drawn.element,
            bits: repeated(&drawn.bits, row, self.rows, self.seed),
        }
    }
}

/// `rows` rows of `row` words: first the drawn rows, then any of them.
fn repeated(drawn: &[u32], row: usize, rows: usize, seed: u32) -> Vec<u32> {
    let mut bits = Vec::with_capacity(rows * row);
    bits.extend_from_slice(drawn);
    let count = drawn.len() / row.max(1);
    for number in count..rows {
        let which = random_at(seed, number as u64) as usize % count;
        bits.extend_from_slice(&drawn[which * row..][..row]);
    }
    bits
}
