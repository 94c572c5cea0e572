//! The record of planted faults.

use mxlab_fuzz::mutation::Score;
use mxlab_harness::record::Environment;
use serde::{Deserialize, Serialize};

/// Which planted faults verification caught.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MutateRecord {
    /// Machine, build, command.
    pub environment: Environment,
    /// Chose the sample and the problems.
    pub seed: u64,
    /// Problems that a mutant had to survive.
    pub problems: u32,
    /// About how many elements a problem had.
    pub problem_size: usize,
    /// Each kernel's mutants.
    pub kernels: Vec<Score>,
}
