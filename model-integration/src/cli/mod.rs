//! The `mxlab` command line: one file per subcommand.
//!
//! Exit codes: 0 done, 1 failed (or found mismatches), 2 wrong usage, 130 interrupted.

mod allocate;
mod bench;
mod bundle;
mod calibrate;
mod compare;
mod configuration;
mod convert;
mod data;
mod estimate;
mod eval;
mod formats;
mod generate;
mod images;
mod inspect;
mod interrupt;
mod list;
mod load;
mod merge;
mod model;
mod mutate;
mod output;
mod quantize;
mod report;
mod serve;
mod study;
mod text;
mod train;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
use mxlab_kernels::cpu::Isa;

use crate::config::file::ConfigError;
use crate::task::TaskError;

/// Block-scaled number formats, from kernel speed to Llama accuracy.
///
/// `mxlab` without a subcommand is `mxlab eval`. Without arguments it evaluates the embedded model
/// on the embedded task, at full precision and under every named configuration.
#[derive(Parser)]
#[command(name = "mxlab", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    eval: eval::EvalArgs,
    /// Compute with an instruction set of the CPU and none of its extensions: avx512, avx2 or
    /// portable [default: the fastest]
    #[arg(long, global = true, value_name = "ISA", help_heading = "CPU")]
    isa: Option<Isa>,
}

#[derive(Subcommand)]
enum Command {
    /// Choose the formats of weights by layer and projection for a budget of bits
    Allocate(Box<allocate::AllocateArgs>),
    /// Time kernels, or compare two bench records
    Bench(Box<bench::BenchArgs>),
    /// Assemble the kernels for a chip ahead of time, so that the driver compiles nothing
    Bundle(bundle::BundleArgs),
    /// Choose the codes of weights for what they multiply, by a text
    Calibrate(Box<calibrate::CalibrateArgs>),
    /// Compare the answers of two evaluations, example by example
    Compare(compare::CompareArgs),
    /// Write a model with quantised weights, or dequantise one
    Convert(Box<convert::ConvertArgs>),
    /// Score a model on tasks under block-scaled configurations
    Eval(Box<eval::EvalArgs>),
    /// List the number formats, or every code of one
    Formats(formats::FormatsArgs),
    /// Continue prompts under a block-scaled configuration
    Generate(Box<generate::GenerateArgs>),
    /// Print the registers and instructions of a kernel, and its predicted time on a chip
    Inspect(inspect::InspectArgs),
    /// List the PTX kernels and their cost per element
    List(list::ListArgs),
    /// Put load on an OpenAI-compatible endpoint and measure latencies
    Load(Box<load::LoadArgs>),
    /// Plant faults into kernels and count how many verification catches
    Mutate(mutate::MutateArgs),
    /// Quantise the tensors of a safetensors file and print the errors
    Quantize(Box<quantize::QuantizeArgs>),
    /// Write a report from the records in a folder
    Report(report::ReportArgs),
    /// Serve a model over HTTP, as OpenAI's API does
    Serve(Box<serve::ServeArgs>),
    /// Run studies: every combination of settings in one file
    Study(Box<study::StudyArgs>),
    /// Train the embedded model and write its held-out task
    Train(train::TrainArgs),
    /// Compare kernels with the scalar reference, or with golden vectors
    Verify(Box<verify::VerifyArgs>),
}

/// How a successful command ended.
enum Done {
    Ok,
    /// It has findings, such as mismatches.
    WithFindings,
    Interrupted,
}

/// Runs the command line and returns the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| with_tip(error).exit());
    if let Some(Command::Verify(args)) = &cli.command
        && let Some(exit) = args.worker()
    {
        return exit;
    }
    if let Some(isa) = cli.isa
        && let Err(error) = isa.use_only()
    {
        eprintln!("error: --isa: {error}");
        return ExitCode::from(2);
    }
    if matches!(cli.command, Some(Command::Bench(_) | Command::Generate(_))) {
        // Timings include compilation by the driver, which its cache would skip.
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("CUDA_CACHE_DISABLE", "1") };
    }
    let done = match cli.command {
        None => eval::run(&cli.eval),
        Some(Command::Allocate(args)) => allocate::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Bundle(args)) => bundle::run(&args),
        Some(Command::Calibrate(args)) => calibrate::run(&args),
        Some(Command::Compare(args)) => compare::run(&args),
        Some(Command::Convert(args)) => convert::run(&args),
        Some(Command::Eval(args)) => eval::run(&args),
        Some(Command::Formats(args)) => formats::run(&args),
        Some(Command::Generate(args)) => generate::run(&args),
        Some(Command::Inspect(args)) => inspect::run(&args),
        Some(Command::List(args)) => list::run(&args),
        Some(Command::Load(args)) => load::run(&args),
        Some(Command::Mutate(args)) => mutate::run(&args),
        Some(Command::Quantize(args)) => quantize::run(&args),
        Some(Command::Report(args)) => report::run(&args),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Study(args)) => study::run(&args),
        Some(Command::Train(args)) => train::run(&args),
        Some(Command::Verify(args)) => verify::run(&args),
    };
    exit_code(done)
}

/// Says where flags belong that stand before a subcommand.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let said = |kind| error.get(kind).map(ToString::to_string);
    let subcommand = said(ContextKind::InvalidSubcommand);
    if let Some(subcommand) = subcommand.filter(|_| error.kind() == ErrorKind::ArgumentConflict) {
        let tip = format!("put flags behind the subcommand: mxlab {subcommand} --FLAG");
        let tips = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tips);
    }
    error
}

fn exit_code(done: Result<Done>) -> ExitCode {
    match done {
        Ok(Done::Ok) => ExitCode::SUCCESS,
        Ok(Done::WithFindings) => ExitCode::FAILURE,
        Ok(Done::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if is_usage(&error) { 2 } else { 1 })
        }
    }
}

/// Whether the arguments are wrong, rather than the files that they name.
fn is_usage(error: &anyhow::Error) -> bool {
    use ConfigError as Config;
    matches!(
        error.downcast_ref(),
        Some(Config::Unknown { .. } | Config::Flag { .. })
    ) || matches!(error.downcast_ref(), Some(TaskError::Unknown { .. }))
        || error.is::<output::Usage>()
}
