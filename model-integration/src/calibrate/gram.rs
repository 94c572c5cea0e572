//! H = sum of x x^T over tokens.

use rayon::prelude::*;

use super::TokenWeight;
use crate::model::ops::{Matrix, multiply};

/// Tokens that are added up in f32: a chain of products.
const TOKENS: usize = 512;
/// Rows of H that a task computes.
const ROWS: usize = 64;

/// The symmetric matrix H `[size, size]`, of which rows are kept up to the diagonal.
///
/// Products and sums over at most 512 tokens are f32, in order; these sums add up in f64. So each
/// element is within `515 2^-24` of the sum of its terms' magnitudes, with the rounding of x / |x|,
/// and has the same bits on every CPU and for every number of threads.
#[derive(Clone, Debug)]
pub struct Gram {
    size: usize,
    rows: Vec<f64>,
    tokens: u64,
}

impl Gram {
    /// Zeros.
    pub fn new(size: usize) -> Self {
        Self {
            size,
            rows: vec![0.0; size * size],
            tokens: 0,
        }
    }

    /// Number of rows and columns.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Number of tokens so far, without zeros.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// An element; H is symmetric.
    pub fn at(&self, row: usize, col: usize) -> f64 {
        self.rows[row.max(col) * self.size + row.min(col)]
    }

    /// Adds tokens `x` `[tokens, size]`.
    pub fn add(&mut self, x: &[f32], weight: TokenWeight) {
        let size = self.size;
        for x in x.chunks(TOKENS * size) {
            let mut weighted = x.to_vec();
            for token in weighted.chunks_exact_mut(size) {
                let square: f64 = token.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
                // NaN is no zero: it must be found.
                self.tokens += u64::from(square != 0.0);
                let norm = weight.norm(token);
                token
                    .iter_mut()
                    .for_each(|x| *x = (f64::from(*x) / norm) as f32);
            }
            let tokens = weighted.len() / size;
            let x = Matrix::new(&weighted, tokens, size, size);
            let tasks = self.rows.par_chunks_mut(ROWS * size).enumerate();
            tasks.for_each(|(task, rows)| {
                let first = task * ROWS;
                let count = rows.len() / size;
                let width = first + count;
                let mut sums = vec![0.0; count * width];
                let left = x.cols(first..width).t();
                multiply(&mut sums, width, left, x.cols(0..width), 1.0, false);
                for (row, sums) in rows.chunks_exact_mut(size).zip(sums.chunks_exact(width)) {
                    let pairs = row.iter_mut().zip(sums);
                    pairs.for_each(|(sum, &x)| *sum += f64::from(x));
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxlab_kernels::format::random_at;

    #[test]
    fn sums_are_within_their_bound() {
        let (tokens, size) = (1100, 70);
        let random = |i: usize| random_at(1, i as u64) as i32 as f32 / 1e9;
        let mut x: Vec<f32> = (0..tokens * size).map(random).collect();
        x[..size].fill(0.0);
        for weight in [TokenWeight::Equal, TokenWeight::Norm] {
            let mut gram = Gram::new(size);
            gram.add(&x, weight);
            assert_eq!(gram.tokens(), tokens as u64 - 1);
            for (row, col) in [(0, 0), (5, 69), (69, 5), (63, 64), (69, 69)] {
                let (mut sum, mut magnitude) = (0.0, 0.0_f64);
                for token in x.chunks_exact(size).skip(1) {
                    let square: f64 = token.iter().map(|&x| f64::from(x).powi(2)).sum();
                    let weight = match weight {
                        TokenWeight::Equal => 1.0,
                        TokenWeight::Norm => 1.0 / square,
                    };
                    let term = weight * f64::from(token[row]) * f64::from(token[col]);
                    sum += term;
                    magnitude += term.abs();
                }
                let error = (gram.at(row, col) - sum).abs();
                assert!(
                    error <= 515.0 * magnitude / 2f64.powi(24),
                    "{row}, {col}: {error}"
                );
            }
        }
    }
}
