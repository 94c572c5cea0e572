//! A strided view of a matrix, and the safe way into the `gemm` crate.

use std::ops::Range;

use gemm::Parallelism;

/// A strided view of an `f32` matrix.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A `[rows, cols]` view of row-major `data` whose rows are `row_stride` apart.
    ///
    /// # Panics
    /// When the view reaches past the end of `data`.
    pub fn new(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(rows == 0 || cols == 0 || (rows - 1) * row_stride + cols <= data.len());
        Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// When there are not as many.
    pub fn rows(self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        Self {
            data: &self.data[(rows.start * self.row_stride).min(self.data.len())..],
            rows: rows.len(),
            ..self
        }
    }

    /// Some of the columns.
    ///
    /// # Panics
    /// When there are not as many.
    pub fn cols(self, cols: Range<usize>) -> Self {
        self.t().rows(cols).t()
    }

    /// The transposed view.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = alpha * a b`, or `out += alpha * a b` if `accumulate`; rows of `out` are
/// `out_stride` apart. Runs on the calling thread.
///
/// # Panics
/// When the inner sizes differ or the result does not fit `out`.
pub fn multiply(
    out: &mut [f32],
    out_stride: usize,
    a: Matrix,
    b: Matrix,
    alpha: f32,
    accumulate: bool,
) {
    assert_eq!(a.cols, b.rows, "inner sizes of a product");
    let (m, n, k) = (a.rows, b.cols, a.cols);
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * out_stride + n <= out.len() && n <= out_stride);
    // SAFETY: `Matrix::new` checked that every element of `a` and `b` lies in its slice
    // (transposing swaps sizes and strides together), and the assertion above that every
    // element of the result lies in `out`. `out` is borrowed mutably, so nothing overlaps it.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
