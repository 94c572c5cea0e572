//! The record of an evaluation, `run.json`.

use mxlab_harness::measure::Energy;
use mxlab_harness::record::{Environment, float};
use serde::{Deserialize, Serialize};

use super::result::TaskResult;
use crate::config::QuantConfig;
use crate::engine::ModelInfo;
use crate::task::PromptStyle;

/// The record of a run. `model`, `configs`, `tasks`, `settings` and `results` do not depend on
/// interruptions; `environment` and `timings` do.
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
    /// Settings of the evaluation.
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
    /// Its file, or another origin.
    pub source: String,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Number of examples in the task.
    pub examples_in_file: usize,
    /// Number of evaluated examples.
    pub examples: usize,
    /// Number of examples with truncated prompts.
    pub truncated: usize,
    /// Solved examples before each example.
    pub num_fewshot: usize,
    /// The rule that matched the user's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_as: Option<String>,
}

/// Settings of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvalSettings {
    /// Examples that went through the model together.
    pub batch_size: usize,
    /// The file of solved examples, if it is not the task's own.
    pub fewshot_file: Option<String>,
    /// Whether prompts begin with BOS; `None` for the tokenizer's default.
    pub add_bos_token: Option<bool>,
    /// How prompts are put together.
    #[serde(default, skip_serializing_if = "PromptStyle::is_plain")]
    pub style: PromptStyle,
    /// Seed of stochastic rounding.
    pub seed: u32,
    /// Number of threads.
    pub threads: usize,
}

/// Timing of a task under a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Name of the task.
    pub task: String,
    /// Name of the configuration.
    pub config: String,
    /// Seconds in the model, over all runs.
    pub seconds: f64,
    /// Examples per second.
    #[serde(with = "float")]
    pub examples_per_second: f64,
    /// How the CPU multiplied, as in `avx512-bf16, integers avx512-vnni`. Results do not depend on
    /// it, except for `amx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<String>,
    /// Energy of the examples of this run; `None` if it was not measured.
    pub energy: Option<ExampleEnergy>,
}

/// Energy of some examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExampleEnergy {
    /// Number of examples.
    pub examples: usize,
    /// Energy of all of them.
    pub energy: Energy,
}

impl EvalRecord {
    /// Examples per second over all tasks; `None` if no time was measured.
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
