//! Causal attention with grouped queries over packed (or dense) keys and values, in f64.

use super::matmul::{Operand, dot};
use crate::format::FormatError;

/// The sizes of an attention. The last query stands at the last key's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads; a multiple of `kv_heads`. Query head h reads head `h / (heads / kv_heads)`.
    pub heads: usize,
    /// Heads of K and V.
    pub kv_heads: usize,
    /// Number of query positions.
    pub queries: usize,
    /// Number of key positions, at least `queries`.
    pub keys: usize,
    /// Length of a head's vectors.
    pub head_dim: usize,
}

/// `softmax(q k^T / sqrt(head_dim)) v`, each query seeing the keys up to its own position.
///
/// q is [heads, queries, head_dim]; k and v are [kv_heads * keys, head_dim], a head's rows
/// together; the result is [heads, queries, head_dim].
///
/// # Errors
/// [`FormatError::Length`] if an operand or a head count does not fit the shape.
pub fn attention(
    q: &[f32],
    k: Operand,
    v: Operand,
    shape: AttentionShape,
) -> Result<Vec<f64>, FormatError> {
    let AttentionShape {
        heads,
        kv_heads,
        queries,
        keys,
        head_dim,
    } = shape;
    let expect = |what, got: usize, expected: usize| {
        if got == expected {
            Ok(())
        } else {
            Err(FormatError::Length {
                what,
                got,
                expected,
            })
        }
    };
    expect("queries", q.len(), heads * queries * head_dim)?;
    for (what, operand) in [("rows of k", &k), ("rows of v", &v)] {
        expect(what, operand.rows(), kv_heads * keys)?;
        expect("head_dim", operand.cols(), head_dim)?;
    }
    expect("keys", keys, keys.max(queries))?;
    let group = heads / kv_heads.max(1);
    expect("query heads", heads, group * kv_heads)?;

    let (k, v) = (k.values()?, v.values()?);
    let mut out = Vec::with_capacity(q.len());
    for head in 0..heads {
        let first_row = head / group * keys;
        for query in 0..queries {
            let q = &q[(head * queries + query) * head_dim..][..head_dim];
            let visible = keys - queries + query + 1;
            let row = |key: usize| (first_row + key) * head_dim..(first_row + key + 1) * head_dim;
            let scores = (0..visible).map(|key| dot(q, &k[row(key)]) / (head_dim as f64).sqrt());
            let weights = softmax(scores.collect());
            let mut mixed = vec![0.0; head_dim];
            for (key, weight) in weights.iter().enumerate() {
                for (sum, v) in mixed.iter_mut().zip(&v[row(key)]) {
                    *sum += weight * f64::from(*v);
                }
            }
            out.extend(mixed);
        }
    }
    Ok(out)
}

/// exp(score - max) over their sum.
fn softmax(scores: Vec<f64>) -> Vec<f64> {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.into_iter().map(|exp| exp / sum).collect()
}
