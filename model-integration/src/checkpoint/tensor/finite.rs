//! The search for NaN and infinities.

use std::path::Path;

use mxlab_kernels::format::FloatType;
use rayon::prelude::*;

use super::{Content, TensorView, widen};
use crate::checkpoint::CheckpointError;

/// Bytes that a task reads.
const CHECK_BYTES: usize = 1 << 20;

impl TensorView {
    /// Searches the tensor for NaN and infinities without a copy.
    ///
    /// # Errors
    /// `NonFinite` with the first such element, or `Scale` with the first block that has one.
    pub fn check_finite(&self) -> Result<(), CheckpointError> {
        let (file, tensor, dtype) = match &self.content {
            Content::Packed(packed) => {
                let rows = (0..self.shape[0]).into_par_iter();
                return rows.try_for_each(|row| {
                    packed.check_finite(std::iter::once(self.rows.stored(row)))
                });
            }
            Content::Decoded(rows) => {
                let (file, tensor) = rows.place().unwrap_or((Path::new("-"), self.name()));
                return self.check_rows(file, tensor, |row, out| rows.read(row, out));
            }
            Content::Transposed(rows) => {
                let (file, tensor) = rows.place();
                return self.check_rows(file.path(), tensor, |row, out| rows.read(row, out));
            }
            Content::Computed(rows) => return rows.check(),
            Content::Zero => return Ok(()),
            Content::Dense {
                file,
                tensor,
                dtype,
                ..
            } => (file, *tensor, *dtype),
        };
        let bytes = self.dense();
        let in_order = bytes.par_chunks(CHECK_BYTES).enumerate();
        let first = match dtype {
            FloatType::F32 => in_order.find_map_first(|(chunk, bytes)| {
                first_non_finite(bytes, 0x7f80_0000, u32::from_le_bytes).map(|at| (chunk, at))
            }),
            FloatType::Bf16 => in_order.find_map_first(|(chunk, bytes)| {
                first_non_finite(bytes, 0x7f80, u16::from_le_bytes).map(|at| (chunk, at))
            }),
            FloatType::F16 => in_order.find_map_first(|(chunk, bytes)| {
                first_non_finite(bytes, 0x7c00, u16::from_le_bytes).map(|at| (chunk, at))
            }),
        };
        let Some((chunk, at)) = first else {
            return Ok(());
        };
        let index = chunk * (CHECK_BYTES / dtype.bytes()) + at;
        let mut value = [0.0];
        widen(
            dtype,
            &bytes[index * dtype.bytes()..][..dtype.bytes()],
            &mut value,
        );
        let (name, info, _) = &file.tensors()[tensor];
        let cols: usize = info.shape[1..].iter().product();
        Err(CheckpointError::NonFinite {
            file: file.path().to_owned(),
            tensor: name.clone(),
            index: self.rows.first * cols + index,
            value: value[0],
        })
    }

    fn check_rows(
        &self,
        file: &Path,
        tensor: &str,
        read: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<(), CheckpointError> {
        let cols = self.cols();
        (0..self.shape[0]).into_par_iter().try_for_each_init(
            || vec![0.0; cols],
            |values, row| {
                let stored = self.rows.stored(row);
                read(stored, values);
                let Some(col) = values.iter().position(|value| !value.is_finite()) else {
                    return Ok(());
                };
                Err(CheckpointError::NonFinite {
                    file: file.to_owned(),
                    tensor: tensor.to_owned(),
                    index: stored * cols + col,
                    value: values[col],
                })
            },
        )
    }
}

/// Index of the first element whose exponent is all ones: NaN or infinity.
fn first_non_finite<const N: usize, B>(
    bytes: &[u8],
    exponent: B,
    decode: impl Fn([u8; N]) -> B,
) -> Option<usize>
where
    B: Copy + PartialEq + std::ops::BitAnd<Output = B>,
{
    let (elements, _) = bytes.as_chunks::<N>();
    let is_bad = |element: &[u8; N]| decode(*element) & exponent == exponent;
    // Without an early exit the scan vectorises. Only a chunk with a hit is searched.
    let any = elements
        .iter()
        .fold(false, |any, element| any | is_bad(element));
    any.then(|| elements.iter().position(is_bad)).flatten()
}
