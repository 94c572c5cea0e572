//! A weight in its stored form: dense in the file's type, packed, or in blocks of ggml.

use std::ops::Range;

use mxlab_kernels::cpu::{self, Panels};
use mxlab_kernels::format::{BlockFormat, FloatType};
use rayon::prelude::*;

use crate::checkpoint::TensorView;
use crate::description::parameters::Usage;
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
    /// The same beside the stored blocks of ggml, of which rows are looked up.
    PackedLookup(TensorView, Box<Panels>),
}

impl Matrix {
    /// A weight in a format of ggml whose codes products decode in registers, in that order; `None`
    /// for others.
    ///
    /// # Errors
    /// If the blocks of a row are not whole.
    pub fn of_ggml(view: &TensorView, usage: Usage) -> Result<Option<Self>, LlamaError> {
        let Some(format) = view.ggml().filter(|_| usage != Usage::Lookup) else {
            return Ok(None);
        };
        let [rows, cols] = size(view);
        let (blocks, row_bytes) = (view.ggml_blocks(), format.row_bytes(cols));
        let row_of = |row: usize| &blocks[row * row_bytes..][..row_bytes];
        let panels = Panels::of_ggml(format, [rows, cols], row_of)?.map(Box::new);
        Ok(panels.map(|panels| match usage {
            Usage::LookupAndProduct => Self::PackedLookup(view.clone(), panels),
            Usage::Lookup | Usage::Product => Self::Packed(panels),
        }))
    }

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
            Self::Packed(panels) | Self::PackedLookup(_, panels) => panels.rows(),
        }
    }

    /// Number of columns: inputs of the projection.
    pub fn cols(&self) -> usize {
        match self {
            Self::Dense(view) => size(view)[1],
            Self::Packed(panels) | Self::PackedLookup(_, panels) => panels.cols(),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Dense(view) => view.byte_len(),
            Self::Packed(panels) => panels.bytes(),
            Self::PackedLookup(view, panels) => view.byte_len() + panels.bytes(),
        }
    }

    /// The values of some rows, rounded to `dtype`.
    pub fn widen(&self, rows: Range<usize>, out: &mut [f32], dtype: FloatType) {
        match self {
            Self::Dense(view) | Self::PackedLookup(view, _) => {
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
