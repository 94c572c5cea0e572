//! H = R R^T with an upper triangular R, of which rounding needs the ratios of columns.
//!
//! (w - q) H (w - q)^T is the sum over columns i of
//!
//! ```text
//! R_ii^2 (e_i + sum over j < i of M_ij e_j)^2        e = w - q,   M_ij = R_ji / R_ii
//! ```
//!
//! so column i, rounded after the columns before it, costs what its own rounding adds alone.

use multiversion::multiversion;
use rayon::prelude::*;

/// Rows whose pivots are applied together to the rows before them.
const BLOCK: usize = 32;

/// H is not positive definite.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum NotPositive {
    /// A pivot is zero or negative.
    #[error(
        "H, the sum of x x^T over its inputs x, is not positive definite (pivot {pivot:e} of \
         column {column}): use more text, or more --damping"
    )]
    Singular {
        /// The column in the order of rounding.
        column: usize,
        /// What should be positive.
        pivot: f64,
    },
    /// An input is infinite or NaN.
    #[error("its inputs are not finite on this text: does the model run in this --dtype?")]
    NotFinite,
}

/// The ratios M: row i has M_ij for j < i; and the pivots P_i = R_ii^2.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratios {
    size: usize,
    rows: Vec<f64>,
    pivots: Vec<f64>,
}

impl Ratios {
    /// M_ij of a row for j < i.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.rows[i * self.size..][..i]
    }

    /// P_i.
    pub fn pivot(&self, i: usize) -> f64 {
        self.pivots[i]
    }
}

/// The ratios of a symmetric matrix `[size, size]`, of which rows are read up to the diagonal.
/// From the last row to the first, with a_j = A_kj of row k as the rows behind it left it:
///
/// ```text
/// M_kj = a_j / a_k        A_ij -= M_ki a_j    for j <= i < k
/// ```
///
/// Every element takes the rows behind it in this order, without fused operations. So the result
/// has the same bits on every CPU and for every number of threads.
///
/// # Errors
/// [`NotPositive`].
pub fn ratios(mut a: Vec<f64>, size: usize) -> Result<Ratios, NotPositive> {
    assert_eq!(a.len(), size * size, "a square matrix");
    let mut pivots = vec![0.0; size];
    let mut end = size;
    while end > 0 {
        let first = end.saturating_sub(BLOCK);
        let (before, block) = a.split_at_mut(first * size);
        let block = &mut block[..(end - first) * size];
        // The ratios beside the rows, which the rows before still need.
        let mut own = vec![0.0; block.len()];
        for k in (first..end).rev() {
            let (rows, row) = block.split_at_mut((k - first) * size);
            let row = &row[..size];
            let pivot = row[k];
            if !pivot.is_finite() {
                return Err(NotPositive::NotFinite);
            }
            if pivot <= 0.0 {
                return Err(NotPositive::Singular { column: k, pivot });
            }
            pivots[k] = pivot;
            let own = &mut own[(k - first) * size..][..size];
            for (ratio, &x) in own.iter_mut().zip(&row[..k]) {
                *ratio = x / pivot;
            }
            for (i, to) in (first..).zip(rows.chunks_exact_mut(size)) {
                subtract(&mut to[..=i], own[i], row);
            }
        }
        before.par_chunks_mut(size).enumerate().for_each(|(i, to)| {
            for (own, row) in own.chunks_exact(size).zip(block.chunks_exact(size)).rev() {
                subtract(&mut to[..=i], own[i], row);
            }
        });
        block.copy_from_slice(&own);
        end = first;
    }
    Ok(Ratios {
        size,
        rows: a,
        pivots,
    })
}

/// `to -= factor * row`.
#[multiversion(targets = "simd")]
fn subtract(to: &mut [f64], factor: f64, row: &[f64]) {
    let row = &row[..to.len()];
    for i in 0..to.len() {
        to[i] -= factor * row[i];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxlab_kernels::format::random_at;

    /// The definition, row by row.
    fn law(mut a: Vec<f64>, size: usize) -> Vec<f64> {
        for k in (0..size).rev() {
            let row = a[k * size..][..size].to_vec();
            for i in 0..k {
                for j in 0..=i {
                    a[i * size + j] -= row[i] / row[k] * row[j];
                }
            }
            for j in 0..k {
                a[k * size + j] = row[j] / row[k];
            }
        }
        a
    }

    fn positive(size: usize) -> Vec<f64> {
        let x = |i: usize| f64::from(random_at(3, i as u64) as i32) / 2f64.powi(31);
        let mut a = vec![0.0; size * size];
        for i in 0..size {
            for j in 0..=i {
                let terms = (0..2 * size).map(|t| x(t * size + i) * x(t * size + j));
                a[i * size + j] = terms.sum();
            }
        }
        a
    }

    #[test]
    fn blocks_change_no_bit_of_the_definition() {
        for size in [1, 31, 32, 33, 100] {
            let a = positive(size);
            let (ratios, law) = (ratios(a.clone(), size).unwrap(), law(a, size));
            for i in 0..size {
                assert_eq!(ratios.row(i), &law[i * size..][..i], "{size}: row {i}");
                assert_eq!(ratios.pivot(i), law[i * size + i], "{size}: row {i}");
            }
        }
    }

    #[test]
    fn what_is_not_positive_is_refused() {
        let a = vec![1.0, 0.0, 1.0, 1.0];
        let refused = NotPositive::Singular {
            column: 0,
            pivot: 0.0,
        };
        assert_eq!(ratios(a, 2), Err(refused));
        assert_eq!(ratios(vec![f64::NAN], 1), Err(NotPositive::NotFinite));
    }
}
