//! A weight in its stored form: dense in the file's type, or packed.

use std::ops::Range;

use mxlab_kernels::cpu::{self, Panels};
use mxlab_kernels::format::{BlockFormat, FloatType};
use rayon::prelude::*;

use crate::checkpoint::TensorView;
use crate::model::LlamaError;
use crate::model::ops::narrow;

/// Rows that one task widens.
const ROWS_PER_TASK: usize = 64;

/// A weight matrix `[rows, cols]`.
pub enum Matrix {
    /// Dense, as in the file.
    Dense(TensorView),
    /// Block-scaled, in the order in which products read it.
    Packed(Box<Panels>),
}

impl Matrix {
    /// Packs a weight along its rows. The values are first rounded to `dtype`, the type of the
    /// model's arithmetic.
    ///
    /// # Errors
    /// If the format does not accept values of `dtype`.
    pub fn pack(
        view: &TensorView,
        format: &BlockFormat,
        dtype: FloatType,
    ) -> Result<Self, LlamaError> {
        let [rows, cols] = size(view);
        let mut values = vec![0.0; rows * cols];
        view.read_f32(0..values.len(), &mut values);
        narrow(&mut values, dtype);
        let packed = cpu::quantize(&values, rows, cols, format, dtype)?;
        Ok(Self::Packed(Box::new(Panels::new(&packed))))
    }

    /// Number of rows: outputs of the projection.
    pub fn rows(&self) -> usize {
        match self {
            Self::Dense(view) => size(view)[0],
            Self::Packed(panels) => panels.rows(),
        }
    }

    /// Number of columns: inputs of the projection.
    pub fn cols(&self) -> usize {
        match self {
            Self::Dense(view) => size(view)[1],
            Self::Packed(panels) => panels.cols(),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Dense(view) => view.byte_len(),
            Self::Packed(panels) => panels.bytes(),
        }
    }

    /// The values of some rows, rounded to `dtype`.
    pub fn widen(&self, rows: Range<usize>, out: &mut [f32], dtype: FloatType) {
        match self {
            Self::Dense(view) => {
                let cols = self.cols();
                view.read_f32(rows.start * cols..rows.end * cols, out);
            }
            Self::Packed(panels) => panels
                .dequantize_rows(rows, out)
                .expect("callers ask for rows that exist"),
        }
        narrow(out, dtype);
    }

    /// Fills `out` with the values of rows from `first` on, in parallel.
    pub fn widen_parallel(&self, first: usize, out: &mut [f32], dtype: FloatType) {
        let cols = self.cols();
        out.par_chunks_mut(ROWS_PER_TASK * cols)
            .enumerate()
            .for_each(|(task, out)| {
                let start = first + task * ROWS_PER_TASK;
                self.widen(start..start + out.len() / cols, out, dtype);
            });
    }
}

/// Rows and columns. The checkpoint only hands out matrices as this type.
fn size(view: &TensorView) -> [usize; 2] {
    [view.shape()[0], view.shape()[1]]
}
