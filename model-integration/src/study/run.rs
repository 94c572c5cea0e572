//! Runs cell after cell.

use std::cell::{OnceCell, RefCell};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use mxlab_harness::shard::Shard;
use mxlab_kernels::format::FloatType;

use super::calibrated::Job;
use super::cell::{Cell, Work};
use super::expand::{self, StudyConfig};
use super::folder::{cell_path, find, freeze, record_path};
use super::score::{Opened, Scored};
use super::serving::Servers;
use super::variant::{Variant, variants};
use super::{Study, search, speed};
use crate::checkpoint::Checkpoint;
use crate::engine::Engine;
use crate::eval::progress::Progress;
use crate::record::study::CellRecord;
use crate::task::Task;

/// How models and tasks are opened.
pub struct Sources<'a> {
    /// Opens a checkpoint by directory or name.
    pub checkpoint: &'a dyn Fn(&str) -> Result<Checkpoint>,
    /// Makes the engine of a checkpoint, with this type of arithmetic or the default.
    pub engine: &'a dyn Fn(Checkpoint, Option<FloatType>) -> Result<Box<dyn Engine>>,
    /// Opens a task by file or name.
    pub task: &'a dyn Fn(&str) -> Result<Task>,
    /// The command that serves a model, for configurations and a port of its own.
    pub server: &'a dyn Fn(&Variant) -> Result<Command>,
    /// This program's command of a name that reads text, with the threads and the type of a model.
    pub text_command: &'a dyn Fn(&str, &Variant) -> Result<Command>,
}

impl Sources<'_> {
    /// Chooses the codes of a cell's model, and opens it; `None` if `stop` was set before.
    ///
    /// # Errors
    /// As [`Job::run`]; if the model cannot be opened.
    pub fn calibrated(
        &self,
        study: &Study,
        variant: &Variant,
        (output, cell): (&Path, &Cell),
        stop: &AtomicBool,
    ) -> Result<Option<Opened>> {
        let folder = cell_path(output, &cell.id());
        let calibrate = study.file.calibrate.get(&cell.config.group);
        let job = Job {
            model: &variant.model,
            config: &cell.config.config,
            calibrate: calibrate.context("checked")?,
            calibration: study.file.calibration.as_ref().context("checked")?,
            folder: &folder,
            command: &|name| (self.text_command)(name, variant),
        };
        let Some(made) = job.run(stop)? else {
            return Ok(None);
        };
        let model = folder.join("model");
        let name = model.to_str().context("a path in UTF-8")?;
        let checkpoint = (self.checkpoint)(name)?.with_label(variant.label());
        let engine = (self.engine)(checkpoint, variant.dtype)?;
        Ok(Some(Opened { made, engine }))
    }
}

/// A model of a study, and all work on it.
pub struct ModelPlan {
    /// Its directory or name, and how it is run.
    pub variant: Variant,
    /// The engine that runs it.
    pub engine: Box<dyn Engine>,
    /// Its checkpoint.
    pub checkpoint: Checkpoint,
    /// Its cells, without searches.
    pub cells: Vec<Cell>,
    /// Messages about what does not fit the model.
    pub unfit: Vec<String>,
}

/// The summary of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Cells that were finished before.
    pub before: usize,
    /// Cells that this run finished.
    pub now: usize,
    /// Whether it was stopped before its end.
    pub is_interrupted: bool,
    /// Whether searches still wait for the records of all shards.
    pub searches_wait: bool,
    /// Messages about what was left out because it does not fit a model.
    pub unfit: Vec<String>,
}

impl ModelPlan {
    /// Opens a model, and checks that configurations and workloads fit it. A workload that is too
    /// long is left out with a message; anything else that does not fit is an error.
    ///
    /// # Errors
    /// If the model cannot be opened, or a configuration does not fit it.
    pub fn new(study: &Study, variant: &Variant, sources: &Sources) -> Result<Self> {
        let label = variant.label();
        let of_model = || format!("model `{label}`");
        let open = || {
            let opened = (sources.checkpoint)(&variant.model).with_context(of_model)?;
            anyhow::Ok(match label == variant.model {
                true => opened,
                false => opened.with_label(label.clone()),
            })
        };
        let (checkpoint, again) = (open()?, open()?);
        let layers = checkpoint.config().num_hidden_layers;
        let engine = (sources.engine)(again, variant.dtype).with_context(of_model)?;
        let configs = expand::configs(study, layers).with_context(|| study.name.clone())?;
        for StudyConfig { config, .. } in &configs {
            let fits = engine
                .check(config)
                .and_then(|()| engine.footprint(config).map(drop));
            fits.with_context(|| format!("configuration `{}`", config.name))
                .with_context(of_model)?;
        }
        let mut plan = Self {
            variant: variant.clone(),
            engine,
            checkpoint,
            cells: Vec::new(),
            unfit: Vec::new(),
        };
        plan.add_scores(study, &configs);
        plan.add_generations(study, &configs);
        plan.add_serving(study, &configs);
        Ok(plan)
    }

    fn add_scores(&mut self, study: &Study, configs: &[StudyConfig]) {
        if !self.variant.is_scored || study.file.tasks.is_empty() {
            return;
        }
        let seeds = &study.file.seeds;
        let seeded = |config: &StudyConfig, seed| config.config.clone().with_seed(seed);
        for config in configs {
            for &seed in seeds {
                // Cells that do not depend on the seed are scored once.
                if seed == seeds[0] || seeded(config, seed) != seeded(config, seeds[0]) {
                    self.cells.push(Cell {
                        model: self.variant.label(),
                        config: config.clone(),
                        work: Work::Score { seed },
                    });
                }
            }
        }
    }

    fn add_generations(&mut self, study: &Study, configs: &[StudyConfig]) {
        let Some(workload) = &study.file.workload else {
            return;
        };
        if !workload.models.is_empty() && !workload.models.contains(&self.variant.model) {
            return;
        }
        for &prompt in &workload.prompt {
            for &output in &workload.output {
                if let Err(error) = speed::check(&*self.engine, prompt, output) {
                    self.unfit.push(format!(
                        "{}: {prompt}x{output}: {error:#}",
                        self.variant.label()
                    ));
                    continue;
                }
                self.cells.extend(configs.iter().map(|config| Cell {
                    model: self.variant.label(),
                    config: config.clone(),
                    work: Work::Generate { prompt, output },
                }));
            }
        }
    }

    fn add_serving(&mut self, study: &Study, configs: &[StudyConfig]) {
        let Some(serving) = &study.file.serving else {
            return;
        };
        if let Err(error) = speed::check(&*self.engine, serving.prompt, serving.output) {
            let (label, size) = (self.variant.label(), (serving.prompt, serving.output));
            let (prompt, output) = size;
            self.unfit
                .push(format!("{label}: serving {prompt}x{output}: {error:#}"));
            return;
        }
        for config in configs {
            let levels = serving.concurrency.iter().enumerate();
            self.cells.extend(levels.map(|(number, &concurrency)| Cell {
                model: self.variant.label(),
                config: config.clone(),
                work: Work::Serve {
                    number,
                    concurrency,
                },
            }));
        }
    }

    /// The cells of a shard.
    pub fn shard(&self, shard: Shard) -> impl Iterator<Item = &Cell> {
        let numbered = self.cells.iter().enumerate();
        numbered
            .filter(move |(number, _)| shard.has(*number))
            .map(|(_, cell)| cell)
    }

    /// The names of all cells and searches, without the steps of searches.
    pub fn ids(&self, study: &Study) -> Vec<String> {
        let searches = study.file.search.iter().flat_map(|search| {
            let seeds = study.file.seeds.iter();
            seeds.map(|&seed| search::id(&self.variant.label(), seed, search))
        });
        self.cells.iter().map(Cell::id).chain(searches).collect()
    }

    /// Number of parts that a search decides on, which is about the largest number of steps.
    pub fn search_steps(&self, study: &Study) -> usize {
        let Some(search) = &study.file.search else {
            return 0;
        };
        let of_search = |cell: &&Cell| cell.config.group == search.config;
        self.cells.iter().filter(of_search).count()
    }
}

/// Runs the unfinished cells of a shard; for a whole study its searches, too.
///
/// # Errors
/// If something does not fit, a model cannot be run, or a file cannot be read or written. Files
/// written before stay.
pub fn run(
    study: &Study,
    sources: &Sources,
    (output, shard): (&Path, Shard),
    stop: &AtomicBool,
    watch: &dyn Fn(u64, usize) -> Box<dyn Progress>,
) -> Result<Summary> {
    freeze(&study.frozen, output)?;
    let tasks = study.file.tasks.iter();
    let tasks: Vec<Task> = tasks
        .map(|name| (sources.task)(name))
        .collect::<Result<_>>()?;
    let mut summary = Summary::default();
    for variant in variants(study) {
        let plan = ModelPlan::new(study, &variant, sources)?;
        summary.unfit.extend(plan.unfit.iter().cloned());
        let calibrated = |cell: &Cell, stop: &AtomicBool| {
            sources.calibrated(study, &variant, (output, cell), stop)
        };
        let runner = Runner {
            study,
            plan: &plan,
            scored: Scored {
                study,
                engine: &*plan.engine,
                checkpoint: &plan.checkpoint,
                tasks: &tasks,
                add_bos_token: variant.add_bos_token,
                output,
                prompts: OnceCell::new(),
                calibrated: &calibrated,
            },
            servers: RefCell::new(Servers::new(study, &plan, sources)),
            stop,
        };
        runner.run(shard, &mut summary, watch)?;
        if summary.is_interrupted {
            break;
        }
    }
    Ok(summary)
}

struct Runner<'a> {
    study: &'a Study,
    plan: &'a ModelPlan,
    scored: Scored<'a>,
    servers: RefCell<Servers<'a>>,
    stop: &'a AtomicBool,
}

impl Runner<'_> {
    fn run(
        &self,
        shard: Shard,
        summary: &mut Summary,
        watch: &dyn Fn(u64, usize) -> Box<dyn Progress>,
    ) -> Result<()> {
        let cells: Vec<&Cell> = self.plan.shard(shard).collect();
        let mut left = Vec::new();
        for cell in cells {
            match find(self.scored.output, &cell.id(), &self.study.frozen)? {
                Some(_) => summary.before += 1,
                None => left.push(cell),
            }
        }
        let progress = self.progress(&left, shard, watch)?;
        for cell in left {
            progress.begin(&cell.config.config.name);
            if self.work(cell, &*progress)?.is_none() {
                summary.is_interrupted = true;
                break;
            }
            summary.now += 1;
        }
        if let (Some(search), false) = (&self.study.file.search, summary.is_interrupted) {
            match shard.is_whole() {
                true => self.search(search, summary, &*progress)?,
                false => summary.searches_wait = true,
            }
        }
        progress.end();
        Ok(())
    }

    fn progress(
        &self,
        left: &[&Cell],
        shard: Shard,
        watch: &dyn Fn(u64, usize) -> Box<dyn Progress>,
    ) -> Result<Box<dyn Progress>> {
        let is_score = |cell: &&&Cell| matches!(cell.work, Work::Score { .. });
        let mut scores = left.iter().filter(is_score).count();
        if shard.is_whole() && scores > 0 {
            scores += self.plan.search_steps(self.study);
        }
        let Some(first) = left
            .iter()
            .find(|cell| matches!(cell.work, Work::Score { .. }))
        else {
            return Ok(watch(0, 0));
        };
        let evaluation = self.scored.evaluation(&first.config, 0, &first.id())?;
        let (tokens, examples) = evaluation.size();
        Ok(watch(tokens * scores as u64, examples * scores))
    }

    fn work(&self, cell: &Cell, progress: &dyn Progress) -> Result<Option<CellRecord>> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match cell.work {
            Work::Score { seed } => self.scored.score(cell, seed, self.stop, &Within(progress)),
            Work::Generate { prompt, output } => speed::time(
                self.study,
                &*self.plan.engine,
                self.scored.output,
                cell,
                [prompt, output],
                self.stop,
            ),
            Work::Serve {
                number,
                concurrency,
            } => {
                let mut servers = self.servers.borrow_mut();
                servers.measure(self.scored.output, cell, (number, concurrency), self.stop)
            }
        }
        .with_context(|| format!("cell {}", cell.id()))
    }

    fn search(
        &self,
        search: &super::file::Search,
        summary: &mut Summary,
        progress: &dyn Progress,
    ) -> Result<()> {
        let output = self.scored.output;
        for &seed in &self.study.file.seeds {
            let id = search::id(&self.plan.variant.label(), seed, search);
            if find(output, &id, &self.study.frozen)?.is_some() {
                summary.before += 1;
                continue;
            }
            let mut now = 0;
            let found = search::run(
                &self.scored,
                search,
                seed,
                (&self.plan.cells, output),
                &mut |cell| {
                    now += 1;
                    self.work(cell, progress)
                },
            );
            let found = found.with_context(|| format!("search {id}"))?;
            summary.now += now;
            match found {
                Some(record) => record.write(&record_path(output, &id))?,
                None => {
                    summary.is_interrupted = true;
                    return Ok(());
                }
            }
            summary.now += 1;
        }
        Ok(())
    }
}

/// The progress of a cell as part of the study's; the end of the cell does not end it.
struct Within<'a>(&'a dyn Progress);

impl Progress for Within<'_> {
    fn begin(&self, label: &str) {
        self.0.begin(label);
    }

    fn advance(&self, tokens: u64, examples: usize) {
        self.0.advance(tokens, examples);
    }

    fn end(&self) {}
}
