//! Scales of whole tensors: one for several matrices where a file has one, and of several those of
//! the least loss.

use anyhow::Result;
use mxlab_kernels::cpu::Quantizer;
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor};
use mxlab_kernels::reference;
use rayon::prelude::*;

use super::second_order::{Columns, Rounded, round};
use super::{Recipe, ScaleChoice};

/// What the largest scale of a block may become of 14 fourteenths, which is what the rule says:
/// UE4M3 has 448, 416 and so on down to 256. More would saturate; less is another octave.
const FOURTEENTHS: [f32; 7] = [14.0, 13.0, 12.0, 11.0, 10.0, 9.0, 8.0];

/// A matrix before its codes are chosen.
#[derive(Debug)]
pub struct Values {
    /// `[rows, cols]`, of the type of the arithmetic.
    pub values: Vec<f32>,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
}

impl Values {
    /// Their largest finite magnitude.
    pub fn largest(&self) -> f32 {
        let finite = self.values.par_iter().filter(|x| x.is_finite());
        finite.map(|x| x.abs()).reduce(|| 0.0, f32::max)
    }

    /// Rounded to the nearest under a tensor scale.
    ///
    /// # Errors
    /// As [`mxlab_kernels::cpu::quantize`].
    pub fn nearest(
        &self,
        format: &BlockFormat,
        dtype: FloatType,
        tensor_scale: f32,
    ) -> Result<PackedTensor> {
        let quantizer = Quantizer::new(*format, dtype)?.with_tensor_scale(tensor_scale);
        Ok(quantizer.quantize(&self.values, self.rows, self.cols)?)
    }
}

/// The tensor scale that the rule gives matrices with these largest magnitudes together.
pub fn by_rule(largest: &[f32], format: &BlockFormat) -> f32 {
    reference::tensor_scale(largest, format)
}

/// How many tensor scales are tried.
pub fn sweeps(recipe: &Recipe, format: &BlockFormat) -> usize {
    match (recipe.scales, format.has_tensor_scale()) {
        (ScaleChoice::Tensor, true) => FOURTEENTHS.len(),
        _ => 1,
    }
}

/// Rounds matrices with common inputs under one tensor scale: that of the rule, or by the recipe
/// the one of several that loses least. The rule's wins a tie, then the first of the others.
///
/// # Errors
/// As [`round`].
pub fn round_together(
    matrices: &[Values],
    columns: &Columns,
    (format, recipe): (&BlockFormat, &Recipe),
    dtype: FloatType,
    tensor_scale: f32,
) -> Result<Vec<PackedTensor>> {
    let mut best: Option<(f64, Vec<PackedTensor>)> = None;
    for part in &FOURTEENTHS[..sweeps(recipe, format)] {
        let scale = tensor_scale * (FOURTEENTHS[0] / part);
        let rounded = matrices.iter().map(|matrix| {
            let nearest = matrix.nearest(format, dtype, scale)?;
            Ok(round(&matrix.values, columns, nearest, dtype)?)
        });
        let rounded: Vec<Rounded> = rounded.collect::<Result<_>>()?;
        let loss = rounded.iter().map(|rounded| rounded.loss).sum();
        if best.as_ref().is_none_or(|(least, _)| loss < *least) {
            let packed = rounded.into_iter().map(|rounded| rounded.packed);
            best = Some((loss, packed.collect()));
        }
    }
    Ok(best.map(|(_, packed)| packed).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::second_order::tests::{COLS, ROWS, formats, gram, loss, values};

    /// The scale that loses least of those within an octave, for all matrices together.
    #[test]
    fn the_tensor_scale_is_that_of_the_least_loss() {
        let gram = gram();
        let recipe = Recipe {
            scales: ScaleChoice::Tensor,
            ..Recipe::default()
        };
        let matrices = [2, 9].map(|seed| Values {
            values: values(seed, ROWS * COLS),
            rows: ROWS,
            cols: COLS,
        });
        let mut others = 0;
        for format in formats() {
            let largest = matrices.each_ref().map(Values::largest);
            let rule = by_rule(&largest, &format);
            let round = |recipe: &Recipe, scale: f32| {
                let columns = Columns::new(&gram, recipe).unwrap();
                let dtype = FloatType::F32;
                round_together(&matrices, &columns, (&format, recipe), dtype, scale).unwrap()
            };
            let total = |rounded: &[PackedTensor]| {
                let pairs = matrices.iter().zip(rounded);
                let losses = pairs.map(|(matrix, packed)| {
                    loss(&matrix.values, &reference::dequantize(packed), &gram)
                });
                losses.sum::<f64>()
            };
            let chosen = round(&recipe, rule);
            assert_eq!(
                chosen[0].tensor_scale(),
                chosen[1].tensor_scale(),
                "{format}"
            );
            let losses =
                FOURTEENTHS.map(|part| total(&round(&Recipe::default(), rule * 14.0 / part)));
            let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
            if !format.has_tensor_scale() {
                assert_eq!(chosen, round(&Recipe::default(), 1.0), "{format}");
                continue;
            }
            // Damping counts a little too.
            assert!(total(&chosen) < 1.01 * least, "{format}: {losses:?}");
            others += usize::from(chosen[0].tensor_scale() != rule);
            assert!(losses.iter().any(|loss| *loss > 1.02 * least), "{losses:?}");
        }
        assert_eq!(others, 1, "the rule's scale is seldom the best");
    }
}
