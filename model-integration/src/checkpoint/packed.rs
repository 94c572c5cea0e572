//! A matrix that its file stores as codes and shared scales.

use std::sync::Arc;

use mxlab_kernels::cpu;
use mxlab_kernels::format::{BlockFormat, ElementFormat, PackedTensor, ScaleFormat};
use rayon::prelude::*;
use safetensors::Dtype;

use super::CheckpointError;
use super::decoded::DecodedRows;
use super::encoding::dtype_error;
use super::weight_file::WeightFile;

/// Elements of a block of MXFP4.
pub(super) const MX_BLOCK: usize = 32;

/// MXFP4, as in every checkpoint. Files do not say how scales and codes were chosen; the format
/// names OCP's rules.
///
/// # Panics
/// Never: the parts fit each other.
pub(super) fn mxfp4() -> BlockFormat {
    let format = BlockFormat::new(ElementFormat::FP4_E2M1).scale(ScaleFormat::E8M0);
    let format = format.block_size(MX_BLOCK).build();
    format.expect("MXFP4 is a format")
}

/// Rows that a task copies at least.
const ROWS_PER_TASK: usize = 16;

/// A file, and the index of a tensor in it.
pub(super) type Place = (Arc<WeightFile>, usize);

/// Where a matrix's codes and scales are.
pub(super) enum Layout {
    /// Codes `[rows, bytes of a row]` and scales `[rows, blocks, bytes of a scale]`, a tensor each.
    Separate {
        /// Packed codes.
        codes: Place,
        /// Shared scales, little-endian.
        scales: Place,
    },
    /// Any other, made row by row.
    Made(Box<dyn CodedRows>),
}

/// The rows of a matrix whose codes and scales lie in another order than ours.
pub(super) trait CodedRows: Send + Sync {
    /// Writes the codes and the scales of a stored row.
    fn write(&self, row: usize, codes: &mut [u8], scales: &mut [u8]);

    /// The tensor with the scales, for messages.
    fn scales(&self) -> &Place;

    /// The values, where the package that writes this layout computes them otherwise than as the
    /// product of element, scale and tensor scale, in this order.
    fn values(&self) -> Option<&dyn DecodedRows> {
        None
    }

    /// The code of negative zero, if it stands for zero.
    fn zero_code(&self) -> Option<u8> {
        None
    }

    /// Whether the package that writes this layout rounds values to bf16.
    fn is_rounded(&self) -> bool {
        false
    }

    /// The stored divisor of all scales, if there is one in place of a factor.
    fn divisor(&self) -> Option<f32> {
        None
    }
}

/// A matrix as its file stores it.
pub(super) struct Packed {
    format: BlockFormat,
    cols: usize,
    layout: Layout,
    tensor_scale: f32,
}

impl Packed {
    /// Codes and scales in U8 tensors, whose shapes may split the bytes of a row into several axes.
    ///
    /// # Errors
    /// `Shape` and `PackedDtype` unless `codes` and `scales` have the bytes of a `[rows, cols]`
    /// matrix.
    pub(super) fn separate(
        format: BlockFormat,
        [rows, cols]: [usize; 2],
        [codes, scales]: [Place; 2],
        tensor_scale: f32,
    ) -> Result<Self, CheckpointError> {
        check(&codes, [rows, format.row_code_bytes(cols)])?;
        check(&scales, [rows, format.row_scale_bytes(cols)])?;
        Ok(Self {
            format,
            cols,
            layout: Layout::Separate { codes, scales },
            tensor_scale,
        })
    }

    /// Rows of `cols` columns that are made in the order of `format`.
    pub(super) fn made(
        format: BlockFormat,
        cols: usize,
        rows: Box<dyn CodedRows>,
        tensor_scale: f32,
    ) -> Self {
        Self {
            format,
            cols,
            layout: Layout::Made(rows),
            tensor_scale,
        }
    }

    /// Whether the package that writes this layout rounds values to bf16.
    pub(super) fn is_rounded(&self) -> bool {
        matches!(&self.layout, Layout::Made(rows) if rows.is_rounded())
    }

    /// The stored divisor of all scales, if there is one in place of a factor.
    pub(super) fn divisor(&self) -> Option<f32> {
        match &self.layout {
            Layout::Separate { .. } => None,
            Layout::Made(rows) => rows.divisor(),
        }
    }

    /// The values of a stored row. Those of another program's layout are computed as it does, so
    /// that they are the same to the last bit.
    pub(super) fn read(&self, row: usize, out: &mut [f32]) {
        if let Layout::Made(rows) = &self.layout
            && let Some(values) = rows.values()
        {
            return values.read(row, out);
        }
        let row = self.rows(std::iter::once(row));
        cpu::dequantize(&row, out).expect("a row has this length");
        if let Some(code) = self.zero_code() {
            let zeros = out.iter_mut().enumerate().filter(|(_, x)| **x == 0.0);
            let zeros = zeros.filter(|(col, _)| row.code(0, *col) == code);
            zeros.for_each(|(_, x)| *x = 0.0);
        }
    }

    /// The code of negative zero, if it stands for zero.
    fn zero_code(&self) -> Option<u8> {
        match &self.layout {
            Layout::Separate { .. } => None,
            Layout::Made(rows) => rows.zero_code(),
        }
    }

    /// The format.
    pub(super) const fn format(&self) -> BlockFormat {
        self.format
    }

    /// Bytes of `rows` rows.
    pub(super) const fn bytes(&self, rows: usize) -> usize {
        let (codes, scales) = self.format.packed_bytes(rows, self.cols);
        codes + scales
    }

    /// Some rows, in the given order.
    ///
    /// # Panics
    /// If a row does not exist.
    pub(super) fn rows(&self, rows: impl ExactSizeIterator<Item = usize>) -> PackedTensor {
        let rows: Vec<usize> = rows.collect();
        let code_row = self.format.row_code_bytes(self.cols);
        let scale_row = self.format.row_scale_bytes(self.cols);
        let mut codes = vec![0; rows.len() * code_row];
        let mut scales = vec![0; rows.len() * scale_row];
        let parts = codes.par_chunks_mut(code_row.max(1));
        let parts = parts.zip(scales.par_chunks_mut(scale_row.max(1)));
        let parts = parts.zip(&rows).with_min_len(ROWS_PER_TASK);
        parts.for_each(|((codes, scales), row)| match &self.layout {
            Layout::Separate {
                codes: of_codes,
                scales: of_scales,
            } => {
                codes.copy_from_slice(&bytes(of_codes)[row * code_row..][..code_row]);
                scales.copy_from_slice(&bytes(of_scales)[row * scale_row..][..scale_row]);
            }
            Layout::Made(made) => made.write(*row, codes, scales),
        });
        let (count, scale) = (rows.len(), self.tensor_scale);
        let packed = PackedTensor::new(self.format, count, self.cols, codes, scales, scale);
        packed.expect("the sizes were checked when the file was opened")
    }

    /// Checks that every element of some rows is finite.
    ///
    /// # Errors
    /// `Scale` with the first block that has elements that are not.
    pub(super) fn check_finite(
        &self,
        rows: impl Iterator<Item = usize>,
    ) -> Result<(), CheckpointError> {
        let most = self.format.element().max_normal();
        let mut codes = self.format.element().codes();
        let has_specials = codes.any(|code| !self.format.element().decode(code).is_finite());
        for stored in rows {
            let row = self.rows(std::iter::once(stored));
            for block in 0..self.format.blocks_per_row(self.cols) {
                let code = row.scale_code(0, block);
                let scale = self.format.scale().decode(code);
                // E4M3 in files has a sign bit, which ours lacks.
                let has_sign = code.checked_shr(self.format.scale().bits()) > Some(0);
                if has_sign && scale > 0.0 {
                    let (file, tensor) = self.scales();
                    return Err(CheckpointError::NegativeScale {
                        file: file.path().to_owned(),
                        tensor: file.tensors()[*tensor].0.clone(),
                        row: stored,
                        block,
                        scale: -scale,
                    });
                }
                let fits = |element: f32| (element * scale * self.tensor_scale).is_finite();
                if fits(most) && !has_specials {
                    continue;
                }
                let k = self.format.block_size();
                let mut elements = block * k..self.cols.min((block + 1) * k);
                let element = |col| self.format.element().decode(row.code(0, col));
                if fits(most) {
                    let Some(col) = elements.find(|&col| !element(col).is_finite()) else {
                        continue;
                    };
                    let (file, tensor) = self.scales();
                    return Err(CheckpointError::NonFinite {
                        file: file.path().to_owned(),
                        tensor: format!("the codes beside {}", file.tensors()[*tensor].0),
                        index: stored * self.cols + col,
                        value: element(col),
                    });
                }
                if scale.is_nan() || elements.any(|col| !fits(element(col))) {
                    let (file, tensor) = self.scales();
                    return Err(CheckpointError::Scale {
                        file: file.path().to_owned(),
                        tensor: file.tensors()[*tensor].0.clone(),
                        row: stored,
                        block,
                        scale: scale * self.tensor_scale,
                    });
                }
            }
        }
        Ok(())
    }

    /// The tensor with the scales.
    fn scales(&self) -> &Place {
        match &self.layout {
            Layout::Separate { scales, .. } => scales,
            Layout::Made(rows) => rows.scales(),
        }
    }
}

/// The bytes of a tensor.
pub(super) fn bytes((file, tensor): &Place) -> &[u8] {
    &file.bytes()[file.tensors()[*tensor].2.clone()]
}

/// Checks that a tensor has bytes, `[rows, bytes]` up to a split of either axis.
fn check((file, tensor): &Place, expected: [usize; 2]) -> Result<(), CheckpointError> {
    let (name, info, _) = &file.tensors()[*tensor];
    if !matches!(info.dtype, Dtype::U8 | Dtype::F8_E8M0) {
        return Err(dtype_error(&(Arc::clone(file), *tensor), &[Dtype::U8]));
    }
    let fits = (1..=info.shape.len()).any(|axes| {
        let (rows, bytes) = info.shape.split_at(axes);
        let sizes: [usize; 2] = [rows.iter().product(), bytes.iter().product()];
        sizes == expected
    });
    match fits {
        true => Ok(()),
        false => Err(CheckpointError::Shape {
            file: file.path().to_owned(),
            tensor: name.clone(),
            expected: expected.to_vec(),
            found: info.shape.clone(),
        }),
    }
}
