//! Rows that a cache keeps: packed in a format, or as values of the model's arithmetic.

use half::f16;
use mxlab_kernels::cpu::{Quantizer, dequantize_rows};
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor};

use crate::model::LlamaError;
use crate::model::ops::narrow;

/// Rows of one length. What is read back has the bits of a row that was rounded in place.
pub(super) struct KeptRows {
    store: Store,
    dtype: FloatType,
    rows: usize,
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
    },
}

impl KeptRows {
    /// Room for `rows` rows of `cols` values of `dtype`, in `format` if there is one.
    pub fn new(
        rows: usize,
        cols: usize,
        format: Option<&BlockFormat>,
        dtype: FloatType,
    ) -> Result<Self, LlamaError> {
        let store = match (format, dtype) {
            (Some(&format), _) => Store::Packed {
                quantizer: Box::new(Quantizer::new(format, dtype)?),
                tensor: Box::new(PackedTensor::zeroed(format, rows, cols)?),
                tensor_scales: match format.has_tensor_scale() {
                    true => vec![0.0; rows],
                    false => Vec::new(),
                },
            },
            (None, FloatType::F32) => Store::F32(vec![0.0; rows * cols]),
            (None, FloatType::Bf16 | FloatType::F16) => Store::Bits(vec![0; rows * cols]),
        };
        Ok(Self {
            store,
            dtype,
            rows,
            cols,
        })
    }

    /// Keeps `x` as row `at`. `number` is the row's place in its sequence, which seeds stochastic
    /// rounding.
    pub fn write(&mut self, at: usize, x: &[f32], number: usize) -> Result<(), LlamaError> {
        let place = at * self.cols..(at + 1) * self.cols;
        match &mut self.store {
            Store::F32(values) => values[place].copy_from_slice(x),
            Store::Bits(bits) => {
                for (bits, &x) in bits[place].iter_mut().zip(x) {
                    *bits = match self.dtype {
                        FloatType::F16 => f16::from_f32(x).to_bits(),
                        _ => (x.to_bits() >> 16) as u16,
                    };
                }
            }
            Store::Packed {
                quantizer,
                tensor,
                tensor_scales,
            } => {
                if let Some(scale) = tensor_scales.get_mut(at) {
                    quantizer.set_scale_of(x);
                    *scale = quantizer.tensor_scale();
                }
                quantizer.write_rows(x, number, tensor, at)?;
            }
        }
        Ok(())
    }

    /// The values of the rows from `first` on; `out` is whole rows.
    pub fn read(&self, first: usize, out: &mut [f32]) {
        let rows = out.len() / self.cols;
        let place = first * self.cols..(first + rows) * self.cols;
        match &self.store {
            Store::F32(values) => out.copy_from_slice(&values[place]),
            Store::Bits(bits) => {
                let pairs = out.iter_mut().zip(&bits[place]);
                match self.dtype {
                    FloatType::F16 => pairs.for_each(|(x, &bits)| *x = f16::from_bits(bits).into()),
                    _ => pairs.for_each(|(x, &bits)| *x = f32::from_bits(u32::from(bits) << 16)),
                }
            }
            Store::Packed {
                tensor,
                tensor_scales,
                ..
            } => {
                dequantize_rows(tensor, first..first + rows, out).expect("rows of the tensor");
                if !tensor_scales.is_empty() {
                    let rows = out.chunks_exact_mut(self.cols);
                    for (row, scale) in rows.zip(&tensor_scales[first..]) {
                        row.iter_mut().for_each(|x| *x *= scale);
                    }
                }
                narrow(out, self.dtype);
            }
        }
    }

    /// Writes to every page of memory, so that the system has given it from now on. It must not be
    /// in use.
    pub fn occupy(&mut self) -> Result<(), LlamaError> {
        let rows = self.rows;
        let step = (PAGE_BYTES * rows / self.bytes().max(1)).max(1);
        let zeros = vec![0.0; self.cols];
        for row in (0..rows).step_by(step).chain(rows.checked_sub(1)) {
            self.write(row, &zeros, 0)?;
        }
        Ok(())
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        match &self.store {
            Store::F32(values) => size_of_val(&**values),
            Store::Bits(bits) => size_of_val(&**bits),
            Store::Packed {
                tensor,
                tensor_scales,
                ..
            } => tensor.codes().len() + tensor.scales().len() + size_of_val(&**tensor_scales),
        }
    }
}
