//! The expected outputs of attention: a range around the exact softmax-weighted mean of the values,
//! as wide as f32 sums, bf16 weights and approximate exponentials can be off.
//!
//! Let t_j be the exponents of the weights, base 2, t the greatest of them, and x_j = t - t_j. The
//! kernel's weights, relative to the greatest, have these relative errors:
//!
//! - a factor 2^d, with `abs(d) <= abs(dt_j) + 2^-22 (x_j + abs(t))`: dt_j is the error of the
//!   score's sum, and the rest are roundings of exponents, whose steps add up to at most 2 x_j;
//! - 2^-22 for each exponential on the way: its own, and one for each step of keys and each part;
//! - 2^-8 as an operand, unless the weight is a power of two.
//!
//! The mean of values v_j with weights w_j (1 + e_j) over the sum of w_j (1 + e_j') is off by at
//! most `sum w_j |v_j| (|e_j| + |e'|)` to first order, where e' is the mean of |e_j'|.

use super::problems::{Sequence, Sizes};
use super::{AttentionRegime, AttentionVariant};
use crate::format::{FloatType, pow2};
use crate::registry::sums::{BF16, multiplied, products};
use crate::registry::{
    ElementType, Elements, EntryError, Expectation, Expected, Place, Problem, ProblemError, Range,
    Sampled, Tensor, UNTOUCHED,
};
use mxlab_harness::tensor_core::Sums;
use rayon::prelude::*;
use std::f64::consts::LN_2;

/// Weights so many binades below the greatest are nothing.
const UNDERFLOW: f64 = 150.0;

/// The ranges of the contexts.
pub(super) fn expected(
    variant: &AttentionVariant,
    problem: &Problem,
) -> Result<Expected, EntryError> {
    let contexts = Contexts::of(variant, problem)?;
    let sizes = contexts.sizes;
    let [keys, values] = variant
        .sides()
        .map(|side| side.operands(problem, sizes.head_dim, 0..sizes.rows()));
    let (keys, values) = (keys?, values?);
    let queries = problem.tensor("src")?.values();
    let mut ranges = vec![Range::Bits(untouched()); sizes.dst_len()];
    for sequence in &contexts.sequences {
        for token in sequence.first..sequence.first + sequence.tokens {
            for head in 0..sizes.heads() {
                let query = &queries[contexts.query(token, head)..][..sizes.head_dim];
                let rows = contexts.seen(sequence, token, head);
                let features = rows.start * sizes.head_dim..rows.end * sizes.head_dim;
                let (keys, values) = (&keys[features.clone()], &values[features]);
                let context = contexts.ranges(query, keys, values)?;
                ranges[contexts.place(token, head)..][..sizes.head_dim].copy_from_slice(&context);
            }
        }
    }
    let element = FloatType::Bf16;
    let mut expected = Expected::from([("dst", Expectation::Within { element, ranges })]);
    if let Some(arrivals) = contexts.arrivals() {
        expected.insert("arrivals", Expectation::Exactly(arrivals));
    }
    Ok(expected)
}

/// The ranges of the contexts of some heads of tokens. Only their keys and values are decoded.
pub(super) fn expected_at(
    variant: &AttentionVariant,
    problem: &Problem,
    places: &[Place],
) -> Result<Sampled, EntryError> {
    let contexts = Contexts::of(variant, problem)?;
    let sizes = contexts.sizes;
    let context = |&[token, head]: &Place| -> Result<Vec<Range>, EntryError> {
        let has = |sequence: &&Sequence| {
            (sequence.first..sequence.first + sequence.tokens).contains(&token)
        };
        let Some(sequence) = contexts.sequences.iter().rev().find(has) else {
            return Ok(vec![Range::Bits(untouched()); sizes.head_dim]);
        };
        let first = contexts.query(token, head);
        let query = problem.part("src", first..first + sizes.head_dim)?.values();
        let rows = contexts.seen(sequence, token, head);
        let [keys, values] = variant
            .sides()
            .map(|side| side.operands(problem, sizes.head_dim, rows.clone()));
        contexts.ranges(&query, &keys?, &values?)
    };
    // One takes tenths of a second where the cache is long.
    let ranges: Vec<Vec<Range>> = places.par_iter().map(context).collect::<Result<_, _>>()?;
    let mut dst = Elements::within(sizes.dst_len(), FloatType::Bf16);
    for (&[token, head], ranges) in places.iter().zip(&ranges) {
        dst.add_ranges(contexts.place(token, head), ranges);
    }
    let mut sampled = Sampled::default();
    sampled.insert("dst", dst);
    if let Some(arrivals) = contexts.arrivals() {
        let mut elements = Elements::exactly(arrivals.bits.len(), arrivals.element);
        elements.add_bits(0, 1, &arrivals.bits);
        sampled.insert("arrivals", elements);
    }
    Ok(sampled)
}

/// The bits of an element of dst that no kernel writes.
fn untouched() -> u32 {
    u32::from(u16::from_le_bytes([UNTOUCHED; 2]))
}

/// The contexts of a problem: one for each head of each token.
struct Contexts<'p> {
    variant: &'p AttentionVariant,
    sizes: Sizes,
    sequences: Vec<Sequence>,
    score: Score,
}

/// What becomes of products of a query and keys.
#[derive(Clone, Copy)]
struct Score {
    /// Of the product, or of the capped score.
    factor: f64,
    /// The scale and the cap, and what the quotient by that is multiplied by.
    cap: Option<[f32; 3]>,
}

impl Score {
    /// The exponent of a weight, and its error, from a product and its error.
    fn of(self, product: f64, error: f64) -> (f64, f64) {
        let Some(cap) = self.cap else {
            return (product * self.factor, error * self.factor.abs());
        };
        // Every step is monotonic.
        let low = capped(product - error, cap, -TANH) * self.factor;
        let high = capped(product + error, cap, TANH) * self.factor;
        ((low + high) / 2.0, (high - low) / 2.0)
    }
}

/// The error of `1 - 2 / (1 + 2^x)`: a rounding of x, 2^-22 of the exponential, both with a slope
/// of at most 1/2, an ulp of the reciprocal, two roundings.
const TANH: f64 = 1.0 / (1 << 21) as f64;

/// The capped score of a product, with a hyperbolic tangent that is `off`.
fn capped(product: f64, [scale, cap, inverse]: [f32; 3], off: f64) -> f64 {
    let bf16 = |x: f32| FloatType::Bf16.round(x);
    let quotient = bf16(bf16(bf16(product as f32) * scale) * inverse);
    let exact = f64::from(quotient).tanh();
    // From 22 on the exponential, at least 2^63, leaves 1.
    let tanh = match quotient >= 22.0 {
        true => 1.0,
        false => (exact + off).clamp(-1.0, 1.0),
    };
    f64::from(bf16(bf16(tanh as f32) * cap))
}

impl<'p> Contexts<'p> {
    fn of(variant: &'p AttentionVariant, problem: &Problem) -> Result<Self, EntryError> {
        let (sizes, sequences) = (Sizes::of(problem)?, Sequence::all(problem)?);
        let fits = |sequence: &Sequence| {
            sequence.first + sequence.tokens <= sizes.tokens
                && sequence.slot < sizes.slots
                && sequence.past + sequence.tokens <= sizes.capacity
        };
        if !sequences.iter().all(fits) {
            return Err(unfit("sequences", "one is outside"));
        }
        // Operands here are the keys themselves.
        let of_keys = pow2(-variant.keys().excess());
        let factor = f64::from(variant.score_factor(sizes.scale));
        let score = match variant.form().has_cap() {
            true => Score {
                factor,
                cap: Some([sizes.scale, sizes.cap, 1.0 / sizes.cap]),
            },
            false => Score {
                factor: factor * of_keys,
                cap: None,
            },
        };
        Ok(Self {
            variant,
            sizes,
            sequences,
            score,
        })
    }

    /// Where the query of a head begins.
    const fn query(&self, token: usize, head: usize) -> usize {
        (token * self.sizes.heads() + head) * self.sizes.padded()
    }

    /// Where the context of a head begins in dst.
    const fn place(&self, token: usize, head: usize) -> usize {
        token * self.sizes.dst_stride + head * self.sizes.head_dim
    }

    /// Rows of the cache that a token of the sequence sees.
    fn seen(&self, sequence: &Sequence, token: usize, head: usize) -> std::ops::Range<usize> {
        let Sizes {
            kv_heads,
            group,
            capacity,
            ..
        } = self.sizes;
        let first = (sequence.slot * kv_heads + head / group) * capacity;
        let end = sequence.past + (token - sequence.first) + 1;
        first + end.saturating_sub(self.sizes.window)..first + end
    }

    /// The range of the context of a query, from the keys and values that it sees.
    fn ranges(
        &self,
        query: &[f32],
        keys: &[f64],
        values: &[f64],
    ) -> Result<Vec<Range>, EntryError> {
        let head_dim = query.len();
        if values.iter().any(|x| !x.is_finite()) {
            return Err(unfit("values", "one that is seen is not finite"));
        }
        if keys.iter().any(|x| !x.is_finite()) {
            // So is its score, and the sum of weights.
            return Ok(vec![Range::Between(f32::NAN, f32::NAN); head_dim]);
        }
        // A maximum for each step of keys, each warp and each part.
        let steps = keys.len() / head_dim / self.variant.step_keys() + self.sizes.splits + 16;
        // What the tensor core takes of both is over 2^A.
        let sides = [self.variant.keys(), self.variant.values()];
        let least = sides.map(|side| BF16 * pow2(side.excess()));
        let weights = weights(query, keys, self.score, steps, least);
        let features = 0..head_dim;
        Ok(features
            .map(|feature| weights.mean(values, feature, head_dim, steps))
            .collect())
    }

    /// The count of parts that arrived, back at zero after each launch; of split attention.
    fn arrivals(&self) -> Option<Tensor> {
        let variant = self.variant;
        if variant.regime() != AttentionRegime::Decode || self.sizes.splits <= 1 {
            return None;
        }
        let Sizes {
            group, kv_heads, ..
        } = self.sizes;
        let sequences = &self.sequences;
        let longest = sequences.iter().map(|s| s.tokens).max().unwrap_or(0);
        let blocks = (longest * group).div_ceil(variant.block_rows());
        Some(Tensor {
            element: ElementType::U32,
            bits: vec![0; (blocks * kv_heads * sequences.len()).max(1)],
        })
    }
}

fn unfit(name: &str, reason: &str) -> EntryError {
    EntryError::Problem(ProblemError::Unfit {
        name: name.to_owned(),
        reason: reason.to_owned(),
    })
}

/// The weights of the keys that a query sees, relative to the greatest, and their error bounds.
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
    score_of: Score,
    steps: usize,
    [least, least_value]: [f64; 2],
) -> Weights {
    let score = |key: &[f64]| {
        let operands = query.iter().zip(key).filter(|(q, _)| **q != 0.0);
        let operands = operands.map(|(&q, &k)| [f64::from(q), k]);
        let terms = products(operands, [BF16, least]);
        let (exact, error) = multiplied(&terms, query.len(), query.len() / 8 + 4);
        score_of.of(exact, error)
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
    /// The range of the mean of a feature of the values, rounded to bf16.
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
                // Weights, and sums of operands, below the least normal number may be zero.
                let small: f64 = operands().map(|[_, value]| value.abs()).sum();
                let sums = additions as f64 * self.least / BF16;
                (pow2(-8), any + pow2(-126) * (small + sums))
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
