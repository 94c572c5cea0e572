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
use mxlab_kernels::cpu;
use mxlab_kernels::format::{BlockFormat, FloatType, FormatError, PackedTensor};
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

/// Rounds `weights` `[rows, cols]`, values of `dtype`, which multiply the inputs of `columns`.
///
/// # Errors
/// As [`cpu::quantize`].
///
/// # Panics
/// If `columns` are of another number.
pub fn round(
    weights: &[f32],
    columns: &Columns,
    format: &BlockFormat,
    dtype: FloatType,
) -> Result<PackedTensor, FormatError> {
    let cols = columns.order.len();
    let rows = weights.len() / cols;
    let nearest = cpu::quantize(weights, rows, cols, format, dtype)?;
    let rounding = ElementRounding {
        format,
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
    PackedTensor::new(*format, rows, cols, sweep.codes, scales, factor)
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
pub(super) mod tests {
    use super::*;
    use crate::calibrate::TokenWeight;
    use mxlab_kernels::format::{ElementFormat, ScaleFormat, random_at};
    use mxlab_kernels::reference;

    pub const ROWS: usize = 21;
    pub const COLS: usize = 96;

    pub fn values(seed: u32, count: usize) -> Vec<f32> {
        let random = |i: usize| random_at(seed, i as u64) as i32 as f32 / 2f32.powi(31);
        (0..count).map(random).collect()
    }

    /// Inputs of which neighbours are alike, so that errors of columns can make up for each other.
    pub fn inputs() -> Vec<f32> {
        let mut x = values(1, 400 * COLS);
        for token in x.chunks_exact_mut(COLS) {
            for i in 1..COLS {
                token[i] = 0.9 * token[i - 1] + 0.3 * token[i];
            }
            token[7] *= 20.0;
        }
        x
    }

    pub fn gram() -> Gram {
        let mut gram = Gram::new(COLS);
        gram.add(&inputs(), TokenWeight::Equal);
        gram
    }

    /// The definition: plain loops over f64, H by H.
    fn law(weights: &[f32], gram: &Gram, recipe: &Recipe, format: &BlockFormat) -> Vec<f32> {
        let mut order: Vec<usize> = (0..COLS).collect();
        if recipe.order == ColumnOrder::Activation {
            order.sort_by(|&a, &b| gram.at(b, b).total_cmp(&gram.at(a, a)));
        }
        let mean = (0..COLS).map(|i| gram.at(i, i)).sum::<f64>() / COLS as f64;
        let mut h = vec![vec![0.0; COLS]; COLS];
        for i in 0..COLS {
            for j in 0..COLS {
                h[i][j] = gram.at(order[i], order[j]);
            }
            h[i][i] += recipe.damping * mean;
        }
        for k in (0..COLS).rev() {
            for i in 0..k {
                for j in 0..=i {
                    h[i][j] -= h[k][i] / h[k][k] * h[k][j];
                }
            }
        }
        let nearest = reference::quantize(weights, ROWS, COLS, format, FloatType::F32).unwrap();
        let rounding = ElementRounding {
            format,
            tensor_scale: nearest.tensor_scale(),
            source: FloatType::F32,
        };
        let mut out = weights.to_vec();
        for row in 0..ROWS {
            let mut errors = [0.0; COLS];
            for i in 0..COLS {
                let mut owed = 0.0;
                for j in 0..i {
                    owed += h[i][j] / h[i][i] * errors[j];
                }
                let at = row * COLS + order[i];
                let scale = nearest.scale_code(row, order[i] / format.block_size());
                let target = (f64::from(weights[at]) + owed) as f32;
                out[at] = rounding.value(rounding.code(target, scale, at as u64), scale);
                errors[i] = f64::from(weights[at]) - f64::from(out[at]);
            }
        }
        out
    }

    /// The sum over rows of (w - q) H (w - q)^T.
    pub fn loss(weights: &[f32], rounded: &[f32], gram: &Gram) -> f64 {
        let rows = weights.chunks(COLS).zip(rounded.chunks(COLS));
        let loss = rows.map(|(w, q)| {
            let e: Vec<f64> = w
                .iter()
                .zip(q)
                .map(|(&w, &q)| f64::from(w) - f64::from(q))
                .collect();
            let terms = (0..COLS * COLS).map(|at| (at / COLS, at % COLS));
            terms.map(|(i, j)| e[i] * gram.at(i, j) * e[j]).sum::<f64>()
        });
        loss.sum()
    }

    /// MXFP4, NVFP4 and INT4.
    pub fn formats() -> [BlockFormat; 3] {
        let mxfp4 = BlockFormat::new(ElementFormat::FP4_E2M1);
        let nvfp4 = mxfp4.scale(ScaleFormat::UE4M3).block_size(16);
        let int4 = BlockFormat::new(ElementFormat::INT4).scale(ScaleFormat::Bf16);
        [mxfp4, nvfp4.tensor_scale(true), int4].map(|format| format.build().unwrap())
    }

    #[test]
    fn codes_are_those_of_the_definition_and_lose_less() {
        let weights = values(2, ROWS * COLS);
        let gram = gram();
        for format in formats() {
            let nearest = reference::fake_quantize(&weights, ROWS, COLS, &format, FloatType::F32);
            let nearest = loss(&weights, &nearest.unwrap(), &gram);
            for order in [ColumnOrder::Stored, ColumnOrder::Activation] {
                let recipe = Recipe {
                    order,
                    ..Recipe::default()
                };
                let columns = Columns::new(&gram, &recipe).unwrap();
                let rounded = round(&weights, &columns, &format, FloatType::F32).unwrap();
                let rounded = reference::dequantize(&rounded);
                assert_eq!(
                    rounded,
                    law(&weights, &gram, &recipe, &format),
                    "{format} {order:?}"
                );
                let by_rule = loss(&weights, &rounded, &gram);
                let share = by_rule / nearest;
                assert!(
                    share < 0.6,
                    "{format} {order:?}: {share} of the loss of the nearest codes"
                );
                let searching = Recipe {
                    scales: ScaleChoice::Search,
                    ..recipe
                };
                let columns = Columns::new(&gram, &searching).unwrap();
                let rounded = round(&weights, &columns, &format, FloatType::F32).unwrap();
                let searched = loss(&weights, &reference::dequantize(&rounded), &gram);
                assert!(
                    searched < 0.97 * by_rule,
                    "{format} {order:?}: {searched} with searched scales, {by_rule} without"
                );
            }
        }
    }
}
