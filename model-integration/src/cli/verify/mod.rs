//! `mxlab verify`: kernels against the scalar reference, or everything against golden vectors.

mod campaign;
mod golden;
mod jobs;
mod record;
mod replay;
mod worker;

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use mxlab_harness::device::{
    Device, DeviceChoice, DeviceError, DeviceOptions, EmulatorOptions, Images,
};
use mxlab_harness::shard::Shard;
use serde::{Deserialize, Serialize};

use super::Done;
use super::images::ImagesArgs;
use super::output::Usage;

pub use jobs::{chosen, of_file};

/// Run every PTX kernel on random problems and compare each byte with the scalar reference (any NaN
/// is equal to any other); or compare every kernel with a folder of golden vectors
#[derive(Args)]
pub struct VerifyArgs {
    /// Only kernels whose id matches, such as 'quantize_fp4_*'
    #[arg(long, value_name = "GLOB")]
    kernel: Vec<glob::Pattern>,
    /// Verify the kernels of this PTX file, or of the files `*.ptx` of this folder, in place of the
    /// registry's kernels of the same names; `mxlab list --save-ptx` writes such files
    #[arg(long, value_name = "PATH")]
    ptx: Vec<PathBuf>,
    /// Only every Nth kernel, in the order of `mxlab list`
    #[arg(long, value_name = "N", default_value = "1")]
    every: NonZero<usize>,
    /// Where kernels run: auto, cuda, cuda:N, emulator, or emulator:lost-by-faults, on which a fault
    /// of a kernel ends the use of the device as on a GPU; with --golden also cpu, which runs none
    #[arg(long, value_name = "DEVICE", default_value_t)]
    device: DeviceChoice,
    #[command(flatten)]
    images: ImagesArgs,
    /// Chooses the problems
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Problems for each kernel [default: 4]
    #[arg(long, value_name = "N", conflicts_with_all = ["minutes", "elements"])]
    problems: Option<u32>,
    /// Go on with new problems for so long
    #[arg(long, value_name = "M", conflicts_with = "elements")]
    minutes: Option<f64>,
    /// Go on with new problems until each family has had so many elements
    #[arg(long, value_name = "N")]
    elements: Option<u64>,
    /// End after so many minutes; what was not reached is `not run`, and the same command with
    /// --output-path goes on with it
    #[arg(long, value_name = "MINUTES")]
    time_limit: Option<f64>,
    /// Only the Ith of N parts of the kernels; the parts have each kernel once
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
    /// Processes that kernels run in; if a kernel crashes its process, a new one goes on with the next
    /// kernel [default: one a core, at most 16]
    #[arg(long, value_name = "N")]
    workers: Option<NonZero<usize>>,
    /// How long a launch may take, and a process may give no sign of life, before the kernel counts
    /// as crashed [default: 60, and more for large problems]
    #[arg(long, value_name = "SECONDS")]
    watchdog: Option<f64>,
    /// Run the conformance suite instead: a small program for each instruction and type, whose rows
    /// are equal to what PTX ISA defines, differ, or are refused
    #[arg(long, conflicts_with_all = ["ptx", "minutes", "elements", "problems", "save", "faults"])]
    instructions: bool,
    /// Commit faults on purpose, between kernels that must be right: an illegal address and an
    /// allocation that does not fit, or a kernel that hangs for about half a minute
    #[arg(long, value_name = "KIND", num_args = 0..=1, default_missing_value = "memory", conflicts_with_all = ["kernel", "ptx", "minutes", "elements", "problems", "shard", "save", "workers", "every"])]
    faults: Option<FaultsArg>,
    /// About how many elements a problem has
    #[arg(long, value_name = "N", default_value_t = 600)]
    problem_size: usize,
    /// Keep the smallest problem of each failure as a file there
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Write a record of the run there, and journals beside it while it goes; the same command goes
    /// on where a run was interrupted
    #[arg(long, value_name = "FILE")]
    output_path: Option<PathBuf>,
    /// Run one problem again: a file of --save, or KERNEL:SEED as a failure names it
    #[arg(long, value_name = "PROBLEM", conflicts_with_all = ["kernel", "minutes", "elements", "problems"])]
    replay: Option<String>,
    /// Folder of golden vectors; its files may hold whatever cases and sizes
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kernel", "minutes", "elements", "problems", "replay", "save", "output_path", "ptx", "time_limit", "shard", "faults", "every", "instructions"])]
    golden: Option<PathBuf>,
    /// What a worker process is to do, as JSON
    #[arg(long, hide = true, value_name = "TASK")]
    worker: Option<String>,
}

/// Faults on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultsArg {
    /// An illegal address, and an allocation that does not fit
    Memory,
    /// A kernel that hangs for about half a minute
    Hang,
}

impl VerifyArgs {
    /// The exit code of a worker, if this is one.
    pub fn worker(&self) -> Option<ExitCode> {
        self.worker.as_deref().map(worker::run)
    }
}

/// Verifies what the arguments say.
pub fn run(args: &VerifyArgs) -> Result<Done> {
    if let Some(golden) = &args.golden {
        return golden::run(golden, args.device);
    }
    check_problem_size(args.problem_size)?;
    match &args.replay {
        Some(problem) => replay::run(problem, args),
        None => campaign::run(args),
    }
}

/// Elements of a problem, at most: buffers of it are held several times.
const MAX_PROBLEM_SIZE: usize = 1 << 24;

/// Checks `--problem-size`.
///
/// # Errors
/// If no problem can be so small or large.
pub fn check_problem_size(size: usize) -> Result<()> {
    ensure!(
        (1..=MAX_PROBLEM_SIZE).contains(&size),
        Usage(format!("--problem-size: from 1 to {MAX_PROBLEM_SIZE}"))
    );
    Ok(())
}

/// Warp instructions that a block may run on the emulator: hundreds of millions of elements, and a
/// kernel that hangs is told within seconds.
const BUDGET: u64 = 1 << 26;

fn open(choice: DeviceChoice, images: Option<Arc<Images>>) -> Result<Device, DeviceError> {
    let emulator = EmulatorOptions {
        budget: BUDGET,
        ..EmulatorOptions::default()
    };
    Device::open_with(choice, DeviceOptions { images, emulator })
}
