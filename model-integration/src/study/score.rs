//! Scores the tasks of a cell.

use std::cell::OnceCell;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};

use super::calibrated::{self, Made};
use super::cell::Cell;
use super::expand::StudyConfig;
use super::folder::{cell_path, record_path};
use super::{Study, weights};
use crate::checkpoint::Checkpoint;
use crate::config::QuantConfig;
use crate::engine::Engine;
use crate::eval::progress::Progress;
use crate::eval::{Evaluation, Outcome, Settings};
use crate::record::column::Column;
use crate::record::study::{CellRecord, Head, ScoreRecord, TaskScores};
use crate::task::metric::Unit;
use crate::task::{FewShot, PromptStyle, Task};

/// A model of a study, ready to score.
pub struct Scored<'a> {
    /// The study.
    pub study: &'a Study,
    /// The model.
    pub engine: &'a dyn Engine,
    /// Its checkpoint.
    pub checkpoint: &'a Checkpoint,
    /// Its tasks.
    pub tasks: &'a [Task],
    /// Whether contexts begin with BOS; `None` for the tokenizer's default.
    pub add_bos_token: Option<bool>,
    /// Output directory.
    pub output: &'a Path,
    /// Their prompts, encoded once for all cells.
    pub prompts: OnceCell<Evaluation<'a>>,
    /// Opens models whose codes the study chooses.
    pub calibrated: &'a dyn Fn(&Cell, &AtomicBool) -> Result<Option<Opened>>,
}

/// A model with codes of its own.
pub struct Opened {
    /// What was made.
    pub made: Made,
    /// The engine that runs it.
    pub engine: Box<dyn Engine>,
}

impl<'a> Scored<'a> {
    /// Checks everything before any work.
    ///
    /// # Errors
    /// As [`Evaluation::new`].
    pub fn evaluation(
        &self,
        config: &StudyConfig,
        seed: u32,
        cell: &str,
    ) -> Result<Evaluation<'a>> {
        let output = cell_path(self.output, cell);
        let configs = vec![config.config.clone()];
        if let Some(prompts) = self.prompts.get() {
            return prompts.of(configs, seed, output);
        }
        let prompts = self.prompts_of(self.engine, config.config.clone(), seed)?;
        self.prompts
            .get_or_init(|| prompts)
            .of(configs, seed, output)
    }

    /// Tasks encoded for an engine.
    fn prompts_of<'e>(
        &self,
        engine: &'e dyn Engine,
        config: QuantConfig,
        seed: u32,
    ) -> Result<Evaluation<'e>> {
        let settings = Settings {
            batch_size: self.study.frozen.changes.batch_size,
            limit: self.study.limit,
            fewshot: FewShot::default(),
            style: PromptStyle::default(),
            add_bos_token: self.add_bos_token,
            seed,
            output: None,
            overwrite: false,
            log_samples: false,
        };
        Evaluation::new(engine, self.tasks.to_vec(), vec![config], settings)
    }

    /// Scores a cell and writes its record; `None` if it was stopped.
    ///
    /// # Errors
    /// If the model cannot be run or a file cannot be written.
    pub fn score(
        &self,
        cell: &Cell,
        seed: u32,
        stop: &AtomicBool,
        progress: &dyn Progress,
    ) -> Result<Option<CellRecord>> {
        let id = cell.id();
        if self.study.file.calibrate.contains_key(&cell.config.group) {
            return self.score_calibrated(cell, seed, stop, progress);
        }
        let evaluation = self.evaluation(&cell.config, seed, &id)?;
        let outcome = evaluation.run(stop, progress)?;
        if outcome.is_interrupted {
            return Ok(None);
        }
        let weight_error = match self.study.file.weight_error {
            true => {
                let dtype = self.engine.info().dtype.parse();
                let dtype = dtype.map_err(anyhow::Error::msg).context("`dtype`")?;
                weights::errors(self.checkpoint, dtype, &cell.config.config)?
            }
            false => None,
        };
        let record = ScoreRecord {
            head: head(self.study, self.engine, &cell.config)?,
            seed,
            calibration: None,
            weight_error,
            tasks: self.scores(outcome),
        };
        Ok(Some(self.keep(&id, record)?))
    }

    /// The same for a model whose codes are chosen first.
    fn score_calibrated(
        &self,
        cell: &Cell,
        seed: u32,
        stop: &AtomicBool,
        progress: &dyn Progress,
    ) -> Result<Option<CellRecord>> {
        let id = cell.id();
        let Some(Opened { made, engine }) = (self.calibrated)(cell, stop)? else {
            return Ok(None);
        };
        // Weights and inputs are as the model has them.
        let stored = QuantConfig {
            keys: made.config.keys,
            values: made.config.values,
            kv: made.config.kv,
            head_activations: made.config.head_activations,
            ..QuantConfig::unquantised(&made.config.name)
        };
        let folder = cell_path(self.output, &id);
        let prompts = self.prompts_of(&*engine, stored.clone(), seed)?;
        let evaluation = prompts.of(vec![stored.clone()], seed, folder.clone())?;
        let outcome = evaluation.run(stop, progress)?;
        if outcome.is_interrupted {
            return Ok(None);
        }
        let config = StudyConfig {
            config: made.config,
            ..cell.config.clone()
        };
        let record = ScoreRecord {
            head: Head {
                description: format!(
                    "{}; {}",
                    config.config.describe(),
                    [&["codes calibrated".to_owned()][..], &made.how.flags]
                        .concat()
                        .join(" ")
                ),
                footprint: engine.footprint(&stored)?,
                ..head(self.study, self.engine, &config)?
            },
            seed,
            calibration: Some(made.how),
            weight_error: None,
            tasks: self.scores(outcome),
        };
        let record = self.keep(&id, record)?;
        calibrated::remove_model(&folder)?;
        Ok(Some(record))
    }

    fn keep(&self, id: &str, record: ScoreRecord) -> Result<CellRecord> {
        let record = CellRecord::Score(Box::new(record));
        record.write(&record_path(self.output, id))?;
        Ok(record)
    }

    fn scores(&self, outcome: Outcome) -> Vec<TaskScores> {
        let results = outcome.results.into_iter().zip(outcome.columns);
        let each = results
            .zip(self.tasks)
            .map(|((result, columns), task)| TaskScores {
                sha256: task.sha256.clone(),
                result,
                columns: columns.into_iter().filter(is_kept).collect(),
            });
        each.collect()
    }
}

/// Perplexities are dropped, because they have the values of log-likelihoods.
fn is_kept(column: &Column) -> bool {
    column.metric.unit != Unit::Perplexity
}

/// The head of a configuration's records.
///
/// # Errors
/// If the engine cannot compute the footprint.
pub fn head(study: &Study, engine: &dyn Engine, config: &StudyConfig) -> Result<Head> {
    let StudyConfig {
        config,
        group,
        at,
        number,
    } = config;
    Ok(Head {
        study: study.name.clone(),
        hash: study.frozen.hash.clone(),
        model: engine.info().clone(),
        name: config.name.clone(),
        group: group.clone(),
        at: at.clone(),
        number: *number,
        description: engine.info().describe(config),
        operands: config.operands(),
        config: config.clone(),
        footprint: engine.footprint(config)?,
    })
}
