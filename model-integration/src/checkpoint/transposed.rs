//! Matrices that a file stores column by column, several in one tensor.

use std::sync::Arc;

use half::{bf16, f16};
use mxlab_kernels::format::FloatType;

use super::weight_file::WeightFile;

/// A tensor `[matrices, cols, rows]` of floats, read as the rows of all matrices, one after
/// another.
pub(super) struct Transposed {
    file: Arc<WeightFile>,
    /// Index in [`WeightFile::tensors`].
    tensor: usize,
    dtype: FloatType,
    /// Rows and columns of one matrix.
    matrix: [usize; 2],
}

impl Transposed {
    /// The matrices of a tensor whose last two sizes are `[cols, rows]`.
    pub(super) fn new(
        file: Arc<WeightFile>,
        tensor: usize,
        dtype: FloatType,
        matrix: [usize; 2],
    ) -> Self {
        Self {
            file,
            tensor,
            dtype,
            matrix,
        }
    }

    /// The type of the elements.
    pub(super) const fn dtype(&self) -> FloatType {
        self.dtype
    }

    /// The file, and the tensor's name.
    pub(super) fn place(&self) -> (&WeightFile, &str) {
        (&self.file, &self.file.tensors()[self.tensor].0)
    }

    /// Reads a row.
    pub(super) fn read(&self, row: usize, out: &mut [f32]) {
        let [rows, cols] = self.matrix;
        let first = row / rows * rows * cols + row % rows;
        let size = self.dtype.bytes();
        let bytes = &self.file.bytes()[self.file.tensors()[self.tensor].2.clone()];
        for (col, out) in out.iter_mut().enumerate() {
            let element = &bytes[(first + col * rows) * size..][..size];
            *out = match (self.dtype, element) {
                (FloatType::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
                (FloatType::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
                (_, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
                _ => unreachable!("an element has the bytes of its type"),
            };
        }
    }
}
