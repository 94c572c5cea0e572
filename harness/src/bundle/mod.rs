//! Assembles kernels ahead of time into a folder that [`Images`](crate::device::Images) reads.
//!
//! A file is named by the digest of what it was made from: the text of the module, the target and
//! the version of ptxas. A run keeps a whole file that the index has under that name. So an
//! interrupted run resumes, and after an edit only the modules with edited kernels are assembled
//! again. The index is written every few seconds and names whole files only, so an unfinished
//! bundle can be used.

mod error;
mod folder;
mod group;
mod usage;

pub use error::BundleError;
pub use group::MODULE_KERNELS;

use crate::assemble::{Assembler, Job, Target, ToolError};
use crate::device::images::{is_whole_elf, pack};
use folder::Folder;
use group::{Group, Groups};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A kernel to assemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub id: String,
    /// Kernels of a family are neighbours.
    pub family: String,
    /// Its PTX, with one kernel.
    pub ptx: String,
}

/// The request for a bundle.
#[derive(Clone, Debug)]
pub struct Order {
    /// The chip, without `a` or `f`: kernels for its own instructions are assembled with them.
    pub chip: Target,
    /// The folder, made if it is not there.
    pub folder: PathBuf,
    /// Runs of ptxas at the same time, at least one.
    pub jobs: usize,
}

/// The result of a bundle.
#[derive(Debug)]
pub struct Summary {
    /// Kernels in the folder.
    pub kernels: usize,
    /// Modules in the folder.
    pub modules: usize,
    /// Modules of an earlier run that were kept.
    pub kept: usize,
    /// Bytes of all modules.
    pub bytes: u64,
    /// The errors of kernels that ptxas refused, which are not in the folder.
    pub failures: Vec<ToolError>,
    /// Whether it was stopped.
    pub is_interrupted: bool,
    /// Processor time of ptxas, user and system; `None` where the system does not tell.
    pub assembler_cpu: Option<Duration>,
    /// Time of the run.
    pub elapsed: Duration,
}

/// The state that the runs of ptxas share.
struct Shared<'a, I> {
    groups: Mutex<Groups<I>>,
    folder: Mutex<Folder>,
    failures: Mutex<Vec<ToolError>>,
    error: Mutex<Option<BundleError>>,
    kept: AtomicUsize,
    assembler: &'a Assembler,
    stop: &'a AtomicBool,
    /// Called with how many kernels were done.
    progress: &'a (dyn Fn(usize) + Sync),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of another thread is passed on when the threads are joined.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Assembles kernels into a folder. `progress` is called with the number of kernels that were done.
/// After `stop` is set, running jobs are finished and no new ones start.
///
/// # Errors
/// If the folder holds something else, ptxas cannot be run, or a file cannot be written. A kernel
/// that ptxas refuses is one of [`Summary::failures`] and stops nothing.
pub fn bundle(
    sources: impl Iterator<Item = Source> + Send,
    order: &Order,
    assembler: &Assembler,
    stop: &AtomicBool,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Summary, BundleError> {
    let begun = Instant::now();
    let cpu_before = usage::children();
    let version = assembler.version()?;
    let shared = Shared {
        groups: Mutex::new(Groups::new(sources, order.chip)),
        folder: Mutex::new(Folder::open(&order.folder, order.chip, version)?),
        failures: Mutex::default(),
        error: Mutex::default(),
        kept: AtomicUsize::new(0),
        assembler,
        stop,
        progress,
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..order.jobs.max(1))
            .map(|_| scope.spawn(|| shared.work()))
            .collect();
        for worker in workers {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    let mut folder = lock(&shared.folder);
    let failures = std::mem::take(&mut *lock(&shared.failures));
    if let Some(error) = lock(&shared.error).take() {
        // What was assembled is told of if it can be; the error before tells why it may not.
        let _ = folder.write();
        return Err(error);
    }
    let is_interrupted = stop.load(Ordering::Relaxed);
    match is_interrupted {
        true => folder.write()?,
        false => folder.finish(failures.is_empty())?,
    }
    let cpu = cpu_before.zip(usage::children());
    let modules = folder.modules();
    Ok(Summary {
        kernels: modules.iter().map(|module| module.kernels.len()).sum(),
        modules: modules.len(),
        kept: shared.kept.load(Ordering::Relaxed),
        bytes: modules.iter().map(|module| module.bytes).sum(),
        failures,
        is_interrupted,
        assembler_cpu: cpu.map(|(before, after)| after.saturating_sub(before)),
        elapsed: begun.elapsed(),
    })
}

impl<I: Iterator<Item = Source>> Shared<'_, I> {
    /// Takes groups until there are no more.
    fn work(&self) {
        while !self.stop.load(Ordering::Relaxed) && lock(&self.error).is_none() {
            let Some(group) = lock(&self.groups).next() else {
                return;
            };
            if let Err(error) = self.make(&group) {
                lock(&self.error).get_or_insert(error);
            }
            (self.progress)(group.sources.len());
        }
    }

    /// Assembles a module, or the kernels of it that ptxas accepts.
    fn make(&self, group: &Group) -> Result<(), BundleError> {
        match self.module(group) {
            Err(BundleError::Tool(ToolError::Rejected { .. })) if group.sources.len() > 1 => {}
            Err(BundleError::Tool(error @ ToolError::Rejected { .. })) => {
                lock(&self.failures).push(error);
                return Ok(());
            }
            made => return made,
        }
        // Which of them it is, ptxas tells of each alone.
        let mut sound = Group {
            sources: Vec::new(),
            ..group.clone()
        };
        for single in group.singly() {
            match self.assembler.machine_code(&job(&single)) {
                Ok(_) => sound.sources.extend(single.sources),
                Err(error @ ToolError::Rejected { .. }) => lock(&self.failures).push(error),
                Err(error) => return Err(error.into()),
            }
        }
        match sound.sources.len() {
            0 => Ok(()),
            _ => self.module(&sound),
        }
    }

    /// Assembles a module, unless the folder has it.
    fn module(&self, group: &Group) -> Result<(), BundleError> {
        let job = job(group);
        let file = lock(&self.folder).name(&job);
        let texts = || group.sources.iter().map(|source| source.ptx.as_str());
        if lock(&self.folder).keep(&file, texts()) {
            self.kept.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let image = self.assembler.machine_code(&job)?;
        if !is_whole_elf(&image) {
            return Err(BundleError::NoElf { module: job.module });
        }
        let packed = pack(&image).map_err(BundleError::Packing)?;
        let path = lock(&self.folder).path().join(&file);
        crate::record::write_atomic(&path, &packed)?;
        lock(&self.folder).add(file, &packed, image.len(), group.arch, texts())
    }
}

/// The text of a module, named by its first kernel.
fn job(group: &Group) -> Job {
    let name = group.sources.first().map_or("", |source| &source.id);
    Job {
        module: name.to_owned(),
        ptx: group.text(),
        target: group.arch,
    }
}
