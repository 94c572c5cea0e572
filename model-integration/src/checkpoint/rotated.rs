//! A matrix whose rows are rotated when they are read.

use std::path::Path;
use std::sync::Arc;

use mxlab_kernels::format::{FloatType, FormatError, Hadamard, Rotation};

use super::decoded::DecodedRows;
use super::tensor::TensorView;
use crate::model::ops::{hadamard, narrow};

struct RotatedRows {
    stored: TensorView,
    rotation: Hadamard,
    dtype: FloatType,
    layout: String,
}

impl TensorView {
    /// The matrix with rotated rows. Values are rounded to `dtype` before and after.
    ///
    /// # Errors
    /// If rows of this length have no such rotation.
    pub fn rotated(&self, rotation: &Rotation, dtype: FloatType) -> Result<Self, FormatError> {
        let shape = [self.shape()[0], self.shape()[1]];
        let rows = RotatedRows {
            stored: self.clone(),
            rotation: rotation.of_rows(shape[1])?,
            dtype,
            layout: format!("rotated by {rotation}"),
        };
        Ok(Self::of_decoded(self.name(), shape, Arc::new(rows)))
    }
}

impl DecodedRows for RotatedRows {
    fn layout(&self) -> &str {
        &self.layout
    }

    fn place(&self) -> Option<(&Path, &str)> {
        None
    }

    fn row_bytes(&self) -> usize {
        self.stored.shape()[1] * self.dtype.bytes()
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        let cols = out.len();
        self.stored.read_f32(row * cols..(row + 1) * cols, out);
        narrow(out, self.dtype);
        hadamard(out, cols, &self.rotation, self.dtype);
    }
}
