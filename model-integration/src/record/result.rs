//! What the scores of a task under a configuration amount to.

use mxlab_harness::measure::Estimate;
use serde::{Deserialize, Serialize};

use super::column::Column;
use crate::engine::Footprint;
use crate::task::metric::Metric;

/// The result of a task under a configuration. It is determined by the run's settings: how
/// long it took is kept apart.
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
    /// Number of examples whose prompts were cut to fit the model.
    pub truncated: usize,
    /// In the order of the task's protocol.
    pub metrics: Vec<MetricResult>,
    /// Name of the baseline's configuration; `None` where none was evaluated, and of the baseline
    /// itself.
    pub baseline: Option<String>,
    /// Memory that the model takes.
    pub footprint: Footprint,
}

/// One number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricResult {
    /// Which.
    pub metric: &'static Metric,
    /// The number.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// That less the baseline's on the same examples, with its paired error; `None` where there is
    /// no baseline, and of perplexities.
    pub from_baseline: Option<Estimate>,
}

impl MetricResult {
    /// Of a column, and that of the baseline.
    pub fn new(column: &Column, baseline: Option<&Column>) -> Self {
        Self {
            metric: column.metric,
            estimate: column.estimate(),
            from_baseline: baseline.and_then(|baseline| column.difference(baseline)),
        }
    }
}

impl TaskResult {
    /// One of its numbers.
    pub fn metric(&self, metric: &Metric) -> Option<&MetricResult> {
        self.metrics.iter().find(|result| result.metric == metric)
    }
}
