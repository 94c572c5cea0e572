//! A matrix whose rows are rotated when they are read.

use std::path::Path;
use std::sync::Arc;

use mxlab_kernels::format::{FloatType, FormatError, Hadamard, Rotation};

use super::ops::{hadamard, narrow};
use crate::checkpoint::TensorView;
use crate::checkpoint::decoded::DecodedRows;

struct RotatedRows {
    stored: TensorView,
    rotation: Hadamard,
    dtype: FloatType,
    layout: String,
}

/// The matrix of `view` with rotated rows. Values are rounded to `dtype` before and after.
///
/// # Errors
/// If rows of this length have no such rotation.
pub fn rotated(
    view: &TensorView,
    rotation: &Rotation,
    dtype: FloatType,
) -> Result<TensorView, FormatError> {
    let shape = [view.shape()[0], view.shape()[1]];
    let rows = RotatedRows {
        stored: view.clone(),
        rotation: rotation.of_rows(shape[1])?,
        dtype,
        layout: format!("rotated by {rotation}"),
    };
    Ok(TensorView::of_decoded(view.name(), shape, Arc::new(rows)))
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
