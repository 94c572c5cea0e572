//! `mxlab verify`: kernels against the scalar reference, or everything against golden vectors.

mod golden;
mod kernels;
mod replay;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use mxlab_harness::device::{Device, DeviceChoice, DeviceError, DeviceKind, EmulatorOptions};

use super::Done;
use super::output::Usage;

pub use kernels::{chosen, of_file};

/// Run every PTX kernel on random problems and compare each byte with the scalar reference (any NaN
/// is equal to any other); or compare every kernel with a folder of golden vectors
#[derive(Args)]
pub struct VerifyArgs {
    /// Only kernels whose id matches, such as 'quantize_fp4_*'
    #[arg(long, value_name = "GLOB")]
    kernel: Vec<glob::Pattern>,
    /// Verify the kernels of this PTX file in place of those of the same names; `mxlab list
    /// --save-ptx` writes such files
    #[arg(long, value_name = "FILE")]
    ptx: Option<PathBuf>,
    /// Where kernels run: auto, cuda, cuda:N or emulator; with --golden also cpu, which runs none
    #[arg(long, value_name = "DEVICE", default_value_t)]
    device: DeviceChoice,
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
    /// About how many elements a problem has
    #[arg(long, value_name = "N", default_value_t = 600)]
    problem_size: usize,
    /// Keep the smallest problem of each failure as a file there
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Write a record of the run there
    #[arg(long, value_name = "FILE")]
    output_path: Option<PathBuf>,
    /// Run one problem again: a file of --save, or KERNEL:SEED as a failure names it
    #[arg(long, value_name = "PROBLEM", conflicts_with_all = ["kernel", "minutes", "elements", "problems"])]
    replay: Option<String>,
    /// Folder of golden vectors; its files may hold whatever cases and sizes
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kernel", "minutes", "elements", "problems", "replay", "save", "output_path", "ptx"])]
    golden: Option<PathBuf>,
}

/// Verifies what the arguments say.
pub fn run(args: &VerifyArgs) -> Result<Done> {
    if let Some(golden) = &args.golden {
        return golden::run(golden, args.device);
    }
    check_problem_size(args.problem_size)?;
    match &args.replay {
        Some(problem) => replay::run(problem, args),
        None => kernels::run(args),
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

fn open(choice: DeviceChoice) -> Result<Device, DeviceError> {
    let device = Device::open(choice)?;
    Ok(match device.properties().kind {
        DeviceKind::Emulator => Device::emulator_with(EmulatorOptions {
            budget: BUDGET,
            ..EmulatorOptions::default()
        }),
        _ => device,
    })
}
