//! The record of a whole run, `run.json`.

use std::path::Path;

use anyhow::{Context, Result};
use mxlab_harness::record::{Environment, write_atomic};
use serde::{Deserialize, Serialize};

use super::result::TaskResult;
use super::runner::ExampleEnergy;
use super::{Evaluation, Outcome};
use crate::config::QuantConfig;
use crate::engine::ModelInfo;

/// Version of the schema of `run.json`; a change that breaks readers raises it.
pub const SCHEMA_VERSION: u32 = 2;

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
    pub examples_per_second: f64,
    /// Of the examples that this run evaluated; `None` is not measured.
    pub energy: Option<ExampleEnergy>,
}

/// Everything of a run. `model`, `configs`, `tasks`, `settings` and `results` are the same
/// whether it was interrupted or not; `environment` and `timings` are its own.
#[derive(Serialize)]
struct RunRecord<'a> {
    schema_version: u32,
    kind: &'static str,
    environment: Environment,
    model: &'a ModelInfo,
    configs: Vec<&'a QuantConfig>,
    tasks: Vec<TaskRecord<'a>>,
    settings: SettingsRecord,
    results: &'a [TaskResult],
    timings: &'a [Timing],
}

#[derive(Serialize)]
struct TaskRecord<'a> {
    name: &'a str,
    source: &'a str,
    sha256: &'a str,
    examples_in_file: usize,
    examples: usize,
    truncated: usize,
    num_fewshot: usize,
    /// The rule by which a file of the user's was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    read_as: Option<&'a str>,
}

#[derive(Serialize)]
struct SettingsRecord {
    batch_size: usize,
    fewshot_file: Option<String>,
    add_bos_token: Option<bool>,
    seed: u32,
    threads: usize,
}

pub(super) fn write(
    evaluation: &Evaluation,
    output: &Path,
    outcome: &Outcome,
    environment: Environment,
) -> Result<()> {
    let settings = &evaluation.settings;
    let tasks = evaluation.tasks.iter().map(|(task, plan)| TaskRecord {
        name: &task.name,
        source: &task.source,
        sha256: &task.sha256,
        examples_in_file: task.examples.len(),
        examples: plan.count(),
        truncated: plan.truncated(),
        num_fewshot: settings.fewshot.count(task),
        read_as: task.read_as.as_deref(),
    });
    let record = RunRecord {
        schema_version: SCHEMA_VERSION,
        kind: "eval",
        environment,
        model: evaluation.engine.info(),
        configs: evaluation
            .configs
            .iter()
            .map(|(config, _)| config)
            .collect(),
        tasks: tasks.collect(),
        settings: SettingsRecord {
            batch_size: settings.batch_size,
            fewshot_file: settings
                .fewshot
                .pool
                .as_ref()
                .map(|pool| pool.source.clone()),
            add_bos_token: settings.add_bos_token,
            seed: settings.seed,
            threads: rayon::current_num_threads(),
        },
        results: &outcome.results,
        timings: &outcome.timings,
    };
    let mut json = serde_json::to_string_pretty(&record).context("a record is plain data")?;
    json.push('\n');
    Ok(write_atomic(&output.join("run.json"), json.as_bytes())?)
}
