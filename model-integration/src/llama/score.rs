//! From logits to the log-likelihood of a target.

use mxlab_kernels::format::FloatType;

/// Log-likelihood and greediness of target tokens, one row of `logits` each.
///
/// The log-softmax is taken in `f32`. With a 16-bit `dtype` each token's log-probability, and
/// then their sum, is rounded to it, which is what comes out where a model's own type is kept.
/// A token is greedy when no logit is greater and none before it is equal.
pub fn score(logits: &[f32], targets: &[u32], dtype: FloatType) -> (f64, bool) {
    let vocabulary = logits.len() / targets.len();
    let mut sum = 0.0;
    let mut is_greedy = true;
    for (row, &target) in logits.chunks_exact(vocabulary).zip(targets) {
        let target = target as usize;
        let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exponentials: f64 = row.iter().map(|x| f64::from(x - greatest).exp()).sum();
        let log_probability = f64::from(row[target] - greatest) - exponentials.ln();
        sum += f64::from(dtype.round(log_probability as f32));
        is_greedy &= row.iter().position(|&x| x == greatest) == Some(target);
    }
    let sum = match dtype {
        FloatType::F32 => sum,
        _ => f64::from(dtype.round(sum as f32)),
    };
    (sum, is_greedy)
}
