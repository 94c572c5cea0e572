//! The choice of experts, and the sum of what they give.

use mxlab_kernels::format::FloatType;

use super::{exp, narrow};
use crate::description::Routing;

/// An expert's tokens: rows of the batch, ascending, and the weight of the expert in each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    /// Rows.
    pub rows: Vec<u32>,
    /// Weights.
    pub weights: Vec<f32>,
}

/// The tokens of each expert, from `scores` `[tokens, experts]`. Of equal scores those of the first
/// experts are chosen.
pub fn route(scores: &[f32], experts: usize, routing: Routing, dtype: FloatType) -> Vec<Chosen> {
    let mut chosen = vec![Chosen::default(); experts];
    for (row, scores) in scores.chunks_exact(experts).enumerate() {
        let mut scores = scores.to_vec();
        if routing.is_softmax_first {
            softmax(&mut scores);
        }
        let mut order: Vec<usize> = (0..experts).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        order.truncate(routing.per_token);
        let mut weights: Vec<f32> = order.iter().map(|&expert| scores[expert]).collect();
        if !routing.is_softmax_first {
            softmax(&mut weights);
        }
        if routing.is_normalised {
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        if routing.is_rounded {
            narrow(&mut weights, dtype);
        }
        for (expert, weight) in order.into_iter().zip(weights) {
            chosen[expert].rows.push(row as u32);
            chosen[expert].weights.push(weight);
        }
    }
    chosen
}

/// `sum += weight * x` for the chosen rows of `features` features; product and sum are rounded.
pub fn add_chosen(sum: &mut [f32], chosen: &Chosen, x: &[f32], features: usize, dtype: FloatType) {
    let rows = chosen.rows.iter().zip(&chosen.weights);
    for ((&row, &weight), x) in rows.zip(x.chunks_exact(features)) {
        let sum = &mut sum[row as usize * features..][..features];
        let mut weighted: Vec<f32> = x.iter().map(|x| x * weight).collect();
        narrow(&mut weighted, dtype);
        super::add(sum, &weighted, dtype);
    }
}

fn softmax(values: &mut [f32]) {
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|x| *x = exp(*x - max));
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|x| *x /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(is_softmax_first: bool, is_normalised: bool) -> Routing {
        Routing {
            per_token: 2,
            is_softmax_first,
            is_normalised,
            is_rounded: false,
        }
    }

    #[test]
    fn the_largest_scores_are_chosen() {
        let scores = [0.0, 2.0, 1.0, 2.0, 3.0, -1.0, 3.0, 0.5];
        for (softmax_first, normalised) in [(true, true), (false, false)] {
            // Softmax of the chosen is the normalised softmax of all.
            let chosen = route(
                &scores,
                4,
                routing(softmax_first, normalised),
                FloatType::F32,
            );
            let rows: Vec<&[u32]> = chosen.iter().map(|one| &*one.rows).collect();
            assert_eq!(rows, [&[1][..], &[0], &[1], &[0]]);
            let weights = chosen.iter().flat_map(|one| &one.weights);
            assert!(
                weights
                    .into_iter()
                    .all(|&weight| (weight - 0.5).abs() < 1e-6)
            );
        }
        let shares = route(&scores[..4], 4, routing(true, false), FloatType::F32);
        let share = 1.0 / (2.0 + (-1.0_f32).exp() + (-2.0_f32).exp());
        assert!((shares[1].weights[0] - share).abs() < 1e-6);
    }

    #[test]
    fn weighted_rows_are_added() {
        let chosen = Chosen {
            rows: vec![0, 2],
            weights: vec![0.5, 2.0],
        };
        let mut sum = [1.0; 6];
        add_chosen(&mut sum, &chosen, &[2.0, 4.0, 1.0, -1.0], 2, FloatType::F32);
        assert_eq!(sum, [2.0, 3.0, 1.0, 1.0, 3.0, -1.0]);
    }
}
