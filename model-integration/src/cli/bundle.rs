//! `mxlab bundle`: kernels as machine code, ahead of time.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mxlab_harness::assemble::{Assembler, Target};
use mxlab_harness::bundle::{Order, Source, Summary, bundle};
use mxlab_harness::device::Images;
use mxlab_kernels::registry::Entry;
use rayon::prelude::*;

use super::Done;
use super::interrupt::stop_on_signals;
use super::output::{Usage, print};
use super::verify::chosen;
use crate::columns::aligned;

/// Assemble the kernels that a chip runs, with ptxas, into a folder for `--images`
///
/// With `--images` a device loads machine code from the folder if it was assembled from the same
/// PTX text; otherwise its driver compiles the text. The same command resumes an interrupted run.
/// An unfinished folder can be used.
#[derive(Args)]
pub struct BundleArgs {
    /// Chip to assemble for, such as sm_90
    #[arg(long, value_name = "SM", required_unless_present = "check")]
    chip: Option<Target>,
    /// Folder to write
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    output: Option<PathBuf>,
    /// Only kernels whose id matches, such as 'quantize_fp4_*'
    #[arg(long, value_name = "GLOB")]
    kernel: Vec<glob::Pattern>,
    /// Only every Nth of them
    #[arg(long, value_name = "N", default_value = "1")]
    every: NonZero<usize>,
    /// ptxas processes to run in parallel [default: all processors]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Assemble nothing; list the kernels without an image in this folder, and fail if there are
    /// any
    #[arg(long, value_name = "DIR", conflicts_with_all = ["chip", "output", "jobs"])]
    check: Option<PathBuf>,
}

/// Kernels named per family if many have no image.
const NAMED: usize = 10;

/// Assembles, or checks.
pub fn run(args: &BundleArgs) -> Result<Done> {
    match (&args.check, args.chip, &args.output) {
        (Some(folder), ..) => check(folder, args),
        (None, Some(chip), Some(folder)) => make(chip, folder, args),
        _ => Err(Usage("--chip and --output are required".to_owned()).into()),
    }
}

/// The requested kernels that a chip can run.
fn selected(args: &BundleArgs, chip: Target) -> Result<Vec<Box<dyn Entry>>> {
    let mut entries = chosen(&args.kernel)?;
    entries.retain(|entry| entry.runs_on(chip.sm()));
    ensure!(
        !entries.is_empty(),
        Usage(format!("--chip: none of the kernels runs on {chip}"))
    );
    let nth = entries.into_iter().step_by(args.every.get());
    Ok(nth.collect())
}

fn make(chip: Target, folder: &Path, args: &BundleArgs) -> Result<Done> {
    ensure!(
        chip.is_plain(),
        Usage(format!(
            "--chip: `{chip}`, expected sm_{}: kernels for its own instructions are part of it",
            chip.sm()
        ))
    );
    let entries = selected(args, chip)?;
    let assembler = Assembler::find()?;
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let order = Order {
        chip,
        folder: folder.to_owned(),
        jobs: args.jobs.map_or(cores, NonZero::get),
    };
    let stop = stop_on_signals("stopping after the modules in work")?;
    let bar =
        ProgressBar::with_draw_target(Some(entries.len() as u64), ProgressDrawTarget::stderr());
    let template = "[{bar:30}] {pos}/{len} kernels, {eta} left";
    let style = ProgressStyle::with_template(template).expect("a well-formed template");
    bar.set_style(style.progress_chars("=> "));
    let sources = entries.iter().map(|entry| Source {
        id: entry.id().into(),
        family: entry.family().to_owned(),
        ptx: entry.ptx(),
    });
    let done = |kernels: usize| bar.inc(kernels as u64);
    let made = bundle(sources, &order, &assembler, &stop, &done);
    bar.finish_and_clear();
    let summary = made.with_context(|| format!("bundle in `{}`", folder.display()))?;
    for failure in &summary.failures {
        eprintln!("{failure}");
    }
    print(&line(&summary))?;
    if summary.is_interrupted {
        eprintln!("interrupted: the same command resumes");
        return Ok(Done::Interrupted);
    }
    Ok(match summary.failures.len() {
        0 => Done::Ok,
        count => {
            eprintln!("{count} kernels are not in the bundle: ptxas refused them");
            Done::WithFindings
        }
    })
}

/// The summary of a run.
fn line(summary: &Summary) -> String {
    let Summary {
        kernels,
        modules,
        kept,
        bytes,
        ..
    } = summary;
    let cpu = match summary.assembler_cpu {
        Some(time) => format!("{:.1} CPU s of ptxas", time.as_secs_f64()),
        None => "CPU time of ptxas not measured".to_owned(),
    };
    let elapsed: Duration = summary.elapsed;
    format!(
        "{kernels} kernels in {modules} modules ({kept} kept), {bytes} bytes, {cpu}, {:.1} s\n",
        elapsed.as_secs_f64()
    )
}

/// The kernels of a family, and those without an image.
struct Family {
    name: &'static str,
    kernels: usize,
    lacking: Vec<String>,
}

fn check(folder: &Path, args: &BundleArgs) -> Result<Done> {
    let images = Images::open(folder)?;
    let entries = selected(args, images.chip())?;
    let is_there: Vec<bool> = entries
        .par_iter()
        .map(|entry| images.module_of(&entry.ptx()).is_some())
        .collect();
    let mut families: Vec<Family> = Vec::new();
    for (entry, is_there) in entries.iter().zip(is_there) {
        let name = entry.family();
        if families.last().is_none_or(|family| family.name != name) {
            families.push(Family {
                name,
                kernels: 0,
                lacking: Vec::new(),
            });
        }
        if let Some(family) = families.last_mut() {
            family.kernels += 1;
            if !is_there {
                family.lacking.push(entry.id().into());
            }
        }
    }
    let rows: Vec<Vec<String>> = families.iter().map(Family::row).collect();
    print(&aligned(
        1,
        &["family", "kernels", "in images", "compiled by the driver"],
        &rows,
    ))?;
    for family in &families {
        print(&family.named())?;
    }
    let lacking: usize = families.iter().map(|family| family.lacking.len()).sum();
    print(&format!(
        "{} of {} kernels for {} are in `{}`: {} modules, {} bytes{}\n",
        entries.len() - lacking,
        entries.len(),
        images.chip(),
        folder.display(),
        images.modules(),
        images.bytes(),
        if images.is_complete() {
            ""
        } else {
            "; it is not complete"
        }
    ))?;
    Ok(match lacking {
        0 => Done::Ok,
        _ => Done::WithFindings,
    })
}

impl Family {
    fn row(&self) -> Vec<String> {
        let lacking = self.lacking.len();
        let counts = [self.kernels, self.kernels - lacking, lacking];
        let counts = counts.iter().map(usize::to_string);
        std::iter::once(self.name.to_owned())
            .chain(counts)
            .collect()
    }

    /// The first kernels without an image.
    fn named(&self) -> String {
        let mut text: String = self
            .lacking
            .iter()
            .take(NAMED)
            .flat_map(|id| ["  ", id, "\n"])
            .collect();
        if let Some(more @ 1..) = self.lacking.len().checked_sub(NAMED) {
            text += &format!("  and {more} more of {}\n", self.name);
        }
        text
    }
}
