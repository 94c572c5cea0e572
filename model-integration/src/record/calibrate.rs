//! The records of calibrations: codes chosen by a text, and formats chosen for a budget.

use mxlab_harness::record::Environment;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A model whose codes were chosen by a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrateRecord {
    /// Machine, build, command.
    pub environment: Environment,
    /// What the model's own metadata say: method, recipe, configuration, text.
    pub run: Value,
    /// Seconds, without those of layers that were finished before.
    pub seconds: f64,
    /// Layers that were finished before.
    pub layers_before: usize,
    /// Peak memory of the process in bytes; `None` if it was not measured.
    pub peak_memory_bytes: Option<u64>,
    /// Number of threads.
    pub threads: usize,
}

/// Formats of weights chosen for a budget of bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocateRecord {
    /// Machine, build, command.
    pub environment: Environment,
    /// The budget.
    pub most_bits: f64,
    /// Each format alone, then what was chosen.
    pub assignments: Vec<Assignment>,
    /// Seconds.
    pub seconds: f64,
}

/// Formats of all weights, and what they cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The format, or `chosen`.
    pub name: String,
    /// Bits a weight.
    pub bits: f64,
    /// Nats a token by which logits diverge, summed over projections, each alone in codes.
    pub summed_nats: f64,
    /// The same, measured for all together.
    pub measured_nats: f64,
}
