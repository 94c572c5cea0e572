//! Whether two runs on the same examples differ by more than chance.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial as Draws, Distribution};
use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

use super::{Estimate, mean, paired_difference};

/// The number of bootstrap resamples.
const RESAMPLES: usize = 10_000;
/// The confidence level of intervals.
const CONFIDENCE: f64 = 0.95;

/// McNemar's exact test: among the examples on which two runs differ, are gains and losses
/// balanced?
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Examples that were wrong in the baseline and are right.
    pub gained: u64,
    /// Examples that were right in the baseline and are wrong.
    pub lost: u64,
    /// The two-sided p value; 1 where no example differs.
    pub p: f64,
}

/// McNemar's exact test of two columns of zeros and ones (McNemar 1947, with the exact binomial
/// distribution).
///
/// # Panics
/// If the lengths differ.
pub fn mcnemar(samples: &[f64], baseline: &[f64]) -> McNemar {
    let (gained, lost) = discordant(samples, baseline);
    let differing = gained + lost;
    let p = match Binomial::new(0.5, differing) {
        Ok(even) if differing > 0 => (2.0 * even.cdf(gained.min(lost))).min(1.0),
        _ => 1.0,
    };
    McNemar { gained, lost, p }
}

fn discordant(samples: &[f64], baseline: &[f64]) -> (u64, u64) {
    assert_eq!(samples.len(), baseline.len(), "samples must be paired");
    let pairs = || samples.iter().zip(baseline);
    let gained = pairs().filter(|(own, base)| own > base).count();
    let lost = pairs().filter(|(own, base)| own < base).count();
    (gained as u64, lost as u64)
}

/// The 95 % confidence interval of the mean difference of two columns of zeros and ones, by the
/// percentile bootstrap with 10,000 paired resamples (Efron 1979). Only three differences occur, so
/// a resample is a draw of their counts.
///
/// # Panics
/// If the lengths differ, or there are no samples.
pub fn paired_bootstrap(samples: &[f64], baseline: &[f64], seed: u64) -> [f64; 2] {
    let (gained, lost) = discordant(samples, baseline);
    let n = samples.len() as u64;
    assert!(n > 0, "no samples");
    let draws = |n: u64, part: f64| Draws::new(n, part.clamp(0.0, 1.0)).expect("a probability");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let gains = draws(n, gained as f64 / n as f64);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let up = gains.sample(&mut random);
            let others = n.saturating_sub(gained).max(1) as f64;
            let down = draws(n - up, lost as f64 / others).sample(&mut random);
            (up as f64 - down as f64) / n as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let tail = ((1.0 - CONFIDENCE) / 2.0 * RESAMPLES as f64) as usize;
    [means[tail], means[RESAMPLES - 1 - tail]]
}

/// A paired t test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedT {
    /// The mean difference and its standard error.
    pub difference: Estimate,
    /// The two-sided p value; 1 where no pair differs.
    pub p: f64,
}

/// Student's t test of the differences `samples[i] - baseline[i]`; `None` below two samples.
///
/// # Panics
/// If the lengths differ.
pub fn paired_t(samples: &[f64], baseline: &[f64]) -> Option<PairedT> {
    let difference = paired_difference(samples, baseline);
    let stderr = difference.stderr?;
    let p = if difference.value == 0.0 {
        1.0
    } else if stderr == 0.0 {
        0.0
    } else {
        let t = StudentsT::new(0.0, 1.0, samples.len() as f64 - 1.0).ok()?;
        2.0 * t.sf((difference.value / stderr).abs())
    };
    Some(PairedT { difference, p })
}

/// p values adjusted for several tests by Holm's method (Holm 1979): a threshold on them bounds the
/// chance of any false positive.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![1.0; p.len()];
    let mut least = 0.0_f64;
    for (rank, &index) in order.iter().enumerate() {
        least = least.max((p[index] * (p.len() - rank) as f64).min(1.0));
        adjusted[index] = least;
    }
    adjusted
}

/// The mean and the half-width of its 95 % confidence interval by Student's t; `None` below two
/// samples.
pub fn student_interval(samples: &[f64]) -> Option<(f64, f64)> {
    let Estimate { value, stderr } = mean(samples);
    let t = StudentsT::new(0.0, 1.0, samples.len() as f64 - 1.0).ok()?;
    Some((
        value,
        stderr? * t.inverse_cdf(f64::midpoint(1.0, CONFIDENCE)),
    ))
}

/// Pearson's correlation; `None` below two pairs, or where one side does not vary.
///
/// # Panics
/// If the lengths differ.
pub fn correlation(x: &[f64], y: &[f64]) -> Option<f64> {
    assert_eq!(x.len(), y.len(), "samples must be paired");
    let (mean_x, mean_y) = (mean(x).value, mean(y).value);
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        let pairs = x.iter().zip(y);
        pairs.map(|(x, y)| of(x - mean_x, y - mean_y)).sum()
    };
    let (xx, yy) = (sum(&|x, _| x * x), sum(&|_, y| y * y));
    (x.len() > 1 && xx > 0.0 && yy > 0.0).then(|| sum(&|x, y| x * y) / (xx * yy).sqrt())
}

/// Spearman's: the correlation of ranks, equal values at the mean of theirs.
///
/// # Panics
/// If the lengths differ.
pub fn rank_correlation(x: &[f64], y: &[f64]) -> Option<f64> {
    correlation(&ranks(x), &ranks(y))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal as f64 - 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(gained: usize, lost: usize, same: usize) -> (Vec<f64>, Vec<f64>) {
        let mut own = vec![1.0; gained];
        own.extend(vec![0.0; lost]);
        own.extend(vec![1.0; same]);
        let mut base = vec![0.0; gained];
        base.extend(vec![1.0; lost + same]);
        (own, base)
    }

    #[test]
    fn mcnemar_by_hand() {
        // 1 of 5 at most one way: 2 (1 + 5) / 32.
        let (own, base) = columns(1, 4, 10);
        let test = mcnemar(&own, &base);
        assert_eq!((test.gained, test.lost), (1, 4));
        assert!((test.p - 12.0 / 32.0).abs() < 1e-12, "{test:?}");
        // The split that cannot be more even is certain, and so is none.
        let (own, base) = columns(3, 3, 0);
        assert_eq!(mcnemar(&own, &base).p, 1.0);
        assert_eq!(mcnemar(&base, &base).p, 1.0);
    }

    #[test]
    fn bootstrap_is_about_two_errors_wide() {
        let (own, base) = columns(60, 100, 1040);
        let [low, high] = paired_bootstrap(&own, &base, 7);
        let Estimate { value, stderr } = paired_difference(&own, &base);
        let stderr = stderr.expect("many");
        assert!(
            (low - (value - 1.96 * stderr)).abs() < 0.1 * stderr,
            "{low}"
        );
        assert!(
            (high - (value + 1.96 * stderr)).abs() < 0.1 * stderr,
            "{high}"
        );
        assert_eq!(paired_bootstrap(&own, &base, 7), [low, high]);
        assert_eq!(paired_bootstrap(&base, &base, 7), [0.0, 0.0]);
        // Every example differs: no room for chance in how many gain and how many lose but one
        // against the other.
        let (own, base) = columns(0, 20, 0);
        assert_eq!(paired_bootstrap(&own, &base, 7), [-1.0, -1.0]);
    }

    #[test]
    fn t_by_tables() {
        // Mean 2, deviation 2, error 1 of 4 samples: t = 2 with 3 degrees of freedom.
        let own = [0.0, 2.0, 2.0, 4.0];
        let error = (8.0_f64 / 3.0 / 4.0).sqrt();
        let test = paired_t(&own, &[0.0; 4]).expect("four");
        assert!((test.difference.stderr.expect("four") - error).abs() < 1e-12);
        // t = 2.449, three degrees: 0.0917.
        assert!((test.p - 0.0917).abs() < 1e-4, "{test:?}");
        assert_eq!(paired_t(&own, &own).expect("four").p, 1.0);
        assert!(paired_t(&[1.0], &[0.0]).is_none());
        let (mean, half) = student_interval(&own).expect("four");
        assert!((mean - 2.0).abs() < 1e-12 && (half - 3.182 * error).abs() < 1e-3);
    }

    #[test]
    fn holm_by_hand() {
        let adjusted = holm(&[0.04, 0.01, 0.03, 0.005]);
        let expected = [0.06, 0.03, 0.06, 0.02];
        for (own, expected) in adjusted.iter().zip(expected) {
            assert!((own - expected).abs() < 1e-12, "{adjusted:?}");
        }
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn correlations() {
        let x = [1.0, 2.0, 3.0, 10.0];
        assert!((correlation(&x, &x.map(|x| 3.0 - 2.0 * x)).expect("varies") + 1.0).abs() < 1e-12);
        assert_eq!(correlation(&x, &[1.0; 4]), None);
        // Any rising curve keeps ranks.
        assert!((rank_correlation(&x, &x.map(f64::exp)).expect("varies") - 1.0).abs() < 1e-12);
        assert_eq!(ranks(&[2.0, 1.0, 2.0]), [1.5, 0.0, 1.5]);
    }
}
