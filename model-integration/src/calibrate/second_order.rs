//! Rounding a matrix column by column, each with the errors before it made up for.
//!
//! ```text
//! t_i = w_i + sum over j < i of M_ij e_j     q_i = nearest value to t_i under its block's scale
//! e_i = w_i - q_i                            M of [`super::factor`], columns in their order
//! ```
//!
//! Sums are f64, in order, without fused operations. Rows do not depend on each other. Scales are
//! those that the format's rule gives w, or those of [`super::scales`].

use multiversion::multiversion;
use mxlab_kernels::format::{FloatType, FormatError, PackedTensor};
use mxlab_kernels::reference::ElementRounding;
use rayon::prelude::*;

use super::factor::{NotPositive, Ratios, ratios};
use super::gram::Gram;
use super::scales::search;
use super::{ColumnOrder, Recipe, ScaleChoice};

/// Rows that are rounded together: a lane each.
pub(super) const LANES: usize = 16;
/// How often scales are searched, each time by what the sweep before it rounded.
const SEARCHES: usize = 2;

/// Why a matrix cannot be rounded.
#[derive(Debug, thiserror::Error)]
pub enum RoundingError {
    /// The sums of inputs.
    #[error(transparent)]
    NotPositive(#[from] NotPositive),
    /// The format.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// The columns of inputs in the order of rounding, and their ratios: for all matrices with these
/// inputs.
#[derive(Clone, Debug)]
pub struct Columns {
    order: Vec<usize>,
    ratios: Ratios,
    scales: ScaleChoice,
}

impl Columns {
    /// From H, damped.
    ///
    /// # Errors
    /// [`NotPositive`] if H, damped, is singular or not finite.
    pub fn new(gram: &Gram, recipe: &Recipe) -> Result<Self, NotPositive> {
        let size = gram.size();
        let diagonal: Vec<f64> = (0..size).map(|i| gram.at(i, i)).collect();
        let mut order: Vec<usize> = (0..size).collect();
        if recipe.order == ColumnOrder::Activation {
            // Stable: equal columns stay in order.
            order.sort_by(|&a, &b| diagonal[b].total_cmp(&diagonal[a]));
        }
        let damping = recipe.damping * diagonal.iter().sum::<f64>() / size as f64;
        let mut damped = vec![0.0; size * size];
        for (i, row) in damped.chunks_exact_mut(size).enumerate() {
            for (j, x) in row[..=i].iter_mut().enumerate() {
                *x = gram.at(order[i], order[j]);
            }
            row[i] += damping;
        }
        Ok(Self {
            ratios: ratios(damped, size)?,
            order,
            scales: recipe.scales,
        })
    }

    /// P of every column, as they are stored.
    pub fn pivots(&self) -> Vec<f64> {
        let mut pivots = vec![0.0; self.order.len()];
        for (i, &col) in self.order.iter().enumerate() {
            pivots[col] = self.ratios.pivot(i);
        }
        pivots
    }
}

/// A matrix whose codes are chosen.
#[derive(Clone, Debug)]
pub struct Rounded {
    /// The codes and scales.
    pub packed: PackedTensor,
    /// (w - q) H (w - q)^T, damped, over all rows.
    pub loss: f64,
}

/// Rounds `weights` `[rows, cols]`, values of `dtype`, which multiply the inputs of `columns`.
/// Scales are those of `nearest`, the same matrix rounded to the nearest, or begin with them.
///
/// # Errors
/// As [`mxlab_kernels::cpu::quantize`].
///
/// # Panics
/// If `columns` are of another number.
pub fn round(
    weights: &[f32],
    columns: &Columns,
    nearest: PackedTensor,
    dtype: FloatType,
) -> Result<Rounded, FormatError> {
    let (format, rows, cols) = (*nearest.format(), nearest.rows(), columns.order.len());
    let rounding = ElementRounding {
        format: &format,
        tensor_scale: nearest.tensor_scale(),
        source: dtype,
    };
    let mut packed = nearest;
    let mut sweep = sweep(weights, columns, &packed, &rounding);
    if columns.scales == ScaleChoice::Search {
        for _ in 0..SEARCHES {
            let others = search(&sweep.targets, &packed, columns, &rounding)?;
            let again = self::sweep(weights, columns, &others, &rounding);
            packed = sweep.improve(again, &packed, &others)?;
        }
    }
    let (factor, scales) = (packed.tensor_scale(), packed.scales().to_vec());
    Ok(Rounded {
        packed: PackedTensor::new(format, rows, cols, sweep.codes, scales, factor)?,
        loss: sweep.losses.iter().sum(),
    })
}

/// What one pass over the columns gives.
struct Sweep {
    /// Packed codes `[rows, bytes of a row]`.
    codes: Vec<u8>,
    /// t `[rows, cols]`, rounded to f32.
    targets: Vec<f32>,
    /// The loss of each row: the sum over its columns of P_i (t_i - q_i)^2.
    losses: Vec<f64>,
}

impl Sweep {
    /// Takes the rows of another sweep that lose less, and returns the matrix with their scales.
    fn improve(
        &mut self,
        other: Self,
        own: &PackedTensor,
        others: &PackedTensor,
    ) -> Result<PackedTensor, FormatError> {
        let (code_row, scale_row) = (
            own.row_code_bytes(),
            own.format().row_scale_bytes(own.cols()),
        );
        let mut scales = own.scales().to_vec();
        for row in 0..own.rows() {
            if other.losses[row] < self.losses[row] {
                let copy = |to: &mut [u8], from: &[u8], size: usize| {
                    to[row * size..][..size].copy_from_slice(&from[row * size..][..size]);
                };
                copy(&mut self.codes, &other.codes, code_row);
                copy(&mut scales, others.scales(), scale_row);
                let cols = row * own.cols()..(row + 1) * own.cols();
                self.targets[cols.clone()].copy_from_slice(&other.targets[cols]);
                self.losses[row] = other.losses[row];
            }
        }
        let (codes, factor) = (own.codes().to_vec(), own.tensor_scale());
        PackedTensor::new(*own.format(), own.rows(), own.cols(), codes, scales, factor)
    }
}

/// Rounds all columns in their order, under the scales of `scaled`.
fn sweep(
    weights: &[f32],
    columns: &Columns,
    scaled: &PackedTensor,
    rounding: &ElementRounding,
) -> Sweep {
    let (rows, cols, row_bytes) = (scaled.rows(), scaled.cols(), scaled.row_code_bytes());
    let format = scaled.format();
    let mut sweep = Sweep {
        codes: vec![0; rows * row_bytes],
        targets: vec![0.0; rows * cols],
        losses: vec![0.0; rows],
    };
    let tasks = sweep.codes.par_chunks_mut(LANES * row_bytes);
    let tasks = tasks.zip(sweep.targets.par_chunks_mut(LANES * cols));
    let tasks = tasks.zip(sweep.losses.par_chunks_mut(LANES));
    tasks
        .enumerate()
        .for_each(|(task, ((packed, targets), losses))| {
            let first = task * LANES;
            let count = losses.len();
            let mut errors = vec![[0.0; LANES]; cols];
            let mut codes = vec![0; count * cols];
            for (i, &col) in columns.order.iter().enumerate() {
                let owed = owed(columns.ratios.row(i), &errors);
                for lane in 0..count {
                    let row = first + lane;
                    let w = f64::from(weights[row * cols + col]);
                    let scale = scaled.scale_code(row, col / format.block_size());
                    let index = (row * cols + col) as u64;
                    let target = (w + owed[lane]) as f32;
                    let code = rounding.code(target, scale, index);
                    let value = f64::from(rounding.source.round(rounding.value(code, scale)));
                    codes[lane * cols + col] = code;
                    targets[lane * cols + col] = target;
                    errors[i][lane] = w - value;
                    let rest = w + owed[lane] - value;
                    losses[lane] += columns.ratios.pivot(i) * rest * rest;
                }
            }
            let layout = format.element().layout();
            let rows = codes.chunks_exact(cols);
            for (codes, packed) in rows.zip(packed.chunks_exact_mut(row_bytes)) {
                layout.pack(codes, packed);
            }
        });
    sweep
}

/// The sums of errors, times their ratios.
#[multiversion(targets = "simd")]
fn owed(ratios: &[f64], errors: &[[f64; LANES]]) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    let errors = &errors[..ratios.len()];
    for j in 0..ratios.len() {
        for lane in 0..LANES {
            sums[lane] += ratios[j] * errors[j][lane];
        }
    }
    sums
}

#[cfg(test)]
pub(super) mod tests;
