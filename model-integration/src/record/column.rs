//! The values of a metric over the examples of a task.

use mxlab_harness::measure::{Estimate, mean, paired_difference, perplexity, ratio};
use mxlab_harness::record::float;
use serde::{Deserialize, Serialize};

use crate::task::metric::{Metric, Unit};

/// A metric's values, one per example, with the weights of a ratio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The metric.
    pub metric: &'static Metric,
    /// The value of each example.
    #[serde(with = "float::list")]
    pub values: Vec<f64>,
    /// Words or bytes of each example, for perplexities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Vec<f64>>,
}

impl Column {
    /// The estimate over all examples.
    pub fn estimate(&self) -> Estimate {
        match (self.metric.unit, &self.weights) {
            (Unit::Perplexity, None) => perplexity(&self.values),
            (Unit::Perplexity, Some(weights)) => {
                let mean = ratio(&self.values, weights);
                let value = (-mean.value).exp();
                let stderr = mean.stderr.map(|stderr| value * stderr);
                Estimate { value, stderr }
            }
            (_, Some(weights)) => ratio(&self.values, weights),
            (_, None) => mean(&self.values),
        }
    }

    /// The difference from the baseline on the same examples; `None` for perplexities, whose
    /// logarithms have one.
    pub fn difference(&self, baseline: &Self) -> Option<Estimate> {
        if self.metric.unit == Unit::Perplexity {
            return None;
        }
        Some(match &self.weights {
            None => paired_difference(&self.values, &baseline.values),
            Some(weights) => {
                let pairs = self.values.iter().zip(&baseline.values);
                let differences: Vec<f64> = pairs.map(|(own, base)| own - base).collect();
                ratio(&differences, weights)
            }
        })
    }
}
