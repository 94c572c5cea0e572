//! Estimates from the scores of a task under a configuration.

use mxlab_harness::measure::Estimate;
use serde::{Deserialize, Serialize};

use super::column::Column;
use crate::engine::Footprint;
use crate::task::metric::Metric;

/// The result of a task under a configuration. The run's settings determine it; timings are
/// recorded separately.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Name of the task.
    pub task: String,
    /// Name of the configuration.
    pub config: String,
    /// The configuration in one line.
    pub description: String,
    /// The bits of each quantised operand, as in `W4A6KV4`; empty if there is none.
    pub operands: String,
    /// Number of examples.
    pub examples: usize,
    /// Number of examples with truncated prompts.
    pub truncated: usize,
    /// In the order of the task's protocol.
    pub metrics: Vec<MetricResult>,
    /// Name of the baseline's configuration; `None` if no baseline was evaluated, and for the
    /// baseline itself.
    pub baseline: Option<String>,
    /// Bits of a cached key or value, over all that the prompts and their targets leave in the
    /// cache; `None` in records from before it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_bits: Option<f64>,
    /// Memory that the model takes.
    pub footprint: Footprint,
}

/// The estimate of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricResult {
    /// The metric.
    pub metric: &'static Metric,
    /// The estimate.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// The difference from the baseline on the same examples, with its paired error; `None` without
    /// a baseline, and for perplexities.
    pub from_baseline: Option<Estimate>,
}

impl MetricResult {
    /// From a column, and from the baseline's.
    pub fn new(column: &Column, baseline: Option<&Column>) -> Self {
        Self {
            metric: column.metric,
            estimate: column.estimate(),
            from_baseline: baseline.and_then(|baseline| column.difference(baseline)),
        }
    }
}

impl TaskResult {
    /// The configuration in words, with the bits of a weight, and a line for each stand-in.
    pub fn formats(&self) -> Vec<String> {
        let Footprint {
            packed,
            stand_ins,
            integer_products,
            ..
        } = &self.footprint;
        let bits = packed.map_or_else(String::new, |packed| {
            let bits = format!("{:.2}", packed.bits());
            let bits = bits.trim_end_matches('0').trim_end_matches('.');
            format!("; {bits} bits a weight")
        });
        let products = match integer_products {
            0 => "",
            _ => "; products of integers",
        };
        let own = format!("{}{bits}{products}", self.description);
        let stand_ins = stand_ins.iter().map(ToString::to_string);
        std::iter::once(own).chain(stand_ins).collect()
    }

    /// Whether some keys or values have a format.
    pub fn packs_kv(&self) -> bool {
        self.operands.contains(['K', 'V'])
    }

    /// The estimate of `metric`.
    pub fn metric(&self, metric: &Metric) -> Option<&MetricResult> {
        self.metrics.iter().find(|result| result.metric == metric)
    }
}
