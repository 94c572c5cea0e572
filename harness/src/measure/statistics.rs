use serde::{Deserialize, Serialize};

/// A statistic and its standard error, in the unit of the statistic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The statistic; NaN of no samples.
    #[serde(with = "crate::record::float")]
    pub value: f64,
    /// The standard error; `None` below two samples, where it is not defined.
    #[serde(with = "crate::record::float::option")]
    pub stderr: Option<f64>,
}

/// The mean, with the standard error `s / sqrt(n)` where `s` is the sample standard deviation
/// (divisor `n - 1`).
pub fn mean(samples: &[f64]) -> Estimate {
    let n = samples.len() as f64;
    let value = samples.iter().sum::<f64>() / n;
    let stderr = (samples.len() > 1).then(|| {
        let squares: f64 = samples.iter().map(|x| (x - value).powi(2)).sum();
        (squares / (n - 1.0) / n).sqrt()
    });
    Estimate { value, stderr }
}

/// `exp(-mean)` of log-likelihoods in nats; the standard error by the delta method,
/// `perplexity * stderr(mean)`.
pub fn perplexity(loglikelihoods: &[f64]) -> Estimate {
    let mean = mean(loglikelihoods);
    let value = (-mean.value).exp();
    Estimate {
        value,
        stderr: mean.stderr.map(|stderr| value * stderr),
    }
}

/// The mean of `samples[i] - baseline[i]`, with the standard error of the differences. The
/// variation that both runs share cancels, so this error is far smaller than those of the two
/// means.
///
/// # Panics
/// If the lengths differ, so that the samples cannot be of the same examples.
pub fn paired_difference(samples: &[f64], baseline: &[f64]) -> Estimate {
    assert_eq!(samples.len(), baseline.len(), "samples must be paired");
    let differences: Vec<f64> = samples.iter().zip(baseline).map(|(x, b)| x - b).collect();
    mean(&differences)
}

/// The ratio r of two sums over the same examples, with the standard error of its linearisation,
/// `sqrt(n/(n-1) sum (x - r w)^2) / sum w`.
///
/// # Panics
/// If the lengths differ.
pub fn ratio(samples: &[f64], weights: &[f64]) -> Estimate {
    assert_eq!(samples.len(), weights.len(), "samples must have weights");
    let (n, total) = (samples.len() as f64, weights.iter().sum::<f64>());
    let value = samples.iter().sum::<f64>() / total;
    let stderr = (samples.len() > 1).then(|| {
        let residuals = samples.iter().zip(weights);
        let squares: f64 = residuals.map(|(x, w)| (x - value * w).powi(2)).sum();
        (n / (n - 1.0) * squares).sqrt() / total
    });
    Estimate { value, stderr }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(estimate: Estimate, value: f64, stderr: f64) {
        assert!((estimate.value - value).abs() < 1e-12, "{estimate:?}");
        assert!(
            (estimate.stderr.expect("two or more samples") - stderr).abs() < 1e-12,
            "{estimate:?}"
        );
    }

    #[test]
    fn mean_by_hand() {
        // Squared deviations 2.25 + 0.25 + 0.25 + 2.25 = 5; 5 / 3 / 4 = 5 / 12.
        assert_close(mean(&[1.0, 2.0, 3.0, 4.0]), 2.5, (5.0_f64 / 12.0).sqrt());
        // Accuracy 3/4: 3 * (1/4)^2 + (3/4)^2 = 3/4; / 3 / 4 = 1/16.
        assert_close(mean(&[1.0, 1.0, 0.0, 1.0]), 0.75, 0.25);
    }

    #[test]
    fn perplexity_by_hand() {
        // The mean of ln(1/2) and ln(1/8) is ln(1/4), each half a width ln 2 away from it.
        let estimate = perplexity(&[-2.0_f64.ln(), -8.0_f64.ln()]);
        assert_close(estimate, 4.0, 4.0 * 2.0_f64.ln());
    }

    #[test]
    fn paired_difference_by_hand() {
        // Differences -1, 0, 0, -1: mean -1/2, squared deviations 1; 1 / 3 / 4.
        let (samples, baseline) = ([0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0]);
        assert_close(
            paired_difference(&samples, &baseline),
            -0.5,
            (1.0_f64 / 12.0).sqrt(),
        );
        assert_close(paired_difference(&samples, &samples), 0.0, 0.0);
    }

    #[test]
    fn ratio_by_hand() {
        // 6 / 4; residuals 1 - 1.5 and 5 - 4.5: 2 * (1/4 + 1/4) = 1, over 4.
        assert_close(ratio(&[1.0, 5.0], &[1.0, 3.0]), 1.5, 0.25);
        // Equal weights: the mean.
        let samples = [1.0, 2.0, 3.0, 4.0];
        let mean = mean(&samples);
        assert_close(ratio(&samples, &[1.0; 4]), 2.5, mean.stderr.expect("four"));
    }

    #[test]
    fn too_few_samples_have_no_error() {
        assert_eq!(mean(&[3.0]).stderr, None);
        assert!(mean(&[]).value.is_nan());
    }
}
