//! Whether one timing is faster than another, or the comparison is inconclusive.

use super::Timing;
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};
use std::fmt;

/// The confidence level of intervals.
const CONFIDENCE: f64 = 0.95;

/// The outcome of a comparison of two timings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Less time by more than the threshold.
    Faster,
    /// More time by more than the threshold.
    Slower,
    /// Within the threshold.
    Same,
    /// Inconclusive: the noise is too large.
    Ambiguous,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Same => "same",
            Self::Ambiguous => "ambiguous",
        })
    }
}

/// A timing against an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The new time as a multiple of the old.
    pub ratio: f64,
    /// The 95 % confidence interval of the ratio; `None` if either timing has one round only.
    pub interval: Option<[f64; 2]>,
    /// The outcome.
    pub verdict: Verdict,
}

impl Comparison {
    /// Compares the medians of rounds by Welch's t interval of their logarithms. So a disturbance
    /// that lasts for a round counts as noise.
    ///
    /// `drift` is the machine's own change of time as a factor, measured by a target that did not
    /// change. The ratio may include any part of it, so it widens the interval. A relative change
    /// within `threshold` counts as the same.
    pub fn new(before: &Timing, after: &Timing, drift: f64, threshold: f64) -> Self {
        let ratio = after.median() / before.median();
        let logarithms = |timing: &Timing| -> Vec<f64> {
            timing.round_medians().iter().map(|s| s.ln()).collect()
        };
        let interval = welch(&logarithms(before), &logarithms(after)).map(|[low, high]| {
            let drift = drift.ln();
            [low - drift.max(0.0), high - drift.min(0.0)].map(f64::exp)
        });
        let [least, most] = [1.0 - threshold, 1.0 + threshold];
        let verdict = match interval {
            Some([low, _]) if low > most => Verdict::Slower,
            Some([_, high]) if high < least => Verdict::Faster,
            Some([low, high]) if low >= least && high <= most => Verdict::Same,
            _ => Verdict::Ambiguous,
        };
        Self {
            ratio,
            interval,
            verdict,
        }
    }
}

/// The interval of `mean(after) - mean(before)`.
fn welch(before: &[f64], after: &[f64]) -> Option<[f64; 2]> {
    /// Mean, squared standard error, degrees of freedom.
    fn moments(x: &[f64]) -> Option<(f64, f64, f64)> {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let squares: f64 = x.iter().map(|x| (x - mean).powi(2)).sum();
        (x.len() > 1).then(|| (mean, squares / (n - 1.0) / n, n - 1.0))
    }
    let (mean_before, error_before, freedom_before) = moments(before)?;
    let (mean_after, error_after, freedom_after) = moments(after)?;
    let difference = mean_after - mean_before;
    let error = error_before + error_after;
    if error == 0.0 {
        return Some([difference; 2]);
    }
    let freedom = error * error
        / (error_before.powi(2) / freedom_before + error_after.powi(2) / freedom_after);
    let student = StudentsT::new(0.0, 1.0, freedom).ok()?;
    let half = student.inverse_cdf(0.5 + CONFIDENCE / 2.0) * error.sqrt();
    Some([difference - half, difference + half])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(rounds: &[f64]) -> Timing {
        Timing {
            runs: 1,
            rounds: rounds.iter().map(|&s| vec![s]).collect(),
        }
    }

    fn verdict(before: &[f64], after: &[f64], drift: f64) -> Verdict {
        Comparison::new(&timing(before), &timing(after), drift, 0.05).verdict
    }

    #[test]
    fn what_differs_by_more_than_the_noise_is_told() {
        let quiet = [1.00, 1.01, 0.99, 1.00, 1.01];
        let half_more = quiet.map(|s| 1.5 * s);
        let a_little_more = quiet.map(|s| 1.05 * s);
        let noisy = [0.8, 1.3, 1.0, 0.7, 1.2];
        assert_eq!(verdict(&quiet, &quiet, 1.0), Verdict::Same);
        assert_eq!(verdict(&quiet, &half_more, 1.0), Verdict::Slower);
        assert_eq!(verdict(&half_more, &quiet, 1.0), Verdict::Faster);
        assert_eq!(verdict(&quiet, &a_little_more, 1.0), Verdict::Ambiguous);
        assert_eq!(verdict(&quiet, &noisy, 1.0), Verdict::Ambiguous);
        // One round says nothing about noise.
        assert_eq!(verdict(&[1.0], &[2.0], 1.0), Verdict::Ambiguous);
    }

    #[test]
    fn a_machine_that_became_slower_is_no_slower_kernel() {
        let quiet = [1.00, 1.01, 0.99, 1.00, 1.01];
        let slower = quiet.map(|s| 1.3 * s);
        assert_eq!(verdict(&quiet, &slower, 1.3), Verdict::Ambiguous);
        assert_eq!(
            verdict(&quiet, &slower.map(|s| 1.3 * s), 1.3),
            Verdict::Slower
        );
        assert_eq!(verdict(&slower, &quiet, 1.0 / 1.3), Verdict::Ambiguous);
        // Nor is what stayed the same on it known to be the same.
        assert_eq!(verdict(&quiet, &quiet, 1.3), Verdict::Ambiguous);
    }

    #[test]
    fn the_interval_by_hand() {
        // Means 2 and 4; squared errors (1 + 0 + 1) / 2 / 3 = 1/3 each; 4 degrees of freedom, t =
        // 2.776445.
        let [low, high] = welch(&[1.0, 2.0, 3.0], &[3.0, 4.0, 5.0]).expect("three each");
        let half = 2.776_445_105 * (2.0f64 / 3.0).sqrt();
        assert!((low - (2.0 - half)).abs() < 1e-6, "{low}");
        assert!((high - (2.0 + half)).abs() < 1e-6, "{high}");
    }
}
