//! A strided view of a matrix, and a safe interface to the kernels of the `gemm` crate.

use std::ops::Range;

use gemm_common::Parallelism;

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

    /// A range of rows.
    ///
    /// # Panics
    /// If the matrix has fewer.
    pub fn rows(self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        Self {
            data: &self.data[(rows.start * self.row_stride).min(self.data.len())..],
            rows: rows.len(),
            ..self
        }
    }

    /// A range of columns.
    ///
    /// # Panics
    /// If the matrix has fewer.
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

/// Length of a chain of fused multiply-adds; `gemm` never splits one of this length.
pub(super) const CHAIN: usize = 512;

/// `out = alpha * a b`, or `out += alpha * a b` if `accumulate`. Rows of `out` are `out_stride`
/// apart. Runs on the calling thread.
///
/// Every element is summed in the order of the inner axis, in chains of 512 products that are then
/// added up. So it depends on its row and column alone, never on the size of the product.
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
    for start in (0..k.max(1)).step_by(CHAIN) {
        let inner = start..k.min(start + CHAIN);
        let (a, b) = (a.cols(inner.clone()), b.rows(inner.clone()));
        let accumulate = accumulate || start > 0;
        // The kernels prefer results by columns, so the transposed product is computed. Conjugation
        // does nothing to reals, but without it small products would take short cuts that add in
        // another order.
        // SAFETY: `Matrix::new` checked that every element of `a` and `b` lies in its slice
        // (transposing swaps sizes and strides together, `rows` and `cols` only narrow), and the
        // assertion above that every element of the result lies in `out`. `out` is borrowed
        // mutably, so nothing overlaps it.
        unsafe {
            gemm_f32::gemm::f32::get_gemm_fn()(
                n,
                m,
                inner.len(),
                out.as_mut_ptr(),
                out_stride as isize,
                1,
                accumulate,
                b.data.as_ptr(),
                b.row_stride as isize,
                b.col_stride as isize,
                a.data.as_ptr(),
                a.row_stride as isize,
                a.col_stride as isize,
                1.0,
                alpha,
                true,
                true,
                true,
                Parallelism::None,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxlab_kernels::cpu;
    use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType};

    #[test]
    fn an_element_does_not_depend_on_the_size_of_the_product() {
        let values = |seed: u32, count: usize| -> Vec<f32> {
            let random = |i| mxlab_kernels::format::random_at(seed, i) as i32;
            (0..count as u64).map(|i| random(i) as f32).collect()
        };
        for k in [1, 2, 3, 64, 512, 513, 1300] {
            let (m, n) = (70, 90);
            let (a, b) = (values(1, m * k), values(2, n * k));
            let part = |rows: Range<usize>, cols: Range<usize>| {
                let mut out = vec![0.0; rows.len() * cols.len()];
                let a = Matrix::new(&a, m, k, k).rows(rows);
                let b = Matrix::new(&b, n, k, k).rows(cols.clone());
                multiply(&mut out, cols.len(), a, b.t(), 1.0, false);
                out
            };
            let whole = part(0..m, 0..n);
            for (rows, cols) in [(1, 1), (1, n), (2, 9), (m, 1), (15, 17), (65, 64)] {
                let first = m - rows;
                let some = part(first..m, 0..cols);
                for (index, x) in some.iter().enumerate() {
                    let (row, col) = (first + index / cols, index % cols);
                    let expected = whole[row * n + col];
                    assert_eq!(x.to_bits(), expected.to_bits(), "{rows} x {cols} x {k}");
                }
            }
        }
    }

    #[test]
    fn dense_and_packed_products_have_the_same_bits() {
        let values = |seed: u32, count: usize| -> Vec<f32> {
            let random = |i| mxlab_kernels::format::random_at(seed, i) as i32;
            (0..count as u64).map(|i| random(i) as f32).collect()
        };
        for (element, k) in [
            (ElementFormat::FP4_E2M1, 1300),
            (ElementFormat::FP8_E4M3, 96),
            (ElementFormat::NF4, 513),
        ] {
            let (m, n) = (30, 90);
            let format = BlockFormat::new(element).build().unwrap();
            let packed = cpu::quantize(&values(2, n * k), n, k, &format, FloatType::F32).unwrap();
            let mut weights = vec![0.0; n * k];
            cpu::dequantize(&packed, &mut weights).unwrap();
            let mut x = values(1, m * k);
            for kept_bits in [u32::MAX, 0xFFFF_0000] {
                x.iter_mut()
                    .for_each(|x| *x = f32::from_bits(x.to_bits() & kept_bits));
                let (mut dense, mut product) = (vec![0.0; m * n], vec![0.0; m * n]);
                let (a, b) = (Matrix::new(&x, m, k, k), Matrix::new(&weights, n, k, k));
                multiply(&mut dense, n, a, b.t(), 1.0, false);
                cpu::Matmul::new(&cpu::Panels::new(&packed))
                    .multiply(&x, &mut product)
                    .unwrap();
                let bits = |values: &[f32]| values.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&dense), bits(&product), "{element} {k}");

                // Rounded to bf16, as in a checkpoint.
                let kept = |w: &f32| f32::from_bits(w.to_bits() & 0xFFFF_0000);
                let weights: Vec<f32> = weights.iter().map(kept).collect();
                let bytes = |w: &f32| ((w.to_bits() >> 16) as u16).to_le_bytes();
                let rows: Vec<u8> = weights.iter().flat_map(bytes).collect();
                let rows = cpu::Bf16Rows::new(&rows, k).unwrap();
                let (a, b) = (Matrix::new(&x, m, k, k), Matrix::new(&weights, n, k, k));
                multiply(&mut dense, n, a, b.t(), 1.0, false);
                cpu::Matmul::new(rows).multiply(&x, &mut product).unwrap();
                assert_eq!(bits(&dense), bits(&product), "bf16 {k}");
            }
        }
    }
}
