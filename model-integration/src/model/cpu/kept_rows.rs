//! Rows that a cache keeps: packed in a format, or as values of the model's arithmetic.
//!
//! Rows of keys are kept by feature in each page, as products read them, unless they are packed:
//! blocks are parts of rows.

use half::f16;
use mxlab_kernels::cpu::{Lines, PAGE, PagedValues, Quantizer, dequantize_rows};
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor};

use super::exact_rows::ExactRows;
use super::pages::by_feature;
use crate::model::LlamaError;
use crate::model::buffer::Buffer;
use crate::model::ops::narrow;

/// Rows of one length in pages of [`PAGE`]. What is read back has the bits of a row that was
/// rounded in place.
pub(super) struct KeptRows {
    store: Store,
    dtype: FloatType,
    holds: Lines,
    pages: usize,
    cols: usize,
}

/// Least bytes of a page of memory.
const PAGE_BYTES: usize = 4096;

enum Store {
    F32(Vec<f32>),
    /// The bits of 16-bit values.
    Bits(Vec<u16>),
    Packed {
        quantizer: Box<Quantizer>,
        tensor: Box<PackedTensor>,
        /// The tensor scale of each row, where the format has one.
        tensor_scales: Vec<f32>,
        /// Rows that are not packed.
        exact: ExactRows,
    },
}

impl KeptRows {
    /// Room for pages of rows of `cols` values of `dtype`, in `format` if there is one. A row is
    /// read as what a page `holds`.
    pub fn new(
        pages: usize,
        cols: usize,
        holds: Lines,
        format: Option<&BlockFormat>,
        dtype: FloatType,
    ) -> Result<Self, LlamaError> {
        let rows = pages * PAGE;
        let store = match (format, dtype) {
            (Some(&format), _) => Store::Packed {
                quantizer: Box::new(Quantizer::new(format, dtype)?),
                tensor: Box::new(PackedTensor::zeroed(format, rows, cols)?),
                tensor_scales: match format.has_tensor_scale() {
                    true => vec![0.0; rows],
                    false => Vec::new(),
                },
                exact: ExactRows::new(dtype),
            },
            (None, FloatType::F32) => Store::F32(vec![0.0; rows * cols]),
            (None, FloatType::Bf16 | FloatType::F16) => Store::Bits(vec![0; rows * cols]),
        };
        Ok(Self {
            store,
            dtype,
            holds,
            pages,
            cols,
        })
    }

    /// Keeps `x`, of the model's type, as row `at` without packing it.
    pub fn write_exact(&mut self, at: usize, x: &[f32]) -> Result<(), LlamaError> {
        match &mut self.store {
            Store::Packed { exact, .. } => {
                exact.keep(at, x);
                Ok(())
            }
            // Every row is exact.
            Store::F32(_) | Store::Bits(_) => self.write(at, x, 0),
        }
    }

    /// Keeps `x` as row `at`. `number` is the row's place in its sequence, which seeds stochastic
    /// rounding.
    pub fn write(&mut self, at: usize, x: &[f32], number: usize) -> Result<(), LlamaError> {
        let (page, line) = (at / PAGE * PAGE * self.cols, at % PAGE);
        let (first, step) = match self.holds {
            Lines::Rows => (page + line * self.cols, 1),
            Lines::Columns => (page + line, PAGE),
        };
        let dtype = self.dtype;
        match &mut self.store {
            Store::F32(values) => {
                let places = values[first..].iter_mut().step_by(step);
                places.zip(x).for_each(|(value, &x)| *value = x);
            }
            Store::Bits(bits) => {
                let places = bits[first..].iter_mut().step_by(step).zip(x);
                match dtype {
                    FloatType::F16 => {
                        places.for_each(|(bits, &x)| *bits = f16::from_f32(x).to_bits())
                    }
                    // Values of the model's arithmetic, which are bf16.
                    _ => places.for_each(|(bits, &x)| *bits = (x.to_bits() >> 16) as u16),
                }
            }
            Store::Packed {
                quantizer,
                tensor,
                tensor_scales,
                exact,
            } => {
                exact.forget(at);
                if let Some(scale) = tensor_scales.get_mut(at) {
                    quantizer.set_scale_of(x);
                    *scale = quantizer.tensor_scale();
                }
                quantizer.write_rows(x, number, tensor, at)?;
            }
        }
        Ok(())
    }

    /// The values of all pages where products can read them, in the order that `holds` says.
    pub fn values(&self) -> Option<PagedValues<'_>> {
        match (&self.store, self.dtype) {
            (Store::F32(values), _) => Some(PagedValues::F32(values)),
            (Store::Bits(bits), FloatType::Bf16) => Some(PagedValues::Bf16(bits)),
            _ => None,
        }
    }

    /// The values of a page, in the order that `holds` says.
    pub fn read(&self, page: usize, out: &mut [f32]) {
        let first = page * PAGE;
        let place = first * self.cols..(first + PAGE) * self.cols;
        match &self.store {
            Store::F32(values) => out.copy_from_slice(&values[place]),
            Store::Bits(bits) => {
                let pairs = out.iter_mut().zip(&bits[place]);
                pairs.for_each(|(x, &bits)| *x = self.dtype.from_bits(bits.into()));
            }
            Store::Packed {
                tensor,
                tensor_scales,
                exact,
                ..
            } => match self.holds {
                Lines::Rows => {
                    self.unpack(tensor, tensor_scales, first, out);
                    exact.read(first, self.cols, out);
                }
                Lines::Columns => {
                    let mut rows = Buffer::of_any_values(out.len());
                    self.unpack(tensor, tensor_scales, first, &mut rows);
                    exact.read(first, self.cols, &mut rows);
                    by_feature(&rows, self.cols, PAGE, out);
                }
            },
        }
    }

    /// The values of a page of packed rows.
    fn unpack(&self, tensor: &PackedTensor, scales: &[f32], first: usize, out: &mut [f32]) {
        dequantize_rows(tensor, first..first + PAGE, out).expect("rows of the tensor");
        if !scales.is_empty() {
            let rows = out.chunks_exact_mut(self.cols);
            for (row, scale) in rows.zip(&scales[first..]) {
                row.iter_mut().for_each(|x| *x *= scale);
            }
        }
        narrow(out, self.dtype);
    }

    /// Writes to every page of memory, so that the system has given it from now on. It must not be
    /// in use.
    pub fn occupy(&mut self) -> Result<(), LlamaError> {
        let rows = self.pages * PAGE;
        let step = (PAGE_BYTES * rows / self.bytes().max(1)).max(1);
        let zeros = vec![0.0; self.cols];
        for row in (0..rows).step_by(step).chain(rows.checked_sub(1)) {
            self.write(row, &zeros, 0)?;
        }
        Ok(())
    }

    /// Bytes allocated, and those of rows beside them.
    pub fn bytes(&self) -> usize {
        match &self.store {
            Store::F32(values) => size_of_val(&**values),
            Store::Bits(bits) => size_of_val(&**bits),
            Store::Packed {
                tensor,
                tensor_scales,
                exact,
                ..
            } => {
                let scales = tensor.scales().len() + size_of_val(&**tensor_scales);
                tensor.codes().len() + scales + exact.bytes()
            }
        }
    }
}
