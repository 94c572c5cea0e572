//! The record of an evaluation, `run.json`.

use mxlab_harness::measure::Energy;
use mxlab_harness::record::{Environment, float};
use serde::{Deserialize, Serialize};

use super::result::TaskResult;
use crate::config::QuantConfig;
use crate::engine::ModelInfo;

/// Everything of a run. `model`, `configs`, `tasks`, `settings` and `results` are the same
/// whether it was interrupted or not; `environment` and `timings` are its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Machine, build, command.
    pub environment: Environment,
    /// The model.
    pub model: ModelInfo,
    /// The configurations.
    pub configs: Vec<QuantConfig>,
    /// The tasks.
    pub tasks: Vec<EvaluatedTask>,
    /// How they were evaluated.
    pub settings: EvalSettings,
    /// The metrics of each task under each configuration.
    pub results: Vec<TaskResult>,
    /// How long they took.
    pub timings: Vec<Timing>,
}

/// A task of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluatedTask {
    /// Its name.
    pub name: String,
    /// Its file, or where it is from.
    pub source: String,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Examples that it has.
    pub examples_in_file: usize,
    /// Examples that were evaluated.
    pub examples: usize,
    /// Examples whose prompts were cut to fit the model.
    pub truncated: usize,
    /// Solved examples before each.
    pub num_fewshot: usize,
    /// The rule by which a file of the user's was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_as: Option<String>,
}

/// How an evaluation was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvalSettings {
    /// Examples that went through the model together.
    pub batch_size: usize,
    /// The file of solved examples, where it is not the task's own.
    pub fewshot_file: Option<String>,
    /// Whether prompts begin with the token of a beginning; `None` is the tokenizer's choice.
    pub add_bos_token: Option<bool>,
    /// Seed of stochastic rounding.
    pub seed: u32,
    /// Threads that computed.
    pub threads: usize,
}

/// How long a task took under a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Name of the task.
    pub task: String,
    /// Name of the configuration.
    pub config: String,
    /// Seconds in the model, over all the runs it took.
    pub seconds: f64,
    /// Examples a second.
    #[serde(with = "float")]
    pub examples_per_second: f64,
    /// Of the examples that this run evaluated; `None` is not measured.
    pub energy: Option<ExampleEnergy>,
}

/// Energy of some examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExampleEnergy {
    /// How many.
    pub examples: usize,
    /// Of all of them.
    pub energy: Energy,
}

impl EvalRecord {
    /// Examples a second over all tasks; `None` if no time was taken.
    pub fn examples_per_second(&self) -> Option<f64> {
        let (mut seconds, mut examples) = (0.0, 0.0);
        for timing in &self.timings {
            seconds += timing.seconds;
            examples += timing.seconds * timing.examples_per_second;
        }
        let speed = examples / seconds;
        speed.is_finite().then_some(speed)
    }
}
