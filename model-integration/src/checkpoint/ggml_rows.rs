//! A matrix that is quantised to a format of ggml in memory. Its values are computed from the
//! blocks when they are read.

use std::path::Path;
use std::sync::Arc;

use mxlab_kernels::format::{FloatType, GgmlFormat};
use rayon::prelude::*;

use super::CheckpointError;
use super::decoded::DecodedRows;
use super::tensor::TensorView;

struct GgmlRows {
    format: GgmlFormat,
    row_bytes: usize,
    blocks: Vec<u8>,
}

impl TensorView {
    /// The matrix in `format`, its values rounded to `dtype` first. One that its file stores in
    /// this format is returned as it is.
    ///
    /// # Errors
    /// `Factor` if a factor of a block is beyond the range of f16.
    ///
    /// # Panics
    /// If the rows are no whole blocks.
    pub fn in_ggml(&self, format: GgmlFormat, dtype: FloatType) -> Result<Self, CheckpointError> {
        if self.ggml() == Some(format) {
            return Ok(self.clone());
        }
        let [rows, cols] = [self.shape()[0], self.shape()[1]];
        assert!(format.takes_rows_of(cols), "{format} has no rows of {cols}");
        let row_bytes = format.row_bytes(cols);
        let mut blocks = vec![0; rows * row_bytes];
        let each = blocks.par_chunks_mut(row_bytes).enumerate();
        each.try_for_each_init(
            || (vec![0.0; cols], vec![0.0; cols]),
            |(values, decoded), (row, blocks)| {
                self.read_f32(row * cols..(row + 1) * cols, values);
                values
                    .iter_mut()
                    .for_each(|value| *value = dtype.round(*value));
                format.encode(values, blocks);
                format.decode(blocks, decoded);
                match decoded.iter().position(|value| !value.is_finite()) {
                    None => Ok(()),
                    Some(col) => Err(CheckpointError::Factor {
                        tensor: self.name().to_owned(),
                        format,
                        row,
                        block: col / format.block_size(),
                    }),
                }
            },
        )?;
        let made = GgmlRows {
            format,
            row_bytes,
            blocks,
        };
        Ok(Self::of_decoded(self.name(), [rows, cols], Arc::new(made)))
    }
}

impl DecodedRows for GgmlRows {
    fn layout(&self) -> &str {
        self.format.name()
    }

    fn place(&self) -> Option<(&Path, &str)> {
        None
    }

    fn ggml(&self, row: usize) -> Option<(GgmlFormat, &[u8])> {
        let row = &self.blocks[row * self.row_bytes..][..self.row_bytes];
        Some((self.format, row))
    }

    fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        if let Some((format, row)) = self.ggml(row) {
            format.decode(row, out);
        }
    }
}
