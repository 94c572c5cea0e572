//! The scales of blocks, chosen for what their weights multiply.
//!
//! Of the scales near the one that the format's rule chooses, a block gets the one with the least
//!
//! ```text
//! sum over i and j of e_i H_ij e_j        e = w - (value of the nearest code)
//! ```
//!
//! over its columns: sums in f64, in order, without fused operations. The rule's own scale wins a
//! tie, then the first of the others.

use mxlab_kernels::format::{FormatError, PackedTensor, ScaleFormat};
use mxlab_kernels::reference::ElementRounding;
use rayon::prelude::*;

use super::second_order::{Columns, LANES, owed};

/// What a scale that is a fraction is multiplied by, before it is rounded to its format, in the
/// order in which ties are won. 3/2 takes E2M1's largest element from 6 to 4.
const FACTORS: [f32; 11] = [
    1.0, 0.6875, 0.75, 0.8125, 0.875, 0.9375, 1.0625, 1.125, 1.25, 1.375, 1.5,
];
/// The same for powers of two.
const POWERS: [f32; 3] = [1.0, 0.5, 2.0];

/// `nearest`, the codes of `weights` under the rule's scales, with scales that are searched. Its
/// codes are of no use then.
///
/// # Errors
/// None: the sizes are those of `nearest`.
pub fn search(
    weights: &[f32],
    nearest: &PackedTensor,
    columns: &Columns,
    rounding: &ElementRounding,
) -> Result<PackedTensor, FormatError> {
    let format = nearest.format();
    let (cols, k) = (nearest.cols(), format.block_size());
    let factors: &[f32] = match format.scale().is_power_of_two() {
        true => &POWERS,
        false => &FACTORS,
    };
    let width = format.scale().storage_bytes();
    let row_bytes = format.row_scale_bytes(cols);
    let mut scales = nearest.scales().to_vec();
    let tasks = scales.par_chunks_mut(LANES * row_bytes).enumerate();
    tasks.for_each(|(task, scales)| {
        let first = task * LANES;
        let count = scales.len() / row_bytes;
        for block in 0..format.blocks_per_row(cols) {
            let begin = block * k;
            let size = k.min(cols - begin);
            // Rows of H up to the diagonal.
            let h: Vec<Vec<f64>> = (begin..begin + size)
                .map(|i| (begin..=i).map(|j| columns.at(i, j)).collect())
                .collect();
            let mut best = [(f64::INFINITY, 0); LANES];
            for &factor in factors {
                let mut errors = vec![[0.0; LANES]; size];
                let mut codes = [None; LANES];
                for lane in 0..count {
                    let row = first + lane;
                    let of_rule = nearest.scale_code(row, block);
                    codes[lane] = candidate(format.scale(), of_rule, factor);
                    let Some(scale) = codes[lane] else { continue };
                    for (i, error) in errors.iter_mut().enumerate() {
                        let at = row * cols + begin + i;
                        let code = rounding.code(weights[at], scale, at as u64);
                        let value = rounding.source.round(rounding.value(code, scale));
                        error[lane] = f64::from(weights[at]) - f64::from(value);
                    }
                }
                let losses = losses(&h, &errors);
                for lane in 0..count {
                    if let Some(scale) = codes[lane].filter(|_| losses[lane] < best[lane].0) {
                        best[lane] = (losses[lane], scale);
                    }
                }
            }
            for (lane, (loss, scale)) in best[..count].iter().enumerate() {
                if loss.is_finite() {
                    let bytes = &mut scales[lane * row_bytes + block * width..][..width];
                    bytes.copy_from_slice(&scale.to_le_bytes()[..width]);
                }
            }
        }
    });
    let codes = nearest.codes().to_vec();
    let (rows, factor) = (nearest.rows(), nearest.tensor_scale());
    PackedTensor::new(*format, rows, cols, codes, scales, factor)
}

/// A scale times a factor; `None` if there is none. A block of zeros keeps its scale, and so does
/// one that is not finite.
fn candidate(scale: ScaleFormat, of_rule: u32, factor: f32) -> Option<u32> {
    if factor == 1.0 {
        return Some(of_rule);
    }
    let code = scale.encode_nearest(scale.decode(of_rule) * factor);
    (scale.decode(code) > 0.0).then_some(code)
}

/// e H e^T of each lane.
fn losses(h: &[Vec<f64>], errors: &[[f64; LANES]]) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for (i, row) in h.iter().enumerate() {
        let before = owed(&row[..i], &errors[..i]);
        for lane in 0..LANES {
            let e = errors[i][lane];
            sums[lane] += e * (row[i] * e + 2.0 * before[lane]);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::Recipe;
    use crate::calibrate::second_order::tests::{COLS, ROWS, formats, gram, values};
    use mxlab_kernels::format::FloatType;
    use mxlab_kernels::reference;

    /// Every block has the scale of the least loss, by plain loops over the definition.
    #[test]
    fn scales_are_those_of_the_least_loss() {
        let (weights, gram) = (values(5, ROWS * COLS), gram());
        let columns = Columns::new(&gram, &Recipe::default()).unwrap();
        for format in formats() {
            let nearest = reference::quantize(&weights, ROWS, COLS, &format, FloatType::F32);
            let nearest = nearest.unwrap();
            let rounding = ElementRounding {
                format: &format,
                tensor_scale: nearest.tensor_scale(),
                source: FloatType::F32,
            };
            let found = search(&weights, &nearest, &columns, &rounding).unwrap();
            let (k, mut changed) = (format.block_size(), 0);
            for row in 0..ROWS {
                for block in 0..COLS / k {
                    let loss = |scale: u32| {
                        let e: Vec<f64> = (block * k..(block + 1) * k)
                            .map(|col| {
                                let at = row * COLS + col;
                                let code = rounding.code(weights[at], scale, at as u64);
                                f64::from(weights[at]) - f64::from(rounding.value(code, scale))
                            })
                            .collect();
                        let mut sum = 0.0;
                        for i in 0..k {
                            for j in 0..k {
                                sum += e[i] * columns.at(block * k + i, block * k + j) * e[j];
                            }
                        }
                        sum
                    };
                    let of_rule = nearest.scale_code(row, block);
                    let own = loss(found.scale_code(row, block));
                    let x = format.scale().decode(of_rule);
                    let factors = match format.scale().is_power_of_two() {
                        true => vec![0.5, 2.0],
                        false => (11..=24).map(|m| m as f32 / 16.0).collect(),
                    };
                    let others = factors.iter().map(|f| format.scale().encode_nearest(x * f));
                    let is_tried = |code: &u32| {
                        let f = format.scale().decode(*code) / x;
                        let near = |known: &&f32| (f / **known - 1.0).abs() < 0.03;
                        format.scale().is_power_of_two() || FACTORS.iter().any(|k| near(&k))
                    };
                    for other in others.filter(is_tried) {
                        assert!(
                            own <= loss(other) * (1.0 + 1e-9),
                            "{format}: {row}, {block}"
                        );
                    }
                    changed += usize::from(found.scale_code(row, block) != of_rule);
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
            let mut weights = vec![0.0; ROWS * COLS];
            weights[COLS] = f32::INFINITY;
            let nearest = reference::quantize(&weights, ROWS, COLS, &format, FloatType::F32);
            let nearest = nearest.unwrap();
            let rounding = ElementRounding {
                format: &format,
                tensor_scale: nearest.tensor_scale(),
                source: FloatType::F32,
            };
            let found = search(&weights, &nearest, &columns, &rounding).unwrap();
            assert_eq!(found.scales(), nearest.scales(), "{format}");
        }
    }
}
