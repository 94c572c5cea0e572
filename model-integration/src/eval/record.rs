//! The record of a whole run, `run.json`.

use mxlab_harness::record::Environment;

use super::{Evaluation, Outcome};
use crate::record::eval::{EvalRecord, EvalSettings, EvaluatedTask};

/// The record of a completed evaluation.
pub(super) fn of(
    evaluation: &Evaluation,
    outcome: &Outcome,
    environment: Environment,
) -> EvalRecord {
    let settings = &evaluation.settings;
    let tasks = evaluation.tasks.iter().map(|(task, plan)| EvaluatedTask {
        name: task.name.clone(),
        source: task.source.clone(),
        sha256: task.sha256.clone(),
        examples_in_file: task.examples.len(),
        examples: plan.count(),
        truncated: plan.truncated(),
        num_fewshot: settings.fewshot.count(task),
        read_as: task.read_as.clone(),
    });
    let configs = evaluation.configs.iter();
    EvalRecord {
        environment,
        model: evaluation.engine.info().clone(),
        configs: configs.map(|(config, _)| config.clone()).collect(),
        tasks: tasks.collect(),
        settings: EvalSettings {
            batch_size: settings.batch_size,
            fewshot_file: settings
                .fewshot
                .pool
                .as_ref()
                .map(|pool| pool.source.clone()),
            add_bos_token: settings.add_bos_token,
            style: settings.style.clone(),
            seed: settings.seed,
            threads: rayon::current_num_threads(),
        },
        results: outcome.results.clone(),
        timings: outcome.timings.clone(),
    }
}
