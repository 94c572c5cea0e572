//! Products of strided f32 matrices on the calling thread, for operands that are used once: those of
//! attention. Sums have the order of the chains. `inline(always)` as in [`crate::cpu::quantize`].

use super::CHAIN;
use crate::cpu::simd::Simd;
use crate::cpu::{Isa, dispatch};
use std::ops::Range;

/// Rows of f32, `stride` apart.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a> {
    values: &'a [f32],
    stride: usize,
}

/// The operands of a product [rows, cols] = a [rows, inner] b [inner, cols].
#[derive(Clone, Copy, Debug)]
pub struct StridedProduct<'a> {
    /// [rows, inner].
    pub a: Strided<'a>,
    /// [inner, cols].
    pub b: Strided<'a>,
    /// Rows, inner size, columns.
    pub size: [usize; 3],
    /// The place of the first products in a longer sum, whose chains begin at multiples of 512.
    pub first: usize,
}

/// Rows of a tile: with two vectors each, what the registers hold.
const ROWS: usize = 6;

impl<'a> Strided<'a> {
    /// From the first element on; the last row may end with its last element.
    pub fn new(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride }
    }

    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols <= self.stride && (rows - 1) * self.stride + cols <= self.values.len()
    }
}

impl StridedProduct<'_> {
    /// Writes the product to rows of `out`, `stride` apart.
    ///
    /// # Panics
    /// If the operands or `out` are smaller than the sizes say, or `isa` is not available.
    pub fn write(&self, isa: Isa, out: &mut [f32], stride: usize) {
        let [rows, inner, cols] = self.size;
        let result = Strided::new(out, stride);
        assert!(result.holds(rows, cols), "the size of the result");
        assert!(self.a.holds(rows, inner), "the size of the left operand");
        assert!(self.b.holds(inner, cols), "the size of the right operand");
        dispatch::multiply_strided(isa, self, out, stride);
    }

    /// The inner indices of each chain.
    fn chains(&self) -> impl Iterator<Item = Range<usize>> {
        let (first, end) = (self.first, self.first + self.size[1]);
        let starts = (first / CHAIN * CHAIN..end.max(1)).step_by(CHAIN);
        starts.map(move |start| start.max(first) - first..end.min(start + CHAIN) - first)
    }
}

/// [`StridedProduct::write`] after its checks.
#[inline(always)]
pub(in crate::cpu) fn multiply_strided<S: Simd>(
    s: S,
    product: &StridedProduct,
    out: &mut [f32],
    stride: usize,
) {
    let [rows, _, cols] = product.size;
    let whole = cols - cols % S::LANES;
    for (index, inner) in product.chains().enumerate() {
        let kernel = Kernel {
            s,
            product,
            inner,
            is_first: index == 0,
        };
        let mut row = 0;
        while row < rows {
            let out = &mut out[row * stride..];
            if rows - row >= ROWS {
                let col = kernel.tiles::<ROWS, 2>(row, 0..whole, out, stride);
                kernel.tiles::<ROWS, 1>(row, col..whole, out, stride);
                kernel.columns(row..row + ROWS, whole..cols, out, stride);
                row += ROWS;
            } else {
                let col = kernel.tiles::<1, 4>(row, 0..whole, out, stride);
                kernel.tiles::<1, 1>(row, col..whole, out, stride);
                kernel.columns(row..row + 1, whole..cols, out, stride);
                row += 1;
            }
        }
    }
}

/// One chain of every sum.
struct Kernel<'a, S> {
    s: S,
    product: &'a StridedProduct<'a>,
    inner: Range<usize>,
    /// Whether `out` holds nothing yet.
    is_first: bool,
}

impl<S: Simd> Kernel<'_, S> {
    /// Tiles of `R` rows from `row` on and `V` vectors of columns; returns the first column that is
    /// left. `out` begins with the first of the rows.
    #[inline(always)]
    fn tiles<const R: usize, const V: usize>(
        &self,
        row: usize,
        columns: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) -> usize {
        let s = self.s;
        let mut col = columns.start;
        while columns.end - col >= V * S::LANES {
            for (r, sums) in self.tile::<R, V>(row, col).into_iter().enumerate() {
                let out = &mut out[r * stride + col..][..V * S::LANES];
                for (v, mut sum) in sums.into_iter().enumerate() {
                    let out = &mut out[v * S::LANES..];
                    if !self.is_first {
                        sum = s.add(s.load(out), sum);
                    }
                    s.store(sum, out);
                }
            }
            col += V * S::LANES;
        }
        col
    }

    #[inline(always)]
    fn tile<const R: usize, const V: usize>(&self, row: usize, col: usize) -> [[S::F; V]; R] {
        let (s, Strided { values, stride }) = (self.s, self.product.a);
        let mut a = [&values[..0]; R];
        for (r, a) in a.iter_mut().enumerate() {
            *a = &values[(row + r) * stride + self.inner.start..][..self.inner.len()];
        }
        let Strided { values, stride } = self.product.b;
        let b = &values[self.inner.start * stride + col..];
        let mut sums = [[s.splat(0.0); V]; R];
        for step in 0..self.inner.len() {
            let b = &b[step * stride..][..V * S::LANES];
            let mut w = [s.splat(0.0); V];
            for (v, w) in w.iter_mut().enumerate() {
                *w = s.load(&b[v * S::LANES..]);
            }
            for r in 0..R {
                let x = s.splat(a[r][step]);
                for v in 0..V {
                    sums[r][v] = s.fma(x, w[v], sums[r][v]);
                }
            }
        }
        sums
    }

    /// Columns behind the last vector, one by one.
    #[inline(always)]
    fn columns(&self, rows: Range<usize>, columns: Range<usize>, out: &mut [f32], stride: usize) {
        let (a, b) = (self.product.a, self.product.b);
        for (row, out) in rows.zip(out.chunks_mut(stride)) {
            for col in columns.clone() {
                let mut sum = 0.0f32;
                for k in self.inner.clone() {
                    let (x, w) = (a.values[row * a.stride + k], b.values[k * b.stride + col]);
                    sum = x.mul_add(w, sum);
                }
                out[col] = if self.is_first { sum } else { out[col] + sum };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::chained;
    use super::*;
    use crate::format::random_at;

    #[test]
    fn sums_have_the_order_of_the_chains_on_every_isa() {
        let values = |seed: u32, count: usize| -> Vec<f32> {
            let random = |i| random_at(seed, i) as i32 as f32;
            (0..count as u64).map(random).collect()
        };
        for isa in Isa::available() {
            for (rows, inner, cols) in [(1, 64, 80), (13, 64, 48), (6, 1300, 35), (7, 513, 3)] {
                let (a, b) = (values(1, rows * (inner + 3)), values(2, inner * (cols + 5)));
                for first in [0, 500, 512] {
                    let product = StridedProduct {
                        a: Strided::new(&a, inner + 3),
                        b: Strided::new(&b, cols + 5),
                        size: [rows, inner, cols],
                        first,
                    };
                    let mut out = vec![f32::NAN; rows * (cols + 1)];
                    product.write(isa, &mut out, cols + 1);
                    for row in 0..rows {
                        // Products with zero stand before the first.
                        let mut x = vec![0.0; first % CHAIN];
                        let mut w = x.clone();
                        x.extend_from_slice(&a[row * (inner + 3)..][..inner]);
                        for col in 0..cols {
                            w.truncate(first % CHAIN);
                            w.extend((0..inner).map(|k| b[k * (cols + 5) + col]));
                            let (got, law) = (out[row * (cols + 1) + col], chained(&x, &w));
                            let case = format!("{isa} {rows} x {inner} x {cols} {first}");
                            assert_eq!(got.to_bits(), law.to_bits(), "{case}: {row}, {col}");
                        }
                        assert!(out[row * (cols + 1) + cols].is_nan());
                    }
                }
            }
        }
    }
}
