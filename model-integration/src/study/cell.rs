//! The units of work of a study.

use super::expand::{BASELINE, StudyConfig};
use crate::file_name::file_name;

/// A model, a configuration, and the work to do with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The model.
    pub model: String,
    /// The configuration.
    pub config: StudyConfig,
    /// The work.
    pub work: Work,
}

/// The work of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Score every task.
    Score {
        /// Seed of stochastic rounding.
        seed: u32,
    },
    /// Time a generation.
    Generate {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the continuation.
        output: usize,
    },
    /// Put load on a server.
    Serve {
        /// Its index among the study's levels.
        number: usize,
        /// Requests in flight.
        concurrency: usize,
    },
}

impl Cell {
    /// Its name in file names.
    pub fn id(&self) -> String {
        let (model, config) = (file_name(&self.model), &self.config.config.name);
        match self.work {
            Work::Score { seed } => format!("score.{model}.{seed}.{config}"),
            Work::Generate { prompt, output } => {
                format!("speed.{model}.{prompt}x{output}.{config}")
            }
            Work::Serve { concurrency, .. } => format!("serving.{model}.{concurrency}.{config}"),
        }
    }

    /// Whether it scores or times the unquantised model.
    pub fn is_baseline(&self) -> bool {
        self.config.config.name == BASELINE
    }
}
