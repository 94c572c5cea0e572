//! `mxlab list`: the kernels of the registry.

use anyhow::Result;
use clap::Args;
use indicatif::{ParallelProgressIterator, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mxlab_fuzz::campaign::problem_of;
use mxlab_harness::device::{Device, Statistics};
use mxlab_kernels::registry::{Entry, EntryError};
use rayon::prelude::*;

use super::Done;
use super::output::print;
use super::verify::chosen;
use crate::columns::aligned;

/// List the kernels: family, variant, lowest SM, and what an element costs
///
/// Instructions and bytes of global memory are those that threads execute and move on the
/// emulator, on one problem of a few thousand elements.
#[derive(Args)]
pub struct ListArgs {
    /// Only kernels whose id matches, such as 'quantize_fp4_*'
    #[arg(value_name = "GLOB")]
    kernel: Vec<glob::Pattern>,
    /// Only how many there are of each family
    #[arg(long)]
    count: bool,
}

/// Elements of the problem that is counted.
const ELEMENTS: usize = 4096;

/// Prints the table.
pub fn run(args: &ListArgs) -> Result<Done> {
    let entries = chosen(&args.kernel)?;
    if args.count {
        print(&counts(&entries))?;
        return Ok(Done::Well);
    }
    let bar =
        ProgressBar::with_draw_target(Some(entries.len() as u64), ProgressDrawTarget::stderr());
    let template = "[{bar:30}] {pos}/{len} kernels, {eta} left";
    let style = ProgressStyle::with_template(template).expect("a well-formed template");
    bar.set_style(style.progress_chars("=> "));
    let rows = entries
        .par_iter()
        .progress_with(bar)
        .map(|entry| row(&**entry))
        .collect::<Result<Vec<_>, EntryError>>()?;
    let header = ["kernel", "sm", "instr/el", "bytes/el", "sectors/req"];
    print(&aligned(1, &header, &rows))?;
    print(&format!("{} kernels\n", rows.len()))?;
    Ok(Done::Well)
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

fn row(entry: &dyn Entry) -> Result<Vec<String>, EntryError> {
    let device = Device::emulator();
    let stream = device.stream()?;
    let problem = problem_of(entry, 0, ELEMENTS);
    let runner = entry.load(&device, &entry.ptx())?;
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
    Ok(vec![
        entry.id(),
        entry.min_sm().to_string(),
        format!("{:.1}", counts.thread_instructions() as f64 / elements),
        format!("{:.2}", bytes / elements),
        format!(
            "{:.1}",
            global_sectors as f64 / global_requests.max(1) as f64
        ),
    ])
}
