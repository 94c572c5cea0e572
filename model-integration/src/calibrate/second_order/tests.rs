//! Rounding against its definition.

use super::*;
use crate::calibrate::TokenWeight;
use mxlab_kernels::format::{BlockFormat, ElementFormat, ScaleFormat, random_at};
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

/// The columns in their order, and the damped H, eliminated from its last row to its first.
pub fn eliminated(gram: &Gram, recipe: &Recipe) -> (Vec<usize>, Vec<Vec<f64>>) {
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
    (order, h)
}

/// The definition: plain loops over f64, H by H.
fn law(weights: &[f32], gram: &Gram, recipe: &Recipe, format: &BlockFormat) -> Vec<f32> {
    let (order, h) = eliminated(gram, recipe);
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
        let packed = reference::quantize(&weights, ROWS, COLS, &format, FloatType::F32);
        let packed = packed.unwrap();
        let nearest = loss(&weights, &reference::dequantize(&packed), &gram);
        for order in [ColumnOrder::Stored, ColumnOrder::Activation] {
            let recipe = Recipe {
                order,
                ..Recipe::default()
            };
            let columns = Columns::new(&gram, &recipe).unwrap();
            let rounded = round(&weights, &columns, packed.clone(), FloatType::F32).unwrap();
            let said = rounded.loss;
            let rounded = reference::dequantize(&rounded.packed);
            assert_eq!(
                rounded,
                law(&weights, &gram, &recipe, &format),
                "{format} {order:?}"
            );
            let by_rule = loss(&weights, &rounded, &gram);
            // H is damped.
            let mean = (0..COLS).map(|i| gram.at(i, i)).sum::<f64>() / COLS as f64;
            let errors = weights.iter().zip(&rounded);
            let errors = errors.map(|(&w, &q)| (f64::from(w) - f64::from(q)).powi(2));
            let damped = by_rule + recipe.damping * mean * errors.sum::<f64>();
            assert!((said / damped - 1.0).abs() < 1e-9, "{said}, {damped}");
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
            let rounded = round(&weights, &columns, packed.clone(), FloatType::F32).unwrap();
            let searched = loss(&weights, &reference::dequantize(&rounded.packed), &gram);
            assert!(
                searched < 0.97 * by_rule,
                "{format} {order:?}: {searched} with searched scales, {by_rule} without"
            );
        }
    }
}
/// A column whose inputs are all zero takes its nearest value, and changes nothing else.
#[test]
fn columns_without_inputs_are_rounded_to_the_nearest() {
    let weights = values(2, ROWS * COLS);
    let dead = [0, 40, COLS - 1];
    let mut inputs = inputs();
    for token in inputs.chunks_exact_mut(COLS) {
        dead.iter().for_each(|&col| token[col] = 0.0);
    }
    let mut gram = Gram::new(COLS);
    gram.add(&inputs, TokenWeight::Norm);
    for format in formats() {
        let nearest = reference::quantize(&weights, ROWS, COLS, &format, FloatType::F32);
        let nearest = nearest.unwrap();
        let values = reference::dequantize(&nearest);
        for order in [ColumnOrder::Stored, ColumnOrder::Activation] {
            let recipe = Recipe {
                order,
                ..Recipe::default()
            };
            let columns = Columns::new(&gram, &recipe).unwrap();
            let rounded = round(&weights, &columns, nearest.clone(), FloatType::F32).unwrap();
            let rounded = reference::dequantize(&rounded.packed);
            for row in 0..ROWS {
                for col in dead {
                    assert_eq!(
                        rounded[row * COLS + col],
                        values[row * COLS + col],
                        "{format}"
                    );
                }
            }
            assert!(loss(&weights, &rounded, &gram) < 0.7 * loss(&weights, &values, &gram));
        }
        let undamped = Recipe {
            damping: 0.0,
            ..Recipe::default()
        };
        let error = Columns::new(&gram, &undamped).unwrap_err();
        assert!(
            matches!(error, NotPositive::Singular { pivot: 0.0, .. }),
            "{error}"
        );
    }
}
