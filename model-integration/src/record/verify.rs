//! The record of a campaign of verification.

use std::path::PathBuf;

use clap::ValueEnum;
use mxlab_harness::device::Properties;
use mxlab_harness::record::Environment;
use serde::{Deserialize, Serialize};

/// What a campaign covered and found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerifyRecord {
    /// Machine, build, command.
    pub environment: Environment,
    /// What the kernels ran on.
    pub device: Properties,
    /// What was selected.
    pub selection: Selection,
    /// Which part of it, as in `1/3`.
    pub shard: String,
    /// Chose the problems.
    pub seed: u64,
    /// About how many elements a problem had.
    pub problem_size: usize,
    /// Processes.
    pub workers: usize,
    /// Of this run; an earlier one that it goes on from is not counted.
    pub seconds: f64,
    /// How it ended: `finished`, `time is up`, `interrupted`, `failed: ...`; `running` while it
    /// goes.
    pub end: String,
    /// Counts by family.
    pub families: Vec<Family>,
    /// Where the machine code of the kernels came from.
    pub code: MachineCode,
    /// Kernels that this chip does not run.
    pub for_other_chips: usize,
    /// Kernels that are not right.
    pub findings: Vec<Found>,
    /// What was selected and not reached. All other jobs without a finding are right.
    pub not_run: Vec<String>,
}

/// What the jobs of a campaign are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Patterns of ids; without any, all.
    pub patterns: Vec<String>,
    /// PTX files, or folders of them, whose kernels are taken in place of the registry's.
    pub ptx: Vec<PathBuf>,
    /// Every so many of the kernels in the order of the registry.
    pub every: usize,
    /// Rows of the conformance suite instead, whose ids match a pattern.
    pub instructions: bool,
    /// Faults on purpose instead.
    pub faults: Option<Faults>,
}

/// Faults on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Faults {
    /// An illegal address and a failed allocation
    Memory,
    /// A kernel that hangs for about half a minute
    Hang,
}

/// Where the machine code of the kernels came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineCode {
    /// The images that were given.
    pub images: Option<ImagesOf>,
    /// Kernels that were loaded from them.
    pub from_images: u64,
    /// Kernels whose PTX the device was given: without images all of them,
    pub from_ptx: u64,
    /// with images these, and why.
    pub from_ptx_although_images: Vec<(String, String)>,
}

/// A folder of images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as the index of images has them")]
pub struct ImagesOf {
    pub folder: String,
    pub chip: String,
    pub cuda: u32,
    pub kernels: usize,
}

/// Kernels of a family, and what was compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// Kernels with a verdict: the sum of the next four.
    pub kernels: u64,
    /// Kernels that are right.
    pub right: u64,
    /// Kernels that are wrong.
    pub wrong: u64,
    /// Kernels whose text the device does not take.
    pub refused: u64,
    /// Kernels that the device or the worker did not survive.
    pub crashed: u64,
    /// Kernels that were not reached.
    pub not_run: u64,
    /// Problems.
    pub problems: u64,
    /// Elements of those problems.
    pub elements: u64,
}

/// A kernel that is not right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The kernel.
    pub kernel: String,
    /// Its family.
    pub family: String,
    /// `wrong`, `refused` or `crashed`.
    pub verdict: String,
    /// How.
    pub failure: String,
    /// The seed of the problem that showed it, where there is one.
    pub seed: Option<u64>,
}
