//! `mxlab list`: the kernels of the registry.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use indicatif::{ParallelProgressIterator, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mxlab_fuzz::campaign::problem_of;
use mxlab_harness::assemble::{Assembler, Job, Target, ToolError};
use mxlab_harness::device::{Device, Statistics};
use mxlab_harness::record::write_atomic;
use mxlab_kernels::registry::Entry;
use rayon::prelude::*;

use super::Done;
use super::output::{Usage, print};
use super::verify::chosen;
use crate::columns::aligned;

/// List the kernels: variant, lowest SM, registers, and cost per element
///
/// PTX instructions and bytes of global memory are counted by the emulator on one problem of a few
/// thousand elements. Registers, spills and static shared memory come from ptxas if it is
/// installed; listing every kernel then takes minutes.
#[derive(Args)]
pub struct ListArgs {
    /// Only kernels whose id matches, such as 'quantize_fp4_*'
    #[arg(value_name = "GLOB")]
    kernel: Vec<glob::Pattern>,
    /// Only the number of kernels of each family
    #[arg(long)]
    count: bool,
    /// Only write the PTX of each kernel into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "count")]
    save_ptx: Option<PathBuf>,
    /// Assemble for this compute capability, such as 90; kernels that it cannot run are not listed
    /// [default: each kernel's lowest]
    #[arg(long, value_name = "SM")]
    sm: Option<Target>,
    /// Do not run ptxas: no registers, spills and shared memory
    #[arg(long, conflicts_with = "sm")]
    no_ptxas: bool,
}

/// Elements of the counted problem.
const ELEMENTS: usize = 4096;

/// Prints the table.
pub fn run(args: &ListArgs) -> Result<Done> {
    let mut entries = chosen(&args.kernel)?;
    if let Some(target) = args.sm {
        entries.retain(|entry| entry.runs_on(target.sm()));
        ensure!(
            !entries.is_empty(),
            Usage(format!("--sm: none of the kernels runs on {target}"))
        );
    }
    if args.count {
        print(&counts(&entries))?;
        return Ok(Done::Ok);
    }
    if let Some(folder) = &args.save_ptx {
        return save(&entries, folder);
    }
    let assembler = match Assembler::find() {
        _ if args.no_ptxas => None,
        Ok(assembler) => Some(assembler),
        Err(error @ ToolError::Missing { .. }) if args.sm.is_none() => {
            eprintln!("without registers, spills and shared memory: {error}");
            None
        }
        Err(error) => return Err(error.into()),
    };
    let bar =
        ProgressBar::with_draw_target(Some(entries.len() as u64), ProgressDrawTarget::stderr());
    let template = "[{bar:30}] {pos}/{len} kernels, {eta} left";
    let style = ProgressStyle::with_template(template).expect("a well-formed template");
    bar.set_style(style.progress_chars("=> "));
    let rows = entries
        .par_iter()
        .progress_with(bar)
        .map(|entry| row(&**entry, assembler.as_ref(), args.sm))
        .collect::<Result<Vec<_>>>()?;
    let mut header = vec!["kernel", "sm"];
    if assembler.is_some() {
        header.extend(["registers", "spilled", "shared"]);
    }
    header.extend(["instr/el", "bytes/el", "sectors/req"]);
    print(&aligned(1, &header, &rows))?;
    print(&format!("{} kernels\n", rows.len()))?;
    Ok(Done::Ok)
}

/// Writes a file for each kernel.
fn save(entries: &[Box<dyn Entry>], folder: &Path) -> Result<Done> {
    fs::create_dir_all(folder).with_context(|| format!("`{}`", folder.display()))?;
    for entry in entries {
        let path = folder.join(&*entry.id()).with_extension("ptx");
        write_atomic(&path, entry.ptx().as_bytes())?;
    }
    let count = entries.len();
    print(&format!("{count} kernels in {}\n", folder.display()))?;
    Ok(Done::Ok)
}

fn counts(entries: &[Box<dyn Entry>]) -> String {
    let mut families: Vec<(&str, usize)> = Vec::new();
    for entry in entries {
        match families
            .iter_mut()
            .find(|(name, _)| *name == entry.family())
        {
            Some((_, count)) => *count += 1,
            None => families.push((entry.family(), 1)),
        }
    }
    let row = |(name, count): &(&str, usize)| vec![(*name).to_owned(), count.to_string()];
    let rows: Vec<Vec<String>> = families.iter().map(row).collect();
    let table = aligned(1, &["family", "kernels"], &rows);
    format!("{table}{} kernels\n", entries.len())
}

fn row(
    entry: &dyn Entry,
    assembler: Option<&Assembler>,
    target: Option<Target>,
) -> Result<Vec<String>> {
    let (id, ptx) = (entry.id(), entry.ptx());
    let mut row = vec![id.to_string(), id.target().sm().to_string()];
    if let Some(assembler) = assembler {
        let own = Target::from_ptx(&ptx).unwrap_or(id.target());
        let job = Job {
            module: id.to_string(),
            ptx: ptx.clone(),
            // A kernel with instructions of one chip is assembled for that chip only.
            target: target
                .filter(|target| target.sm() != own.sm())
                .unwrap_or(own),
        };
        let taken = assembler.assemble(&job)?.resources;
        row.push(taken.registers.to_string());
        row.push((taken.spill_store_bytes + taken.spill_load_bytes).to_string());
        row.push(taken.static_shared_bytes.to_string());
    }
    row.extend(executed(entry, &ptx).with_context(|| entry.id().to_string())?);
    Ok(row)
}

/// The emulator's counts.
fn executed(entry: &dyn Entry, ptx: &str) -> Result<[String; 3]> {
    let device = Device::emulator();
    let stream = device.stream()?;
    let problem = problem_of(entry, 0, ELEMENTS);
    let runner = entry.load(&device, ptx)?;
    runner.run(&stream, &problem)?;
    let counts = stream.statistics().unwrap_or_default();
    let elements = entry.elements(&problem).max(1) as f64;
    let Statistics {
        global_load_bytes,
        global_store_bytes,
        global_requests,
        global_sectors,
        ..
    } = counts;
    let bytes = (global_load_bytes + global_store_bytes) as f64;
    Ok([
        format!("{:.1}", counts.thread_instructions() as f64 / elements),
        format!("{:.2}", bytes / elements),
        format!(
            "{:.1}",
            global_sectors as f64 / global_requests.max(1) as f64
        ),
    ])
}
