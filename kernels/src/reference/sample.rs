//! Choosing a token from a row of logits.

use super::exponential::power;

/// A weight of 1, as an integer: sums of [`MOST_LOGITS`] weights fit 64 bits.
pub(crate) const ONE: f64 = (1u64 << 40) as f64;
/// The largest vocabulary.
pub const MOST_LOGITS: usize = 1 << 20;

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; with 0 the first of the greatest is chosen.
    pub temperature: f32,
    /// The share of the probability that the tokens to choose from have, the likeliest first; 1 for
    /// all.
    pub top_p: f32,
}

impl Sampling {
    /// The first of the greatest.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_p: 1.0,
    };

    /// # Errors
    /// [`SampleError::Temperature`] and [`SampleError::TopP`].
    pub fn check(&self) -> Result<(), SampleError> {
        let Self { temperature, top_p } = *self;
        if !(0.0..f32::INFINITY).contains(&temperature) {
            return Err(SampleError::Temperature { temperature });
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(SampleError::TopP { top_p });
        }
        Ok(())
    }
}

/// Why no token was chosen.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// Of [`Sampling::temperature`].
    #[error("the temperature is {temperature}; expected 0 or a positive number")]
    Temperature {
        /// It.
        temperature: f32,
    },
    /// Of [`Sampling::top_p`].
    #[error("top-p is {top_p}; expected more than 0 and at most 1")]
    TopP {
        /// It.
        top_p: f32,
    },
    /// The row is too long for sums to be exact.
    #[error("{count} logits; expected at most {MOST_LOGITS}")]
    TooMany {
        /// Its length.
        count: usize,
    },
    /// A logit that is NaN or +infinity: the first.
    #[error("the logit of token {token} is {logit}; expected a finite number or -inf")]
    Logit {
        /// Its token.
        token: usize,
        /// It.
        logit: f32,
    },
    /// All logits are -infinity, or there are none.
    #[error("no logit is finite")]
    NoneFinite,
}

/// `floor(total n / 2^32)`.
fn part(total: u64, n: u32) -> u64 {
    ((u128::from(total) * u128::from(n)) >> 32) as u64
}

/// The token that 32 `random` bits choose.
///
/// Weights are integers, so that sums are the same in any order: `e^((x - max) / temperature)` by
/// [`power`], times 2^40, rounded half to even. The *nucleus* is every token whose logit is at
/// least the greatest one such that those tokens' weights sum to `ceil(p total)` or more, p in
/// units of 2^-32; tokens of equal logits are all in it, or none. The token is the first, by index,
/// up to which the nucleus sums to more than `floor(random / 2^32 sum)`.
///
/// # Errors
/// [`SampleError`]. A logit of -infinity is one that is never chosen.
pub fn sample(logits: &[f32], sampling: &Sampling, random: u32) -> Result<u32, SampleError> {
    sampling.check()?;
    let count = logits.len();
    if count > MOST_LOGITS {
        return Err(SampleError::TooMany { count });
    }
    let Some(max) = greatest(logits) else {
        let token = logits.iter().position(|&x| is_odd(x)).unwrap_or(0);
        let logit = logits[token];
        return Err(SampleError::Logit { token, logit });
    };
    if max == f32::NEG_INFINITY {
        return Err(SampleError::NoneFinite);
    }
    let tokens = || (0..).zip(logits.iter().copied());
    let first = |token: Option<(u32, f32)>| token.map(|(token, _)| token);
    if sampling.temperature == 0.0 {
        return first(tokens().find(|&(_, x)| x == max)).ok_or(SampleError::NoneFinite);
    }

    let weight = |x: f32| {
        let weight = power((x - max) / sampling.temperature) * ONE;
        weight.round_ties_even() as u64
    };
    let weights: Vec<u64> = logits.iter().map(|&x| weight(x)).collect();
    let total: u64 = weights.iter().sum();
    let need = total - part(total, tail(sampling.top_p));
    // Tokens of no weight, which only the whole vocabulary holds, are never chosen.
    let threshold = match need == total {
        true => f32::NEG_INFINITY,
        false => nucleus(logits, need, weight),
    };
    let in_nucleus = || tokens().zip(&weights).filter(|((_, x), _)| *x >= threshold);
    let target = part(in_nucleus().map(|(_, weight)| weight).sum(), random);
    let mut sum = 0;
    let chosen = in_nucleus().find(|(_, weight)| {
        sum += **weight;
        sum > target
    });
    first(chosen.map(|(token, _)| token)).ok_or(SampleError::NoneFinite)
}

/// Whether no token can have this logit.
fn is_odd(logit: f32) -> bool {
    logit.is_nan() || logit == f32::INFINITY
}

/// The greatest logit; `None` if one is NaN or +infinity.
fn greatest(logits: &[f32]) -> Option<f32> {
    // In lanes, for vectors.
    const LANES: usize = 16;
    let (mut lanes, mut odd) = ([f32::NEG_INFINITY; LANES], [false; LANES]);
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let x = chunk[lane];
            odd[lane] |= is_odd(x);
            lanes[lane] = if x > lanes[lane] { x } else { lanes[lane] };
        }
    }
    let has_odd = odd.contains(&true) || rest.iter().any(|&x| is_odd(x));
    let all = lanes.iter().chain(rest).copied();
    (!has_odd).then(|| all.fold(f32::NEG_INFINITY, f32::max))
}

/// `1 - p` in units of 2^-32, less than 1.
fn tail(top_p: f32) -> u32 {
    ((1.0 - f64::from(top_p)) * 2f64.powi(32)).round_ties_even() as u32
}

/// The greatest logit such that the weights of all that are no less sum to `need`, which is no more
/// than all do.
fn nucleus(logits: &[f32], need: u64, weight: impl Fn(f32) -> u64) -> f32 {
    let mut sorted = logits.to_vec();
    // More and more of the greatest, as seldom all are needed.
    let (mut sum, mut start) = (0, 0);
    while start < sorted.len() {
        let end = (8 * start).max(32).min(sorted.len());
        let descending = |a: &f32, b: &f32| b.total_cmp(a);
        if end < sorted.len() {
            sorted[start..].select_nth_unstable_by(end - start, descending);
        }
        sorted[start..end].sort_unstable_by(descending);
        let last = sorted[start..end].iter().find(|&&x| {
            sum += weight(x);
            sum >= need
        });
        if let Some(&last) = last {
            return last;
        }
        start = end;
    }
    f32::NEG_INFINITY
}
