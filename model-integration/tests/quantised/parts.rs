//! Tensors of a matrix whose codes are easy to follow.

use crate::checkpoint::tiny::Tensor;

/// Codes 0 to 7 of a row in nibbles, in order and backwards.
pub const UP: u32 = 0x7654_3210;
pub const DOWN: u32 = 0x0123_4567;
/// The same of eight rows, in the order of AWQ.
pub const AWQ_UP: u32 = 0x7531_6420;
pub const AWQ_DOWN: u32 = 0x0246_1357;

/// E2M1's values.
pub const FP4: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
pub const FP4_ROW: [u8; 4] = [0x10, 0x32, 0x54, 0x76];

pub fn tensor(
    end: &str,
    dtype: &str,
    shape: &[usize],
    data: impl IntoIterator<Item = u8>,
) -> Tensor {
    Tensor {
        name: end.to_owned(),
        dtype: dtype.to_owned(),
        shape: shape.to_vec(),
        data: data.into_iter().collect(),
    }
}

pub fn words(end: &str, shape: &[usize], words: impl IntoIterator<Item = u32>) -> Tensor {
    tensor(
        end,
        "I32",
        shape,
        words.into_iter().flat_map(u32::to_le_bytes),
    )
}

pub fn floats(end: &str, shape: &[usize], values: impl IntoIterator<Item = f32>) -> Tensor {
    tensor(
        end,
        "F32",
        shape,
        values.into_iter().flat_map(f32::to_le_bytes),
    )
}

pub fn halves(end: &str, shape: &[usize], values: impl IntoIterator<Item = f32>) -> Tensor {
    let values = values
        .into_iter()
        .map(|x| half::f16::from_f32(x).to_le_bytes());
    tensor(end, "F16", shape, values.flatten())
}

/// The same for each of eight rows.
pub fn rows<T: Copy>(row: &[T]) -> impl Iterator<Item = T> {
    row.repeat(8).into_iter()
}

/// Each of some values eight times: one for each row of a layout by columns.
pub fn columns<T: Copy>(values: &[T]) -> Vec<T> {
    values.iter().flat_map(|value| [*value; 8]).collect()
}
