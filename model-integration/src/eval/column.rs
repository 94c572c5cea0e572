//! The values of a metric over the examples of a task.

use mxlab_harness::measure::{Estimate, mean, paired_difference, perplexity, ratio};
use mxlab_harness::record::float;
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::runner::Given;
use crate::task::Task;
use crate::task::metric::{Judge, Metric, Unit};

/// A metric's values, one for each example, and for a ratio what they are counted in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Which.
    pub metric: &'static Metric,
    /// Of each example.
    #[serde(with = "float::list")]
    pub values: Vec<f64>,
    /// Words or bytes of each example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Vec<f64>>,
}

impl Column {
    /// Every metric of a task, of the answers to all prompts in the order of the plan.
    pub fn all(task: &Task, plan: &Plan, given: &Given) -> Vec<Self> {
        let of = |metric: &'static Metric| {
            let examples = || task.examples.iter().map(|example| &example.content);
            let prompts = plan.examples().zip(examples());
            let values = prompts.map(|(range, content)| match (metric.judge, given) {
                (Judge::Scores(value), Given::Scores(scores)) => value(content, &scores[range]),
                (Judge::Text(filter, is_right), Given::Texts(texts)) => {
                    let extracted = (filter.extract)(&texts[range.start]);
                    f64::from(u8::from(is_right(content, &extracted)))
                }
                // Not measured.
                _ => f64::NAN,
            });
            let values: Vec<f64> = values.collect();
            let weights = examples().take(values.len()).map(metric.weight);
            Self {
                metric,
                weights: weights.collect(),
                values,
            }
        };
        task.protocol.metrics.iter().copied().map(of).collect()
    }

    /// The number.
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

    /// The number less the baseline's, on the same examples; `None` of perplexities, whose logarithm has one.
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
