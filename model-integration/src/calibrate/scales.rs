//! The scales of blocks, chosen by what a sweep over the columns rounds under them.
//!
//! t is what the sweep before rounded, and P the pivots of [`super::factor`], which a column's
//! rounding costs. Of the scales near its own, a block gets the one with the least
//!
//! ```text
//! sum over its columns i of P_i (t_i - value of the code nearest to t_i)^2
//! ```
//!
//! Sums are f64, in order, without fused operations. A block's own scale wins a tie, then the first
//! of the others. The sweep after it has other targets, so it may lose more in a row; then the row
//! keeps what it had.

use mxlab_kernels::format::{FormatError, PackedTensor, ScaleFormat};
use mxlab_kernels::reference::ElementRounding;
use rayon::prelude::*;

use super::second_order::Columns;

/// What a scale that is a fraction is multiplied by, before it is rounded to its format, in the
/// order in which ties are won. 3/2 takes E2M1's largest element from 6 to 4.
const FACTORS: [f32; 11] = [
    1.0, 0.6875, 0.75, 0.8125, 0.875, 0.9375, 1.0625, 1.125, 1.25, 1.375, 1.5,
];
/// The same for powers of two.
const POWERS: [f32; 3] = [1.0, 0.5, 2.0];

/// `scaled` with scales that are searched for `targets` `[rows, cols]`. Its codes are of no use
/// then.
///
/// # Errors
/// None: the sizes are those of `scaled`.
pub fn search(
    targets: &[f32],
    scaled: &PackedTensor,
    columns: &Columns,
    rounding: &ElementRounding,
) -> Result<PackedTensor, FormatError> {
    let format = scaled.format();
    let (cols, k) = (scaled.cols(), format.block_size());
    let factors: &[f32] = match format.scale().is_power_of_two() {
        true => &POWERS,
        false => &FACTORS,
    };
    let width = format.scale().storage_bytes();
    let pivots = columns.pivots();
    let mut scales = scaled.scales().to_vec();
    let rows = scales
        .par_chunks_mut(format.row_scale_bytes(cols))
        .enumerate();
    rows.for_each(|(row, scales)| {
        let blocks = scales.chunks_exact_mut(width).enumerate();
        for (block, bytes) in blocks {
            let own = scaled.scale_code(row, block);
            let mut best = (f64::INFINITY, own);
            for &factor in factors {
                let Some(scale) = candidate(format.scale(), own, factor) else {
                    continue;
                };
                let mut loss = 0.0;
                for (i, pivot) in pivots.iter().enumerate().skip(block * k).take(k) {
                    let at = row * cols + i;
                    let code = rounding.code(targets[at], scale, at as u64);
                    let value = rounding.source.round(rounding.value(code, scale));
                    let rest = f64::from(targets[at]) - f64::from(value);
                    loss += pivot * rest * rest;
                }
                if loss < best.0 {
                    best = (loss, scale);
                }
            }
            bytes.copy_from_slice(&best.1.to_le_bytes()[..width]);
        }
    });
    let codes = scaled.codes().to_vec();
    let (rows, factor) = (scaled.rows(), scaled.tensor_scale());
    PackedTensor::new(*format, rows, cols, codes, scales, factor)
}

/// A scale times a factor; `None` if there is none. A block of zeros keeps its scale, and so does
/// one that is not finite.
fn candidate(scale: ScaleFormat, own: u32, factor: f32) -> Option<u32> {
    if factor == 1.0 {
        return Some(own);
    }
    let code = scale.encode_nearest(scale.decode(own) * factor);
    (scale.decode(code) > 0.0).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::second_order::round;
    use crate::calibrate::second_order::tests::{
        COLS, ROWS, eliminated, formats, gram, loss, values,
    };
    use crate::calibrate::{Recipe, ScaleChoice};
    use mxlab_kernels::format::{BlockFormat, FloatType};
    use mxlab_kernels::reference;

    fn scaled(targets: &[f32], format: &BlockFormat) -> PackedTensor {
        reference::quantize(targets, ROWS, COLS, format, FloatType::F32).unwrap()
    }

    fn rounding(scaled: &PackedTensor) -> ElementRounding<'_> {
        ElementRounding {
            format: scaled.format(),
            tensor_scale: scaled.tensor_scale(),
            source: FloatType::F32,
        }
    }

    /// Every block has the scale of the least loss among its candidates.
    #[test]
    fn scales_are_those_of_the_least_loss() {
        let (targets, gram) = (values(5, ROWS * COLS), gram());
        let columns = Columns::new(&gram, &Recipe::default()).unwrap();
        let pivots = columns.pivots();
        for format in formats() {
            let scaled = scaled(&targets, &format);
            let rounding = rounding(&scaled);
            let found = search(&targets, &scaled, &columns, &rounding).unwrap();
            let (k, mut changed) = (format.block_size(), 0);
            for row in 0..ROWS {
                for block in 0..COLS / k {
                    let loss = |scale: u32| {
                        let terms = (block * k..(block + 1) * k).map(|col| {
                            let at = row * COLS + col;
                            let code = rounding.code(targets[at], scale, at as u64);
                            let rest = targets[at] - rounding.value(code, scale);
                            pivots[col] * f64::from(rest) * f64::from(rest)
                        });
                        terms.sum::<f64>()
                    };
                    let (own, best) = (scaled.scale_code(row, block), found.scale_code(row, block));
                    let x = format.scale().decode(own);
                    // Half to twice the scale, or 11/16 to 24/16 of it.
                    let sixteenths: &[u32] = match format.scale().is_power_of_two() {
                        true => &[8, 16, 32],
                        false => &[11, 12, 13, 14, 15, 16, 17, 18, 20, 22, 24],
                    };
                    for &part in sixteenths {
                        let other = format.scale().encode_nearest(x * part as f32 / 16.0);
                        let (least, loss) = (loss(best), loss(other));
                        assert!(
                            least <= loss * (1.0 + 1e-6),
                            "{format}: {row}, {block}, {part}"
                        );
                    }
                    changed += usize::from(best != own);
                }
            }
            assert!(changed > ROWS / 4, "{format}: {changed} scales are others");
        }
    }

    /// Zeros and what is not finite have no scale to search.
    #[test]
    fn blocks_without_a_choice_keep_their_scales() {
        let gram = gram();
        let columns = Columns::new(&gram, &Recipe::default()).unwrap();
        for format in formats() {
            let mut targets = vec![0.0; ROWS * COLS];
            targets[COLS] = f32::INFINITY;
            let scaled = scaled(&targets, &format);
            let rounding = rounding(&scaled);
            let found = search(&targets, &scaled, &columns, &rounding).unwrap();
            assert_eq!(found.scales(), scaled.scales(), "{format}");
        }
    }

    #[test]
    fn pivots_are_those_of_the_stored_columns() {
        let (gram, recipe) = (gram(), Recipe::default());
        let (order, h) = eliminated(&gram, &recipe);
        assert!(!order.is_sorted());
        let pivots = Columns::new(&gram, &recipe).unwrap().pivots();
        for (i, &col) in order.iter().enumerate() {
            assert!((pivots[col] / h[i][i] - 1.0).abs() < 1e-9, "column {col}");
        }
    }

    /// Each row has the scales of the sweep that lost least.
    #[test]
    fn searched_scales_are_no_loss_of_a_row() {
        let (weights, gram) = (values(2, ROWS * COLS), gram());
        let recipe = Recipe {
            damping: 1e-9,
            ..Recipe::default()
        };
        let searching = Recipe {
            scales: ScaleChoice::Search,
            ..recipe
        };
        for format in formats() {
            let [by_rule, searched] = [recipe, searching].map(|recipe| {
                let columns = Columns::new(&gram, &recipe).unwrap();
                let nearest = reference::quantize(&weights, ROWS, COLS, &format, FloatType::F32);
                let rounded = round(&weights, &columns, nearest.unwrap(), FloatType::F32).unwrap();
                reference::dequantize(&rounded.packed)
            });
            let rows = weights.chunks(COLS).zip(by_rule.chunks(COLS));
            for (row, ((w, by_rule), searched)) in rows.zip(searched.chunks(COLS)).enumerate() {
                let [by_rule, searched] = [by_rule, searched].map(|q| loss(w, q, &gram));
                assert!(
                    searched <= by_rule * (1.0 + 1e-3),
                    "{format}, row {row}: {searched} with searched scales, {by_rule} without"
                );
            }
        }
    }
}
