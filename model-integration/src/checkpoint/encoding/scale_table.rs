//! The scales of groups in a tensor.

use mxlab_kernels::format::ScaleFormat;
use safetensors::Dtype;

use super::super::CheckpointError;
use super::super::packed::{Place, bytes};
use super::code_table::{dtype_error, shape_error};
use super::scheme::Group;

/// The types of scales.
const TYPES: [Dtype; 6] = [
    Dtype::F32,
    Dtype::BF16,
    Dtype::F16,
    Dtype::F8_E4M3,
    Dtype::F8_E8M0,
    Dtype::U8,
];

/// Scales `[rows, groups]`, with a scale for one row or for several.
pub(super) struct ScaleTable {
    place: Place,
    format: ScaleFormat,
    strides: [usize; 2],
    rows_per_scale: usize,
}

impl ScaleTable {
    /// The scales of a `[rows, cols]` matrix by `group`. A byte is an E8M0 scale.
    ///
    /// # Errors
    /// `PackedDtype` for types without a scale format, `Shape`.
    pub(super) fn new(
        place: Place,
        group: Group,
        [rows, cols]: [usize; 2],
    ) -> Result<Self, CheckpointError> {
        let (rows_per_scale, shape) = match group {
            Group::Tensor => (rows.max(1), [1, 1]),
            Group::Row => (1, [rows, 1]),
            Group::Columns(width) => (1, [rows, cols.div_ceil(width)]),
            Group::Block([height, width]) => {
                (height, [rows.div_ceil(height), cols.div_ceil(width)])
            }
        };
        Self::with_strides(place, shape, [shape[1], 1], rows_per_scale)
    }

    /// The scales `[groups, rows]` of a matrix that is stored by columns.
    ///
    /// # Errors
    /// As [`ScaleTable::new`].
    pub(super) fn transposed(
        place: Place,
        [groups, rows]: [usize; 2],
    ) -> Result<Self, CheckpointError> {
        Self::with_strides(place, [groups, rows], [1, rows], 1)
    }

    fn with_strides(
        place: Place,
        shape: [usize; 2],
        strides: [usize; 2],
        rows_per_scale: usize,
    ) -> Result<Self, CheckpointError> {
        let info = &place.0.tensors()[place.1].1;
        let format = match info.dtype {
            Dtype::F32 => ScaleFormat::Fp32,
            Dtype::BF16 => ScaleFormat::Bf16,
            Dtype::F16 => ScaleFormat::Fp16,
            Dtype::F8_E4M3 => ScaleFormat::UE4M3,
            Dtype::U8 | Dtype::F8_E8M0 => ScaleFormat::E8M0,
            _ => return Err(dtype_error(&place, &TYPES)),
        };
        // A lone axis may be absent: [], [1] and [rows] beside [1, 1] and [rows, 1].
        let without_ones = |shape: &[usize]| -> Vec<usize> {
            shape.iter().copied().filter(|&size| size != 1).collect()
        };
        if without_ones(&info.shape) != without_ones(&shape) {
            return Err(shape_error(&place, shape.to_vec()));
        }
        Ok(Self {
            place,
            format,
            strides,
            rows_per_scale,
        })
    }

    /// The format of a scale.
    pub(super) const fn format(&self) -> ScaleFormat {
        self.format
    }

    /// The code of a scale.
    pub(super) fn code(&self, row: usize, group: usize) -> u32 {
        let [by_row, by_group] = self.strides;
        let at = row / self.rows_per_scale * by_row + group * by_group;
        let size = self.format.storage_bytes();
        let code = &bytes(&self.place)[at * size..][..size];
        code.iter()
            .rev()
            .fold(0, |code, &byte| code << 8 | u32::from(byte))
    }

    /// A scale. Our E4M3 scales have no sign, those of files may.
    pub(super) fn value(&self, row: usize, group: usize) -> f32 {
        let code = self.code(row, group);
        match self.format {
            ScaleFormat::UE4M3 if code & 0x80 != 0 => -self.format.decode(code),
            format => format.decode(code),
        }
    }

    /// Bytes of the tensor.
    pub(super) fn byte_len(&self) -> usize {
        bytes(&self.place).len()
    }

    /// The tensor.
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }
}
