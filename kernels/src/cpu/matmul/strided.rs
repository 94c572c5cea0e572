//! Products of f32 rows with matrices in pages on the calling thread: those of attention. Values
//! are read where they lie. Sums have the order of the chains. `inline(always)` as in
//! [`crate::cpu::quantize`].

use super::CHAIN;
use super::paged::{Paged, PagedValues, Value};
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
    pub b: Paged<'a>,
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
    match product.b.values {
        PagedValues::F32(values) => multiply_values(s, product, values, out, stride),
        PagedValues::Bf16(values) => multiply_values(s, product, values, out, stride),
    }
}

#[inline(always)]
fn multiply_values<S: Simd, T: Value>(
    s: S,
    product: &StridedProduct,
    values: &[T],
    out: &mut [f32],
    stride: usize,
) {
    let [rows, _, cols] = product.size;
    let whole = cols - cols % S::LANES;
    for (index, inner) in product.chains().enumerate() {
        let kernel = Kernel {
            s,
            product,
            values,
            inner,
            is_first: index == 0,
        };
        let mut row = 0;
        while row < rows {
            let out = &mut out[row * stride..];
            let (taken, col) = match rows - row {
                ROWS.. => (ROWS, kernel.tiles::<ROWS, 2>(row, 0..whole, out, stride)),
                // Sums and vectors of columns fit the registers.
                3.. if S::LANES == 16 => (3, kernel.tiles::<3, 4>(row, 0..whole, out, stride)),
                3.. => (3, kernel.tiles::<3, 2>(row, 0..whole, out, stride)),
                _ => (1, kernel.tiles::<1, 4>(row, 0..whole, out, stride)),
            };
            match taken {
                ROWS => kernel.tiles::<ROWS, 1>(row, col..whole, out, stride),
                3 => kernel.tiles::<3, 1>(row, col..whole, out, stride),
                _ => kernel.tiles::<1, 1>(row, col..whole, out, stride),
            };
            kernel.columns(row..row + taken, whole..cols, out, stride);
            row += taken;
        }
    }
}

/// One chain of every sum.
struct Kernel<'a, S, T> {
    s: S,
    product: &'a StridedProduct<'a>,
    /// Those of the right operand.
    values: &'a [T],
    inner: Range<usize>,
    /// Whether `out` holds nothing yet.
    is_first: bool,
}

impl<S: Simd, T: Value> Kernel<'_, S, T> {
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
        let b = self.product.b;
        let mut sums = [[s.splat(0.0); V]; R];
        let mut rest = self.inner.clone();
        let mut step = 0;
        while !rest.is_empty() {
            let run = b.run(&rest);
            let mut columns = [&self.values[..0]; V];
            for (v, columns) in columns.iter_mut().enumerate() {
                *columns = &self.values[b.place(rest.start, col + v * S::LANES)..];
            }
            for line in 0..run {
                let mut w = [s.splat(0.0); V];
                for (w, columns) in w.iter_mut().zip(columns) {
                    *w = T::load(s, &columns[line * b.stride..]);
                }
                for r in 0..R {
                    let x = s.splat(a[r][step + line]);
                    for v in 0..V {
                        sums[r][v] = s.fma(x, w[v], sums[r][v]);
                    }
                }
            }
            step += run;
            rest.start += run;
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
                    let (x, w) = (a.values[row * a.stride + k], self.values[b.place(k, col)]);
                    sum = x.mul_add(w.widen(), sum);
                }
                out[col] = if self.is_first { sum } else { out[col] + sum };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::chained;
    use super::super::paged::{Lines, PAGE};
    use super::*;
    use crate::format::random_at;

    /// A matrix [inner, cols] in pages whose order in memory is turned around.
    fn pages(
        b: &[f32],
        [inner, cols]: [usize; 2],
        holds: Lines,
    ) -> (Vec<f32>, Vec<u32>, [usize; 2]) {
        let (lines, stride) = match holds {
            Lines::Rows => (inner, cols + 2),
            Lines::Columns => (cols, PAGE),
        };
        let pages = lines.div_ceil(PAGE);
        let page_stride = stride * if holds == Lines::Rows { PAGE } else { inner } + 1;
        let table: Vec<u32> = (0..pages as u32).rev().collect();
        let mut values = vec![f32::NAN; pages * page_stride + 3];
        let paged = Paged {
            values: PagedValues::F32(&[]),
            first: 3,
            page_stride,
            stride,
            table: Some(&table),
            holds,
        };
        for (index, &x) in b.iter().enumerate() {
            values[paged.place(index / cols, index % cols)] = x;
        }
        (values, table, [page_stride, stride])
    }

    #[test]
    fn sums_have_the_order_of_the_chains_on_every_isa() {
        // bf16 values.
        let values = |seed: u32, count: usize| -> Vec<f32> {
            let random = |i| half::bf16::from_f32(random_at(seed, i) as i32 as f32).into();
            (0..count as u64).map(random).collect()
        };
        for (rows, inner, cols) in [(1, 64, 80), (13, 64, 48), (9, 1300, 35), (7, 513, 3)] {
            let (a, b) = (values(1, rows * (inner + 3)), values(2, inner * cols));
            for (first, holds) in [0, 496, 512]
                .into_iter()
                .flat_map(|first| [(first, Lines::Rows), (first, Lines::Columns)])
            {
                let (values, table, [page_stride, stride]) = pages(&b, [inner, cols], holds);
                let bits: Vec<u16> = values.iter().map(|x| (x.to_bits() >> 16) as u16).collect();
                let kept = [PagedValues::F32(&values), PagedValues::Bf16(&bits)];
                for (isa, values) in Isa::available()
                    .into_iter()
                    .flat_map(|isa| kept.map(|values| (isa, values)))
                {
                    let product = StridedProduct {
                        a: Strided::new(&a, inner + 3),
                        b: Paged {
                            values,
                            first: 3,
                            page_stride,
                            stride,
                            table: Some(&table),
                            holds,
                        },
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
                            w.extend((0..inner).map(|k| b[k * cols + col]));
                            let (got, law) = (out[row * (cols + 1) + col], chained(&x, &w));
                            let case = format!("{isa} {rows} x {inner} x {cols} {first} {holds:?}");
                            assert_eq!(got.to_bits(), law.to_bits(), "{case}: {row}, {col}");
                        }
                        assert!(out[row * (cols + 1) + cols].is_nan());
                    }
                }
            }
        }
    }
}
