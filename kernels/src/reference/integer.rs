//! y = x W^T where both sides are codes whose elements are integers.

use crate::format::{FormatError, IntegerElement, IntegerPair, PackedTensor};

/// y [x.rows, w.rows] = x [x.rows, cols] times the transpose of w [w.rows, cols].
///
/// ```text
///     sum = 0
///     for each block b, in order:
///         d   = sum of the block's products of integers, exact, as f32
///         sum = fma(d, factor(x, b) * factor(w, b), sum)
///     y   = sum * (tensor scale of x * tensor scale of w)
/// ```
///
/// The factor of a block is its scale X times the element's unit, in f32. Every operation rounds to
/// nearest even. NaN, infinity, overflow and underflow are those of f32.
///
/// # Errors
/// [`FormatError::NotIntegers`] unless the formats are an [`IntegerPair`], [`FormatError::Length`]
/// if the columns differ.
pub fn integer_matmul(x: &PackedTensor, w: &PackedTensor) -> Result<Vec<f32>, FormatError> {
    let pair = IntegerPair::of(x.format(), w.format())?;
    if x.cols() != w.cols() {
        return Err(FormatError::Length {
            what: "columns of w",
            got: w.cols(),
            expected: x.cols(),
        });
    }
    let mut y = Vec::with_capacity(x.rows() * w.rows());
    for i in 0..x.rows() {
        for j in 0..w.rows() {
            y.push(dot(pair, (x, i), (w, j)));
        }
    }
    Ok(y)
}

/// The product of a row of x and a row of w.
fn dot(pair: IntegerPair, (x, i): (&PackedTensor, usize), (w, j): (&PackedTensor, usize)) -> f32 {
    let mut sum = 0.0f32;
    for (block, first) in (0..x.cols()).step_by(pair.block_size).enumerate() {
        let columns = first..x.cols().min(first + pair.block_size);
        let products = columns
            .map(|column| pair.x.integer(x.code(i, column)) * pair.w.integer(w.code(j, column)));
        let d = products.sum::<i32>() as f32;
        let factor_x = factor(pair.x, x, i, block);
        let factor_w = factor(pair.w, w, j, block);
        sum = d.mul_add(factor_x * factor_w, sum);
    }
    sum * (x.tensor_scale() * w.tensor_scale())
}

/// The value of an element's 1 in a block.
fn factor(element: IntegerElement, packed: &PackedTensor, row: usize, block: usize) -> f32 {
    packed.scale().decode(packed.scale_code(row, block)) * element.unit()
}
