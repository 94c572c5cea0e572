//! The record of a verification campaign.

use std::path::PathBuf;

use clap::ValueEnum;
use mxlab_harness::device::Properties;
use mxlab_harness::record::Environment;
use serde::{Deserialize, Serialize};

/// Coverage and findings of a campaign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerifyRecord {
    /// Machine, build, command.
    pub environment: Environment,
    /// The device that ran the kernels.
    pub device: Properties,
    /// The selected jobs.
    pub selection: Selection,
    /// The shard, such as `1/3`.
    pub shard: String,
    /// Seed of the problems.
    pub seed: u64,
    /// Approximate number of elements of a problem.
    pub problem_size: usize,
    /// Number of worker processes.
    pub workers: usize,
    /// Seconds of this run; those of an earlier, resumed run are not included.
    pub seconds: f64,
    /// How it ended: `finished`, `time is up`, `interrupted`, `failed: ...`; or `running`.
    pub end: String,
    /// Counts by family.
    pub families: Vec<Family>,
    /// Origins of the kernels' machine code.
    pub code: MachineCode,
    /// Number of kernels that this chip cannot run.
    pub for_other_chips: usize,
    /// Kernels without the verdict `right`.
    pub findings: Vec<Found>,
    /// Selected jobs that were not reached. All other jobs without a finding are right.
    pub not_run: Vec<String>,
}

/// The jobs of a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Patterns of ids; an empty list selects all.
    pub patterns: Vec<String>,
    /// PTX files, or folders of them, whose kernels replace those of the registry.
    pub ptx: Vec<PathBuf>,
    /// Only every Nth kernel, in the order of the registry.
    pub every: usize,
    /// Rows of the conformance suite instead; patterns select them, too.
    pub instructions: bool,
    /// Deliberate faults instead.
    pub faults: Option<Faults>,
}

/// Deliberate faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Faults {
    /// An illegal address and a failed allocation
    Memory,
    /// A kernel that hangs for about half a minute
    Hang,
}

/// Origins of the kernels' machine code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineCode {
    /// The images, if any were given.
    pub images: Option<ImagesOf>,
    /// Number of kernels loaded from images.
    pub from_images: u64,
    /// Number of kernels compiled from PTX: without images all of them,
    pub from_ptx: u64,
    /// with images those listed here, with the reason.
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

/// Counts of a family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// Kernels with a verdict, the sum of the next four counts.
    pub kernels: u64,
    /// Kernels that are right.
    pub right: u64,
    /// Kernels that are wrong.
    pub wrong: u64,
    /// Kernels whose PTX the device refused.
    pub refused: u64,
    /// Kernels that crashed the device or the worker.
    pub crashed: u64,
    /// Kernels that were not reached.
    pub not_run: u64,
    /// Problems.
    pub problems: u64,
    /// Elements of all problems.
    pub elements: u64,
}

/// A kernel without the verdict `right`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The kernel.
    pub kernel: String,
    /// Its family.
    pub family: String,
    /// `wrong`, `refused` or `crashed`.
    pub verdict: String,
    /// What went wrong.
    pub failure: String,
    /// Seed of the failing problem, if there is one.
    pub seed: Option<u64>,
}
