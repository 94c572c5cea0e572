//! y = x W^T with every product and sum in f64.

use super::dequantize;
use crate::format::{FormatError, PackedTensor};
use std::borrow::Cow;

/// A row-major matrix, dense or packed.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// [rows, cols] values.
    Dense {
        values: &'a [f32],
        rows: usize,
        cols: usize,
    },
    /// A quantised matrix.
    Packed(&'a PackedTensor),
}

impl<'a> Operand<'a> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Dense { rows, .. } => *rows,
            Self::Packed(packed) => packed.rows(),
        }
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        match self {
            Self::Dense { cols, .. } => *cols,
            Self::Packed(packed) => packed.cols(),
        }
    }

    /// The values, checked to be rows * cols.
    pub(super) fn values(&self) -> Result<Cow<'a, [f32]>, FormatError> {
        let (rows, cols) = (self.rows(), self.cols());
        let values = match *self {
            Self::Dense { values, .. } => Cow::Borrowed(values),
            Self::Packed(packed) => Cow::Owned(dequantize(packed)),
        };
        if rows.checked_mul(cols) != Some(values.len()) {
            let expected = rows.saturating_mul(cols);
            return Err(FormatError::Length {
                what: "operand",
                got: values.len(),
                expected,
            });
        }
        Ok(values)
    }
}

/// y [m, n] = x [m, k] times the transpose of w [n, k]: sums in index order, all in f64.
///
/// # Errors
/// [`FormatError::Length`] if the inner dimensions differ or a dense operand is not rows * cols
/// long.
pub fn matmul(x: Operand, w: Operand) -> Result<Vec<f64>, FormatError> {
    let inner = x.cols();
    if w.cols() != inner {
        return Err(FormatError::Length {
            what: "columns of w",
            got: w.cols(),
            expected: inner,
        });
    }
    let (x_values, w_values) = (x.values()?, w.values()?);
    let mut y = Vec::with_capacity(x.rows() * w.rows());
    for i in 0..x.rows() {
        for j in 0..w.rows() {
            y.push(dot(
                &x_values[i * inner..][..inner],
                &w_values[j * inner..][..inner],
            ));
        }
    }
    Ok(y)
}

/// The sum of products, in index order, in f64.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
    products.fold(0.0, |sum, product| sum + product)
}
