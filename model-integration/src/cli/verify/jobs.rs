//! The jobs of a campaign: kernels of the registry, rows of the conformance suite, or faults.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mxlab_fuzz::campaign::{Fault, FaultJob, InstructionJob, Job, KernelJob, Order};
use mxlab_harness::device::{DeviceKind, Images, Properties};
use mxlab_harness::shard::Shard;
use mxlab_kernels::registry::{Entry, Substitute, kernels};
use rayon::prelude::*;

use crate::cli::output::Usage;
use crate::did_you_mean::nearest;
use crate::record::verify::{Faults, Selection};

/// The jobs of a campaign on a device.
pub struct Jobs {
    /// The jobs that the device can run.
    pub jobs: Vec<Box<dyn Job>>,
    /// Whether their order is shuffled.
    is_mixed: bool,
    /// Number of jobs for other chips.
    pub for_other_chips: usize,
}

/// Kernels that are right on every device; one runs before and after each fault.
const WITNESSES: [&str; 3] = [
    "quantize_fp4_e2m1_e8m0_floor_even_ocp_bf16_k32_aligned__sm80",
    "dequantize_fp4_e2m1_e8m0_bf16_k32_aligned__sm80",
    "scale_fp4_e2m1_e8m0_floor_ocp_f32_k32_ragged__sm80",
];

impl Selection {
    /// The selected jobs of a shard.
    ///
    /// # Errors
    /// If there are none.
    pub fn jobs(&self, device: &Properties, shard: Shard) -> Result<Jobs> {
        let mut jobs = self.all_jobs(device)?;
        let all = jobs.jobs.len();
        // By number alone, so that shards depend neither on the seed nor on images.
        let mut number = 0..;
        jobs.jobs
            .retain(|_| number.next().is_some_and(|number| shard.has(number)));
        ensure!(
            !jobs.jobs.is_empty(),
            Usage(format!(
                "--shard {shard}: {all} kernels are too few for this many shards"
            ))
        );
        Ok(jobs)
    }

    fn all_jobs(&self, device: &Properties) -> Result<Jobs> {
        if let Some(faults) = self.faults {
            return faulty(faults);
        }
        if self.instructions {
            return self.rows(device);
        }
        let mut entries = match &self.ptx[..] {
            [] => select(kernels().collect(), &self.patterns)?,
            paths => select(of_files(paths)?, &self.patterns)?,
        };
        entries = entries.into_iter().step_by(self.every).collect();
        let all = entries.len();
        // The emulator has the instructions of every chip.
        entries.retain(|entry| device.kind == DeviceKind::Emulator || entry.runs_on(device.sm));
        ensure!(
            !entries.is_empty(),
            "none of the {all} kernels runs on {} (sm_{})",
            device.name,
            device.sm
        );
        let for_other_chips = all - entries.len();
        let job = |entry| Box::new(KernelJob(entry)) as Box<dyn Job>;
        let jobs: Vec<Box<dyn Job>> = entries.into_iter().map(job).collect();
        Ok(Jobs {
            is_mixed: true,
            jobs,
            for_other_chips,
        })
    }
}

impl Selection {
    /// Rows of the conformance suite.
    fn rows(&self, device: &Properties) -> Result<Jobs> {
        let globs = globs(&self.patterns)?;
        let mut rows: Vec<InstructionJob> = InstructionJob::all().collect();
        rows.retain(|row| matches_one(&globs, &row.id()));
        ensure!(
            !rows.is_empty(),
            Usage(format!(
                "--kernel: no instruction matches {}; the ids are like `float/add.rn.f32 d, a, \
                 b;#1`",
                self.patterns.join(", ")
            ))
        );
        let rows: Vec<InstructionJob> = rows.into_iter().step_by(self.every).collect();
        let all = rows.len();
        let rows = rows.into_iter().filter(|row| row.runs_on(device));
        let jobs: Vec<_> = rows.map(|row| Box::new(row) as Box<dyn Job>).collect();
        Ok(Jobs {
            is_mixed: true,
            for_other_chips: all - jobs.len(),
            jobs,
        })
    }
}

impl Jobs {
    /// The order of the jobs on a device with these images.
    pub fn order(&self, seed: u64, images: Option<&Images>) -> Order {
        if !self.is_mixed {
            return Order::listed(&self.jobs);
        }
        let module = |images: &Images, job: &dyn Job| images.module_of(&job.ptx()?);
        let modules: Vec<Option<usize>> = match images {
            Some(images) => {
                let jobs = self.jobs.par_iter();
                jobs.map(|job| module(images, &**job)).collect()
            }
            None => Vec::new(),
        };
        Order::mixed(&self.jobs, seed, &modules)
    }
}

fn faulty(faults: Faults) -> Result<Jobs> {
    let faults: &[Fault] = match faults {
        Faults::Memory => &[Fault::IllegalAddress, Fault::OutOfMemory],
        Faults::Hang => &[Fault::Hang],
    };
    let mut jobs: Vec<Box<dyn Job>> = Vec::new();
    let mut witnesses = WITNESSES.iter();
    let mut witness = || -> Result<Box<dyn Job>> {
        let id = witnesses.next().context("more faults than witnesses")?;
        let entry = kernels().find(|entry| entry.id() == *id);
        let entry = entry.with_context(|| format!("the registry has no kernel `{id}`"))?;
        Ok(Box::new(KernelJob(entry)))
    };
    jobs.push(witness()?);
    for &fault in faults {
        jobs.push(Box::new(FaultJob(fault)));
        jobs.push(witness()?);
    }
    Ok(Jobs {
        is_mixed: false,
        jobs,
        for_other_chips: 0,
    })
}

/// The kernels that match a pattern; all without patterns.
///
/// # Errors
/// If there are none.
pub fn chosen(patterns: &[glob::Pattern]) -> Result<Vec<Box<dyn Entry>>> {
    let patterns: Vec<String> = patterns.iter().map(|p| p.as_str().to_owned()).collect();
    select(kernels().collect(), &patterns)
}

/// The registry's kernels for which a PTX file has entries, with the file's text.
///
/// # Errors
/// If it cannot be read or has none.
pub fn of_file(path: &Path) -> Result<Vec<Box<dyn Entry>>> {
    of_files(std::slice::from_ref(&path.to_owned()))
}

/// The same for several files, and folders of files `*.ptx`.
pub fn of_files(paths: &[PathBuf]) -> Result<Vec<Box<dyn Entry>>> {
    let mut texts = Vec::new();
    for path in paths {
        for file in ptx_files(path)? {
            let text = fs::read_to_string(&file);
            texts.push(text.with_context(|| format!("cannot read `{}`", file.display()))?);
        }
    }
    let (entries, unknown) = Substitute::all(&texts);
    let names: Vec<String> = paths
        .iter()
        .map(|path| format!("`{}`", path.display()))
        .collect();
    let names = names.join(", ");
    ensure!(
        unknown.is_empty(),
        "{names} has `.entry {}`, which is not the name of a kernel; `mxlab list` prints the names",
        unknown.join("`, `.entry ")
    );
    ensure!(
        !entries.is_empty(),
        "{names} has no `.entry` with the name of a kernel; `mxlab list` prints the names"
    );
    let entries = entries.into_iter();
    Ok(entries
        .map(|entry| Box::new(entry) as Box<dyn Entry>)
        .collect())
}

/// A file, or the files `*.ptx` of a folder.
///
/// # Errors
/// If the folder cannot be read.
pub fn ptx_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let files = fs::read_dir(path).and_then(|entries| {
        let paths = entries.map(|entry| Ok(entry?.path()));
        paths.collect::<std::io::Result<Vec<PathBuf>>>()
    });
    let mut files = files.with_context(|| format!("cannot read `{}`", path.display()))?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ptx"));
    files.sort();
    Ok(files)
}

fn globs(patterns: &[String]) -> Result<Vec<glob::Pattern>> {
    let globs = patterns.iter().map(|pattern| glob::Pattern::new(pattern));
    Ok(globs.collect::<Result<_, _>>()?)
}

/// Whether an id matches a pattern; true without patterns.
fn matches_one(globs: &[glob::Pattern], id: &str) -> bool {
    globs.is_empty() || globs.iter().any(|pattern| pattern.matches(id))
}

fn select(mut entries: Vec<Box<dyn Entry>>, patterns: &[String]) -> Result<Vec<Box<dyn Entry>>> {
    let globs = globs(patterns)?;
    entries.retain(|entry| matches_one(&globs, &entry.id()));
    if entries.is_empty() {
        return Err(Usage(format!(
            "--kernel: no kernel matches {}; `mxlab list` prints the ids",
            patterns.join(", ")
        ))
        .into());
    }
    Ok(entries)
}

/// The kernel of that id.
///
/// # Errors
/// If there is none: with those of similar names.
pub fn kernel_of(id: &str) -> Result<Box<dyn Entry>> {
    if let Some(entry) = kernels().find(|entry| entry.id() == id) {
        return Ok(entry);
    }
    let ids: Vec<String> = kernels().map(|entry| entry.id().into()).collect();
    let near = nearest(id, ids.iter().map(String::as_str), 3);
    let near = match near.is_empty() {
        true => String::new(),
        false => format!("; the nearest are\n  {}", near.join("\n  ")),
    };
    Err(Usage(format!(
        "unknown kernel `{id}`; expected an id that `mxlab list` prints{near}"
    ))
    .into())
}
