//! ptxas: PTX text to a cubin.

use super::tool::{Tool, output};
use super::{Diagnostic, Resources, Target, ToolError, Version};
use rayon::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
    /// The resources of its kernel.
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

    /// Runs it on a text: what it said, and the machine code if it made any.
    fn run(&self, job: &Job, flags: &[&str]) -> Result<(Output, Vec<u8>), ToolError> {
        let file = |action| move |reason| ToolError::File { action, reason };
        let folder = tempfile::tempdir().map_err(file("create"))?;
        let (source, cubin) = (folder.path().join("k.ptx"), folder.path().join("k.cubin"));
        fs::write(&source, &job.ptx).map_err(file("write"))?;
        let mut command = Command::new(&self.path);
        command.args(flags).arg(format!("-arch={}", job.target));
        command.arg(&source).arg("-o").arg(&cubin);
        let out = output(&self.path, &mut command)?;
        let code = match out.status.success() {
            true => fs::read(&cubin).map_err(file("read"))?,
            false => Vec::new(),
        };
        Ok((out, code))
    }

    /// The machine code of a text with any number of kernels. Values in local memory and warnings
    /// are no errors.
    ///
    /// # Errors
    /// [`ToolError::Rejected`] with ptxas' messages for an error.
    pub fn machine_code(&self, job: &Job) -> Result<Vec<u8>, ToolError> {
        let (out, code) = self.run(job, &[])?;
        match out.status.success() {
            true => Ok(code),
            false => Err(rejected(job, diagnostics(&out))),
        }
    }

    /// Assembles a text.
    ///
    /// # Errors
    /// [`ToolError::Rejected`] with ptxas' messages for an error and for any warning,
    /// [`ToolError::LocalMemory`] if a value lives in local memory, spilled or not.
    pub fn assemble(&self, job: &Job) -> Result<Assembled, ToolError> {
        // Without -Werror, which ends before anything is counted; warnings are errors below.
        let (out, cubin) = self.run(job, &["-v", "-warn-spills", "-warn-lmem-usage"])?;
        let report = String::from_utf8_lossy(&out.stderr);
        let resources = Resources::parse(&report);
        if let Some(resources) = resources.filter(Resources::uses_local_memory) {
            return Err(ToolError::LocalMemory {
                module: job.module.clone(),
                target: job.target,
                resources,
            });
        }
        let diagnostics = diagnostics(&out);
        if !diagnostics.is_empty() {
            return Err(rejected(job, diagnostics));
        }
        let resources = resources.ok_or_else(|| ToolError::Report {
            module: job.module.clone(),
            tool: "ptxas",
            reason: format!("no registers in `{}`", report.trim()),
        })?;
        Ok(Assembled { cubin, resources })
    }

    /// Assembles many texts, one a thread of rayon at a time. `jobs` is drawn from as threads
    /// become free; the values that `each` returns for the results come back in the order of
    /// `jobs`.
    pub fn assemble_all<R: Send>(
        &self,
        jobs: impl Iterator<Item = Job> + Send,
        each: impl Fn(&Job, Result<Assembled, ToolError>) -> R + Sync,
    ) -> Vec<R> {
        let jobs = jobs.enumerate().par_bridge();
        let done = jobs.map(|(n, job)| (n, each(&job, self.assemble(&job))));
        let mut done: Vec<(usize, R)> = done.collect();
        done.sort_by_key(|&(n, _)| n);
        done.into_iter().map(|(_, result)| result).collect()
    }
}

/// The messages of ptxas about a text; for a refused text at least its exit status.
fn diagnostics(out: &Output) -> Vec<Diagnostic> {
    let said = [&out.stderr, &out.stdout].map(|text| String::from_utf8_lossy(text));
    let lines = said.iter().flat_map(|text| text.lines());
    let mut diagnostics: Vec<_> = lines.filter_map(Diagnostic::parse).collect();
    if !out.status.success() && diagnostics.is_empty() {
        let message = format!("{}: {}", out.status, said[0].trim());
        let line = None;
        diagnostics.push(Diagnostic { line, message });
    }
    diagnostics
}

fn rejected(job: &Job, diagnostics: Vec<Diagnostic>) -> ToolError {
    ToolError::Rejected {
        module: job.module.clone(),
        target: job.target,
        diagnostics,
    }
}
