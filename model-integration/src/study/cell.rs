//! The units of work of a study.

use super::expand::{BASELINE, StudyConfig};
use crate::file_name::file_name;

/// What is done of a configuration of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The model.
    pub model: String,
    /// The configuration.
    pub config: StudyConfig,
    /// What.
    pub work: Work,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Every task is scored.
    Score {
        /// Of stochastic rounding.
        seed: u32,
    },
    /// A generation is timed.
    Generate {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that follow.
        output: usize,
    },
}

impl Cell {
    /// Its name in the names of files.
    pub fn id(&self) -> String {
        let (model, config) = (file_name(&self.model), &self.config.config.name);
        match self.work {
            Work::Score { seed } => format!("score.{model}.{seed}.{config}"),
            Work::Generate { prompt, output } => {
                format!("speed.{model}.{prompt}x{output}.{config}")
            }
        }
    }

    /// Whether it is of the unquantised model.
    pub fn is_baseline(&self) -> bool {
        self.config.config.name == BASELINE
    }
}
