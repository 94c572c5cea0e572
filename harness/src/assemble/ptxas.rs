//! ptxas: PTX text to a cubin.

use super::tool::{Tool, output};
use super::{Diagnostic, Resources, Target, ToolError, Version};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{fs, thread};

/// ptxas.
#[derive(Clone, Debug)]
pub struct Assembler {
    path: PathBuf,
}

/// Machine code of one module.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// An ELF file that the driver and nvdisasm take.
    pub cubin: Vec<u8>,
    /// What its kernel takes.
    pub resources: Resources,
}

/// A text to assemble.
#[derive(Clone, Debug)]
pub struct Job {
    /// The name that errors give it.
    pub module: String,
    /// The text, with one kernel.
    pub ptx: String,
    /// For which chips.
    pub target: Target,
}

impl Assembler {
    /// ptxas from `$PTXAS`, else from the path.
    ///
    /// # Errors
    /// [`ToolError::Missing`].
    pub fn find() -> Result<Self, ToolError> {
        let tool = Tool {
            name: "ptxas",
            variable: "PTXAS",
        };
        let path = tool.find(None)?;
        Ok(Self { path })
    }

    /// The executable.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version.
    ///
    /// # Errors
    /// [`ToolError::Report`] if it does not say one.
    pub fn version(&self) -> Result<Version, ToolError> {
        let out = output(&self.path, Command::new(&self.path).arg("--version"))?;
        let text = String::from_utf8_lossy(&out.stdout);
        Version::parse(&text).ok_or_else(|| ToolError::Report {
            module: "--version".to_owned(),
            tool: "ptxas",
            reason: format!(
                "no release in `{}`",
                text.lines().next().unwrap_or_default()
            ),
        })
    }

    /// The machine code of a text with any number of kernels. Values in local memory and warnings
    /// are no errors.
    ///
    /// # Errors
    /// [`ToolError::Rejected`] with ptxas' messages for an error.
    pub fn machine_code(&self, job: &Job) -> Result<Vec<u8>, ToolError> {
        let file = |action| move |reason| ToolError::File { action, reason };
        let folder = tempfile::tempdir().map_err(file("create"))?;
        let (source, cubin) = (folder.path().join("k.ptx"), folder.path().join("k.cubin"));
        fs::write(&source, &job.ptx).map_err(file("write"))?;
        let mut command = Command::new(&self.path);
        command
            .arg(format!("-arch={}", job.target))
            .arg(&source)
            .arg("-o")
            .arg(&cubin);
        let out = output(&self.path, &mut command)?;
        if out.status.success() {
            return fs::read(&cubin).map_err(file("read"));
        }
        let said = [out.stderr, out.stdout].map(|text| String::from_utf8_lossy(&text).into_owned());
        let lines = said.iter().flat_map(|text| text.lines());
        let mut diagnostics: Vec<_> = lines.filter_map(Diagnostic::parse).collect();
        if diagnostics.is_empty() {
            let message = format!("{}: {}", out.status, said[0].trim());
            diagnostics.push(Diagnostic {
                line: None,
                message,
            });
        }
        Err(ToolError::Rejected {
            module: job.module.clone(),
            target: job.target,
            diagnostics,
        })
    }

    /// Assembles a text.
    ///
    /// # Errors
    /// [`ToolError::Rejected`] with ptxas' messages for an error and for any warning,
    /// [`ToolError::LocalMemory`] if a value lives in local memory, spilled or not.
    pub fn assemble(&self, job: &Job) -> Result<Assembled, ToolError> {
        let file = |action| move |reason| ToolError::File { action, reason };
        let folder = tempfile::tempdir().map_err(file("create"))?;
        let (source, cubin) = (folder.path().join("k.ptx"), folder.path().join("k.cubin"));
        fs::write(&source, &job.ptx).map_err(file("write"))?;
        let mut command = Command::new(&self.path);
        // Without -Werror, which ends before anything is counted; warnings are errors below.
        command
            .args(["-v", "-warn-spills", "-warn-lmem-usage"])
            .arg(format!("-arch={}", job.target))
            .arg(&source)
            .arg("-o")
            .arg(&cubin);
        let out = output(&self.path, &mut command)?;
        let report = String::from_utf8_lossy(&out.stderr);
        let said = report
            .lines()
            .chain(std::str::from_utf8(&out.stdout).unwrap_or("").lines());
        let mut diagnostics: Vec<_> = said.filter_map(Diagnostic::parse).collect();
        let resources = Resources::parse(&report);
        if let Some(resources) = resources.filter(Resources::uses_local_memory) {
            return Err(ToolError::LocalMemory {
                module: job.module.clone(),
                target: job.target,
                resources,
            });
        }
        if !out.status.success() && diagnostics.is_empty() {
            let message = format!("{}: {}", out.status, report.trim());
            diagnostics.push(Diagnostic {
                line: None,
                message,
            });
        }
        if !diagnostics.is_empty() {
            return Err(ToolError::Rejected {
                module: job.module.clone(),
                target: job.target,
                diagnostics,
            });
        }
        let resources = resources.ok_or_else(|| ToolError::Report {
            module: job.module.clone(),
            tool: "ptxas",
            reason: format!("no registers in `{}`", report.trim()),
        })?;
        let cubin = fs::read(&cubin).map_err(file("read"))?;
        Ok(Assembled { cubin, resources })
    }

    /// Assembles many texts, one a host core at a time. `jobs` is drawn from as cores become free;
    /// what `each` makes of a result is returned in the order of `jobs`.
    pub fn assemble_all<R: Send>(
        &self,
        jobs: impl Iterator<Item = Job> + Send,
        each: impl Fn(&Job, Result<Assembled, ToolError>) -> R + Sync,
    ) -> Vec<R> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let jobs = Mutex::new(jobs.enumerate());
        let work = || {
            let mut done = Vec::new();
            loop {
                let next = jobs.lock().map(|mut jobs| jobs.next());
                // A poisoned lock: `jobs` panicked on another thread, whose panic is passed on below.
                let Ok(Some((n, job))) = next else {
                    return done;
                };
                done.push((n, each(&job, self.assemble(&job))));
            }
        };
        let mut done: Vec<(usize, R)> = thread::scope(|scope| {
            let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
            let join = |worker: thread::ScopedJoinHandle<'_, Vec<(usize, R)>>| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().flat_map(join).collect()
        });
        done.sort_by_key(|&(n, _)| n);
        done.into_iter().map(|(_, result)| result).collect()
    }
}
