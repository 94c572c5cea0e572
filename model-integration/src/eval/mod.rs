//! Evaluation: runs tasks under configurations of one model, and writes the table and the files.
//!
//! | module | contents |
//! |---|---|
//! | [`plan`] | the prompts, their order and their batches |
//! | [`log`] | the log from which an interrupted run resumes |
//! | [`runner`] | runs batch after batch |
//! | [`lm_eval`] | results and samples in lm-evaluation-harness' schema |
//! | [`record`] | the record of the whole run |
//! | [`table`] | the printed table |
//! | [`progress`] | the bar on stderr |
//!
//! # Files
//! Without an output directory nothing is written. With one, it holds
//! - `log/<task>.<config>.jsonl`: every score, written batch by batch. The same command resumes
//!   there; a finished log is not evaluated again.
//! - `results_<config>.json`, and on request `samples_<task>_<config>.jsonl`: the schema of
//!   lm-evaluation-harness, written when a configuration is done.
//! - `run.json`: the record of the whole run, written at its end.

pub mod lm_eval;
pub mod log;
pub mod plan;
pub mod progress;
pub mod record;
pub mod runner;
pub mod table;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use mxlab_harness::record::Environment;

use self::log::{Answered, RunKey, SampleLog};
use self::plan::{Limit, Plan};
use self::progress::Progress;
use self::runner::{Answers, LazyModel, Surroundings};
use crate::config::QuantConfig;
use crate::engine::{Engine, Footprint};
use crate::record::column::Column;
use crate::record::eval::Timing;
use crate::record::result::{MetricResult, TaskResult};
use crate::task::{FewShot, PromptEncoder, PromptStyle, Task};

/// Settings of an evaluation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Examples that go through the model together; at least 1.
    pub batch_size: usize,
    /// How many examples of each task to evaluate; `None` for all.
    pub limit: Option<Limit>,
    /// Solved examples before each example.
    pub fewshot: FewShot,
    /// How prompts are put together.
    pub style: PromptStyle,
    /// Whether a context begins with BOS; `None` for the tokenizer's default.
    pub add_bos_token: Option<bool>,
    /// Seed of stochastic rounding.
    pub seed: u32,
    /// Output directory; `None` for no files.
    pub output: Option<PathBuf>,
    /// Whether existing logs are discarded.
    pub overwrite: bool,
    /// Whether samples are also written in lm-evaluation-harness' schema.
    pub log_samples: bool,
}

/// Tasks, configurations and a model that have been checked against each other.
pub struct Evaluation<'a> {
    engine: &'a dyn Engine,
    tasks: Arc<[(Task, Plan)]>,
    configs: Vec<(QuantConfig, Footprint)>,
    settings: Settings,
}

/// The outcome of an evaluation.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// One result for each finished configuration and task, ordered by configuration.
    pub results: Vec<TaskResult>,
    /// The values of each result's examples, by metric.
    pub columns: Vec<Vec<Column>>,
    /// The timings of each result.
    pub timings: Vec<Timing>,
    /// Whether the run was stopped before its end.
    pub is_interrupted: bool,
}

/// The configurations that the engine supports, and the footprint of each.
fn fitting(
    engine: &dyn Engine,
    configs: Vec<QuantConfig>,
    seed: u32,
) -> Result<Vec<(QuantConfig, Footprint)>> {
    let names = configs.iter().map(|config| config.name.as_str());
    check_unique("configuration", names)?;
    let configs = configs.into_iter().map(|config| {
        let config = config.with_seed(seed);
        let fits = engine.check(&config);
        let fits = fits.and_then(|()| engine.footprint(&config));
        let footprint = fits.with_context(|| format!("configuration `{}`", config.name))?;
        Ok((config, footprint))
    });
    configs.collect()
}

impl<'a> Evaluation<'a> {
    /// Checks the arguments against each other and encodes the prompts; loads no model.
    ///
    /// # Errors
    /// If a name occurs twice, the engine does not support a configuration, or an example cannot be
    /// encoded.
    pub fn new(
        engine: &'a dyn Engine,
        tasks: Vec<Task>,
        configs: Vec<QuantConfig>,
        settings: Settings,
    ) -> Result<Self> {
        ensure!(settings.batch_size > 0, "the batch size is 0");
        check_unique("task", tasks.iter().map(|task| task.name.as_str()))?;
        let configs = fitting(engine, configs, settings.seed)?;
        let encoder = PromptEncoder {
            tokenizer: engine.tokenizer(),
            add_bos_token: settings.add_bos_token,
            max_length: engine.info().max_length,
        };
        let tasks = tasks
            .into_iter()
            .map(|task| {
                let Settings {
                    fewshot,
                    style,
                    limit,
                    batch_size,
                    ..
                } = &settings;
                let plan = Plan::new(&task, &encoder, fewshot, style, *limit, *batch_size)?;
                // A special token that is put before a text may have no row.
                if let Some((prompt, token)) = plan.beyond(engine.vocabulary()) {
                    bail!(
                        "`{}` line {}: its prompt begins with token {token}, but the embedding has \
                         {} rows; the tokenizer's special tokens are not those of this model",
                        task.source,
                        task.examples[prompt.example].line,
                        engine.vocabulary()
                    );
                }
                Ok((task, plan))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            engine,
            tasks,
            configs,
            settings,
        })
    }

    /// The same prompts, already encoded, for other configurations, another seed and another output
    /// directory.
    ///
    /// # Errors
    /// If a name occurs twice or the engine does not support a configuration.
    pub fn of(&self, configs: Vec<QuantConfig>, seed: u32, output: PathBuf) -> Result<Self> {
        Ok(Self {
            engine: self.engine,
            tasks: self.tasks.clone(),
            configs: fitting(self.engine, configs, seed)?,
            settings: Settings {
                seed,
                output: Some(output),
                ..self.settings.clone()
            },
        })
    }

    /// The model.
    pub fn engine(&self) -> &dyn Engine {
        self.engine
    }

    /// Tasks and their prompts.
    pub fn tasks(&self) -> &[(Task, Plan)] {
        &self.tasks
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Number of tokens that go through the model, and of examples.
    pub fn size(&self) -> (u64, usize) {
        let plans = || self.tasks.iter().map(|(_, plan)| plan);
        let tokens: u64 = plans().map(|plan| plan.tokens(plan.order())).sum();
        let examples: usize = plans().map(|plan| plan.prompts.len()).sum();
        let configs = self.configs.len();
        (tokens * configs as u64, examples * configs)
    }

    /// Evaluates every task under every configuration, and writes the files if there is an output
    /// directory. Setting `stop` ends the run after the current batch.
    ///
    /// # Errors
    /// If a model cannot be run or a file cannot be written. Files written before stay.
    pub fn run(&self, stop: &AtomicBool, progress: &dyn Progress) -> Result<Outcome> {
        let environment = Environment::capture();
        let (mut finished, mut is_interrupted) = (Vec::new(), false);
        for (config, _) in &self.configs {
            progress.begin(&config.name);
            match self.run_config(config, stop, progress)? {
                Some(scores) => finished.push(scores),
                None => {
                    is_interrupted = true;
                    break;
                }
            }
            if let (Some(output), Some(scores)) = (&self.settings.output, finished.last()) {
                lm_eval::write(self, output, config, scores, &environment)?;
            }
        }
        progress.end();
        let columns = self.columns(&finished);
        let outcome = Outcome {
            results: self.results(&columns),
            columns: columns.into_iter().flatten().collect(),
            timings: self.timings(&finished),
            is_interrupted,
        };
        if let (Some(output), false) = (&self.settings.output, is_interrupted) {
            let record = record::of(self, &outcome, environment);
            crate::record::write(&output.join("run.json"), &record)?;
        }
        Ok(outcome)
    }

    /// The answers to each task; `None` if the run was stopped.
    fn run_config(
        &self,
        config: &QuantConfig,
        stop: &AtomicBool,
        progress: &dyn Progress,
    ) -> Result<Option<Vec<Answers>>> {
        let mut model = LazyModel::new(|| {
            let model = self.engine.load(config);
            model.with_context(|| format!("configuration `{}`", config.name))
        });
        let meter = self.engine.energy_meter();
        let mut all = Vec::new();
        for (task, plan) in self.tasks.iter() {
            let around = Surroundings {
                meter: meter.as_ref(),
                stop,
                progress,
            };
            let run = match &task.protocol.generation {
                Some(how) => {
                    let (mut log, done) = self.open_log(config, task, plan)?;
                    runner::generate((plan, how), self.engine, config, &mut log, done, &around)
                }
                None => {
                    let (mut log, done) = self.open_log(config, task, plan)?;
                    runner::score(plan, &mut model, &mut log, done, &around)
                }
            };
            match run.with_context(|| format!("task `{}` under `{}`", task.name, config.name))? {
                Some(answers) => all.push(answers),
                None => return Ok(None),
            }
        }
        Ok(Some(all))
    }

    fn open_log<E: Answered>(
        &self,
        config: &QuantConfig,
        task: &Task,
        plan: &Plan,
    ) -> Result<(SampleLog, Vec<E>)> {
        let Some(output) = &self.settings.output else {
            return Ok((SampleLog::none(), Vec::new()));
        };
        let Settings {
            fewshot,
            add_bos_token,
            batch_size,
            overwrite,
            ..
        } = &self.settings;
        let info = self.engine.info();
        let key = RunKey::new(
            info,
            config,
            task,
            plan,
            fewshot,
            *add_bos_token,
            *batch_size,
        );
        let path = log::path(output, &task.name, &config.name);
        SampleLog::open(&path, &key, plan, *overwrite)
    }

    /// The columns of each finished configuration and task.
    fn columns(&self, finished: &[Vec<Answers>]) -> Vec<Vec<Vec<Column>>> {
        let columns = finished.iter().map(|scores| {
            let tasks = self.tasks.iter().zip(scores);
            let columns = tasks.map(|((task, plan), scores)| scores.given.columns(task, plan));
            columns.collect()
        });
        columns.collect()
    }

    fn results(&self, columns: &[Vec<Vec<Column>>]) -> Vec<TaskResult> {
        let configs = || self.configs.iter().zip(columns);
        let baseline = configs().find(|((config, _), _)| config.is_unquantised());
        let mut results = Vec::new();
        for ((config, footprint), columns) in configs() {
            for (index, (task, plan)) in self.tasks.iter().enumerate() {
                let baseline = baseline.filter(|_| !config.is_unquantised());
                let metrics = columns[index].iter().enumerate().map(|(metric, column)| {
                    let base = baseline.map(|(_, columns)| &columns[index][metric]);
                    MetricResult::new(column, base)
                });
                results.push(TaskResult {
                    task: task.name.clone(),
                    config: config.name.clone(),
                    description: self.engine.info().describe(config),
                    operands: config.operands(),
                    examples: plan.count(),
                    truncated: plan.truncated(),
                    metrics: metrics.collect(),
                    baseline: baseline.map(|((baseline, _), _)| baseline.name.clone()),
                    kv_bits: footprint.kv_bits(plan.cached()),
                    footprint: footprint.clone(),
                });
            }
        }
        results
    }

    fn timings(&self, finished: &[Vec<Answers>]) -> Vec<Timing> {
        let mut timings = Vec::new();
        for ((config, _), scores) in self.configs.iter().zip(finished) {
            for ((task, plan), scores) in self.tasks.iter().zip(scores) {
                timings.push(Timing {
                    task: task.name.clone(),
                    config: config.name.clone(),
                    seconds: scores.seconds,
                    examples_per_second: plan.count() as f64 / scores.seconds,
                    paths: self.engine.paths(),
                    energy: scores.energy,
                });
            }
        }
        timings
    }
}

fn check_unique<'n>(what: &str, names: impl Iterator<Item = &'n str>) -> Result<()> {
    // Names become file names, and some file systems ignore case.
    let mut seen = HashSet::new();
    for name in names {
        let is_new = seen.insert(name.to_ascii_lowercase());
        ensure!(is_new, "{what} `{name}` is given twice");
    }
    ensure!(!seen.is_empty(), "no {what} is given");
    Ok(())
}
