//! The record of planted faults.

use mxlab_fuzz::mutation::Score;
use mxlab_harness::record::Environment;
use serde::{Deserialize, Serialize};

/// Planted faults, and which of them verification caught.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MutateRecord {
    /// Machine, build, command.
    pub environment: Environment,
    /// Seed of the sample and the problems.
    pub seed: u64,
    /// Problems that each mutant was run on.
    pub problems: u32,
    /// Approximate number of elements of a problem.
    pub problem_size: usize,
    /// Each kernel's mutants.
    pub kernels: Vec<Score>,
}
