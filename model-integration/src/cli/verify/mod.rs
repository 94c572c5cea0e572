//! `mxlab verify`: compares kernels with the scalar reference or with golden vectors.

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
use clap::Args;
use mxlab_harness::device::{
    Device, DeviceChoice, DeviceError, DeviceOptions, EmulatorOptions, Images,
};
use mxlab_harness::shard::Shard;

use super::Done;
use super::images::ImagesArgs;
use super::output::Usage;
use crate::record::verify::Faults;

pub use jobs::{chosen, kernel_of, of_file};

/// Run PTX kernels on random problems and compare every output byte with the scalar reference (all
/// NaNs are equal); or compare every kernel with a folder of golden vectors
#[derive(Args)]
pub struct VerifyArgs {
    /// Only kernels whose id matches, such as 'quantize_fp4_*'
    #[arg(long, value_name = "GLOB")]
    kernel: Vec<glob::Pattern>,
    /// Verify the kernels in this PTX file, or in the `*.ptx` files of this folder, instead of the
    /// lab's kernels of the same names; `mxlab list --save-ptx` writes such files
    #[arg(long, value_name = "PATH")]
    ptx: Vec<PathBuf>,
    /// Only every Nth kernel, in the order of `mxlab list`
    #[arg(long, value_name = "N", default_value = "1")]
    every: NonZero<usize>,
    /// Device: auto, cuda, cuda:N, emulator, or emulator:lost-by-faults, which a kernel's fault
    /// makes unusable like a GPU; with --golden also cpu, which runs no PTX
    #[arg(long, value_name = "DEVICE", default_value_t)]
    device: DeviceChoice,
    #[command(flatten)]
    images: ImagesArgs,
    /// Seed of the problems
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Problems for each kernel [default: 4]
    #[arg(long, value_name = "N", conflicts_with_all = ["minutes", "elements"])]
    problems: Option<u32>,
    /// Draw new problems for M minutes
    #[arg(long, value_name = "M", conflicts_with = "elements")]
    minutes: Option<f64>,
    /// Draw new problems until each family has compared N elements
    #[arg(long, value_name = "N")]
    elements: Option<u64>,
    /// Stop after so many minutes; the remaining kernels are `not run`, and the same command with
    /// --output-path resumes with them
    #[arg(long, value_name = "MINUTES")]
    time_limit: Option<f64>,
    /// Only part I of N of the kernels; every kernel is in exactly one part
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
    /// Worker processes; if a kernel crashes one, a new one continues with the next kernel
    /// [default: one per core, at most 16]
    #[arg(long, value_name = "N")]
    workers: Option<NonZero<usize>>,
    /// Seconds without progress of a launch or a worker before the kernel counts as crashed
    /// [default: 60, more for large problems]
    #[arg(long, value_name = "SECONDS")]
    watchdog: Option<f64>,
    /// Run the conformance suite instead: one small program for each instruction and type, whose
    /// results are compared with the PTX ISA's definition
    #[arg(long, conflicts_with_all = ["ptx", "minutes", "elements", "problems", "save", "faults"])]
    instructions: bool,
    /// Cause faults on purpose, between kernels that must be correct: an illegal address and a
    /// failed allocation, or a kernel that hangs for about half a minute
    #[arg(
        long,
        value_name = "KIND",
        num_args = 0..=1,
        default_missing_value = "memory",
        conflicts_with_all = [
            "kernel", "ptx", "minutes", "elements", "problems", "shard", "save", "workers", "every"
        ]
    )]
    faults: Option<Faults>,
    /// Approximate number of elements of a problem
    #[arg(long, value_name = "N", default_value_t = 600)]
    problem_size: usize,
    /// Write the smallest problem of each failure into this folder
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Write a record of the run here, and journals beside it during the run; the same command
    /// resumes an interrupted run
    #[arg(long, value_name = "FILE")]
    output_path: Option<PathBuf>,
    /// Run one problem again: a file of --save, or the KERNEL:SEED that a failure prints
    #[arg(
        long,
        value_name = "PROBLEM",
        conflicts_with_all = ["kernel", "minutes", "elements", "problems"]
    )]
    replay: Option<String>,
    /// Folder of golden vectors to compare with
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = [
            "kernel", "minutes", "elements", "problems", "replay", "save", "output_path", "ptx",
            "time_limit", "shard", "faults", "every", "instructions"
        ]
    )]
    golden: Option<PathBuf>,
    /// What a worker process is to do, as JSON
    #[arg(long, hide = true, value_name = "TASK")]
    worker: Option<String>,
}

impl VerifyArgs {
    /// The exit code of a worker, if this process is one.
    pub fn worker(&self) -> Option<ExitCode> {
        self.worker.as_deref().map(worker::run)
    }
}

/// Runs the verification that the arguments ask for.
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

/// Most elements of a problem; several buffers of this size are held.
const MAX_PROBLEM_SIZE: usize = 1 << 24;

/// Checks `--problem-size`.
///
/// # Errors
/// If the size is out of range.
pub fn check_problem_size(size: usize) -> Result<()> {
    ensure!(
        (1..=MAX_PROBLEM_SIZE).contains(&size),
        Usage(format!("--problem-size: from 1 to {MAX_PROBLEM_SIZE}"))
    );
    Ok(())
}

/// Warp instructions that a block may run on the emulator: enough for hundreds of millions of
/// elements, and few enough to find a hanging kernel within seconds.
const BUDGET: u64 = 1 << 26;

fn open(choice: DeviceChoice, images: Option<Arc<Images>>) -> Result<Device, DeviceError> {
    let emulator = EmulatorOptions {
        budget: BUDGET,
        ..EmulatorOptions::default()
    };
    Device::open_with(choice, DeviceOptions { images, emulator })
}
