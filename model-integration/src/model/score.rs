//! Log-likelihoods of targets from logits.

use mxlab_kernels::format::FloatType;

use crate::engine::Score;

/// A row of logits, reduced to what the log-probability of its target token needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetLogit {
    /// Its logit.
    pub logit: f32,
    /// The greatest logit of the row.
    pub greatest: f32,
    /// `sum e^(x - greatest)` over the row.
    pub exponentials: f64,
    /// Whether it is the first of the greatest logits.
    pub is_greedy: bool,
}

/// Log-likelihood and greediness of target tokens, with one row of `logits` each.
///
/// The log-softmax is taken in `f32`. With a 16-bit `dtype` each token's log-probability, and then
/// their sum, is rounded to it, as in a model that keeps its own type. A token is greedy if no
/// logit is greater and no earlier one is equal.
pub fn score(logits: &[f32], targets: &[u32], dtype: FloatType) -> Score {
    let vocabulary = logits.len() / targets.len();
    let rows = logits.chunks_exact(vocabulary).zip(targets);
    let targets = rows.map(|(row, &target)| {
        let target = target as usize;
        let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        TargetLogit {
            logit: row[target],
            greatest,
            exponentials: row.iter().map(|x| f64::from(x - greatest).exp()).sum(),
            is_greedy: row.iter().position(|&x| x == greatest) == Some(target),
        }
    });
    score_targets(targets, dtype)
}

/// [`score`] from reduced rows of logits.
pub fn score_targets(targets: impl IntoIterator<Item = TargetLogit>, dtype: FloatType) -> Score {
    let mut sum = 0.0;
    let mut is_greedy = true;
    let mut shortfall = 0.0f64;
    for target in targets {
        let log_probability = f64::from(target.logit - target.greatest) - target.exponentials.ln();
        sum += f64::from(dtype.round(log_probability as f32));
        is_greedy &= target.is_greedy;
        let short = f64::from(target.greatest - target.logit);
        shortfall = if short.is_nan() {
            short
        } else {
            shortfall.max(short)
        };
    }
    Score {
        loglikelihood: match dtype {
            FloatType::F32 => sum,
            _ => f64::from(dtype.round(sum as f32)),
        },
        is_greedy,
        shortfall,
    }
}
