//! What attention may give: the exact softmax-weighted mean of the values, give or take what f32 sums, bf16
//! weights and approximate exponentials can lose.
//!
//! Let t_j be the exponents of the weights, base 2, and x_j how far they are below the greatest. What the kernel
//! has of a weight, relative to the greatest, is off by a factor 2^d with
//! `|d| <= |dt_j| + 2^-22 (x_j + |t|)`, where dt_j is the error of the score's sum, t the greatest exponent, and the rest
//! roundings of exponents, whose steps add up to at most 2 x_j; by 2^-22 for each exponential on the way, its own and one for each step of keys and each part;
//! and by 2^-8 as an operand, unless it is a power of two. The mean of values v_j with weights w_j (1 + e_j) over the sum
//! of those of w_j (1 + e_j') is off by at most `sum w_j |v_j| (|e_j| + |e'|)`, e' the mean of |e_j'|, to first order.

use super::{Sequence, Sizes};
use crate::format::{FloatType, pow2};
use crate::launch::score_factor;
use crate::ptx::{AttentionRegime, AttentionVariant};
use crate::registry::sums::{BF16, multiplied, products};
use crate::registry::{
    ElementType, EntryError, Expectation, Expected, Problem, ProblemError, Range, Tensor, UNTOUCHED,
};
use mxlab_harness::tensor_core::Sums;
use std::f64::consts::LN_2;

/// Weights so many binades below the greatest are nothing.
const UNDERFLOW: f64 = 150.0;

/// What the contexts may be.
pub(super) fn expected(
    variant: &AttentionVariant,
    problem: &Problem,
) -> Result<Expected, EntryError> {
    let sizes = Sizes::of(problem)?;
    // What the tensor core takes of both is over 2^A.
    let least = [variant.keys(), variant.values()].map(|side| BF16 * pow2(side.excess()));
    let [keys, values] = variant
        .sides()
        .map(|side| side.operands(problem, sizes.head_dim));
    let (keys, values) = (keys?, values?);
    let queries = problem.tensor("src")?.values();
    let factor = f64::from(score_factor(variant, sizes.scale)) * pow2(-variant.keys().excess());
    let bits = u32::from(u16::from_le_bytes([UNTOUCHED; 2]));
    let mut ranges = vec![Range::Bits(bits); sizes.dst_len()];
    let sequences = Sequence::all(problem)?;
    for sequence in &sequences {
        let fits = sequence.first + sequence.tokens <= sizes.tokens
            && sequence.slot < sizes.slots
            && sequence.past + sequence.tokens <= sizes.capacity;
        if !fits {
            return Err(unfit("sequences", "one is outside"));
        }
        for token in 0..sequence.tokens {
            let seen = sequence.past + token + 1;
            for head in 0..sizes.heads() {
                let row = (sequence.first + token) * sizes.heads() + head;
                let query = &queries[row * sizes.padded()..][..sizes.head_dim];
                let first = (sequence.slot * sizes.kv_heads + head / sizes.group) * sizes.capacity;
                let rows = first * sizes.head_dim..(first + seen) * sizes.head_dim;
                let keys = &keys[rows.clone()];
                let values = &values[rows];
                if values.iter().any(|x| !x.is_finite()) {
                    return Err(unfit("values", "one that is seen is not finite"));
                }
                // A maximum for each step of keys, each warp and each part.
                let steps = seen / variant.step_keys() + sizes.splits + 16;
                let place = (sequence.first + token) * sizes.dst_stride + head * sizes.head_dim;
                if keys.iter().any(|x| !x.is_finite()) {
                    // So is its score, and the sum of weights.
                    ranges[place..][..sizes.head_dim].fill(Range::Between(f32::NAN, f32::NAN));
                    continue;
                }
                let weights = weights(query, keys, factor, steps, least);
                for feature in 0..sizes.head_dim {
                    ranges[place + feature] = weights.mean(values, feature, sizes.head_dim, steps);
                }
            }
        }
    }
    let element = FloatType::Bf16;
    let mut expected = Expected::from([("dst", Expectation::Within { element, ranges })]);
    if variant.regime() == AttentionRegime::Decode {
        let longest = sequences.iter().map(|s| s.tokens).max().unwrap_or(0);
        let blocks = (longest * sizes.group).div_ceil(variant.block_rows());
        let bits = vec![0; (blocks * sizes.kv_heads * sequences.len()).max(1)];
        let element = ElementType::U32;
        let arrivals = Expectation::Exactly(Tensor { element, bits });
        expected.insert("arrivals", arrivals);
    }
    Ok(expected)
}

fn unfit(name: &str, reason: &str) -> EntryError {
    EntryError::Problem(ProblemError::Unfit {
        name: name.to_owned(),
        reason: reason.to_owned(),
    })
}

/// The weights of the keys that a query sees, the greatest 1, and how far off they may be.
struct Weights {
    /// (key, weight, relative error) of those that may count.
    keys: Vec<(usize, f64, f64)>,
    /// Sum of weights.
    total: f64,
    /// Mean of the relative errors.
    error: f64,
    /// Weights are 1 or nothing.
    are_exact: bool,
    /// Keys that the query sees.
    seen: usize,
    /// The least power of the values.
    least: f64,
}

/// The weights of keys; `least` are the least powers of keys and values as operands.
fn weights(
    query: &[f32],
    keys: &[f64],
    factor: f64,
    steps: usize,
    [least, least_value]: [f64; 2],
) -> Weights {
    let score = |key: &[f64]| {
        let operands = query.iter().zip(key).filter(|(q, _)| **q != 0.0);
        let operands = operands.map(|(&q, &k)| [f64::from(q), k]);
        let terms = products(operands, [BF16, least]);
        let (exact, error) = multiplied(&terms, query.len(), query.len() / 8 + 4);
        (exact * factor, error * factor.abs())
    };
    let scores: Vec<(f64, f64)> = keys.chunks(query.len()).map(score).collect();
    let greatest = scores.iter().map(|s| s.0).fold(f64::NEG_INFINITY, f64::max);
    let worst = scores
        .iter()
        .filter(|s| s.0 + s.1 >= greatest - s.1)
        .map(|s| s.1)
        .fold(0.0, f64::max);
    let below = |&(score, error): &(f64, f64)| (greatest - score, error + worst);
    let is_exact = |&(x, error): &(f64, f64)| error == 0.0 && (x == 0.0 || x > UNDERFLOW);
    let distances: Vec<(f64, f64)> = scores.iter().map(below).collect();
    let are_exact = distances.iter().all(is_exact);
    let weight = |(key, &(x, error)): (usize, &(f64, f64))| {
        // The same score has the same exponent.
        let exponent = match x == 0.0 && error == 0.0 {
            true => 0.0,
            false => error + pow2(-22) * (x + error + greatest.abs()),
        };
        let relative = (exponent * LN_2).exp_m1() + steps as f64 * pow2(-22);
        (x - exponent <= UNDERFLOW).then(|| (key, (-x).exp2(), relative))
    };
    let keys: Vec<(usize, f64, f64)> = distances.iter().enumerate().filter_map(weight).collect();
    let total: f64 = keys.iter().map(|(_, w, _)| w).sum();
    let error = keys.iter().map(|(_, w, e)| w * e).sum::<f64>() / total;
    Weights {
        keys,
        total,
        error,
        are_exact,
        seen: scores.len(),
        least: least_value,
    }
}

impl Weights {
    /// What the mean of a feature of the values may be, rounded to bf16.
    fn mean(&self, values: &[f64], feature: usize, head_dim: usize, steps: usize) -> Range {
        let value = |key: usize| values[key * head_dim + feature];
        let operands = || self.keys.iter().map(|(key, w, _)| [*w, value(*key)]);
        let terms = products(operands(), [BF16, self.least]);
        // Of scaling and of parts.
        let scalings = self.seen / 8 + 2 * steps;
        let additions = self.seen + scalings;
        let (exact, lost) = multiplied(&terms, self.seen, scalings);
        // Weights of 1 are operands of 1.
        let (operand, lost) = match self.are_exact {
            true => (0.0, lost),
            false => {
                let any = terms.rounded(Sums::F32, self.seen, scalings).error;
                // Weights below the least normal bf16 have fewer bits, or are zero.
                let small: f64 = operands().map(|[_, value]| value.abs()).sum();
                (pow2(-8), any + BF16 * small)
            }
        };
        if self.keys.iter().any(|(.., error)| *error > 1.0) {
            // Nobody knows which keys count: it is a mean of some.
            let values = self.keys.iter().map(|(key, ..)| value(*key));
            let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            });
            let slack = pow2(-8) * low.abs().max(high.abs());
            return Range::Between((low - slack) as f32, (high + slack) as f32);
        }
        let weighted = self.keys.iter().zip(operands());
        let weights: f64 = weighted
            .map(|((.., error), [w, value])| (w * value).abs() * (error + operand + self.error))
            .sum();
        // Sums of weights, scaling, the quotient and its product.
        let rest = exact.abs() * (additions as f64 * pow2(-23) + pow2(-21));
        let mean = exact / self.total;
        let error = 1.01 * (weights + lost + rest) / self.total + pow2(-140);
        let error = if mean == 0.0 && weights == 0.0 && lost == 0.0 {
            0.0
        } else {
            error
        };
        let round = |x: f64| FloatType::Bf16.round(x as f32);
        Range::Between(round(mean - error), round(mean + error))
    }
}
