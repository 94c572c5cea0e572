//! `mxlab verify --replay`: runs one problem again and prints the differences.

use std::path::Path;

use anyhow::{Context, Result, bail};
use mxlab_fuzz::campaign::problem_of;
use mxlab_fuzz::regression::Regression;
use mxlab_kernels::registry::{Entry, Problem, verify};

use super::jobs::of_files;
use super::{VerifyArgs, open};
use crate::cli::Done;
use crate::cli::output::{Usage, print};

/// Runs the problem of a file, or of `KERNEL:SEED`.
pub fn run(what: &str, args: &VerifyArgs) -> Result<Done> {
    let (mut entry, problem) = find(what, args.problem_size)?;
    if !args.ptx.is_empty() {
        let id = entry.id();
        let entries = of_files(&args.ptx)?.into_iter();
        let same = entries.into_iter().find(|other| other.id() == id);
        entry = same.with_context(|| format!("--ptx: no file has `.entry {id}`"))?;
    }
    // An invalid problem must not look like a wrong kernel.
    entry
        .reference(&problem)
        .with_context(|| format!("--replay: this is not a problem of {}", entry.id()))?;
    let device = open(args.device, args.images.open()?)?;
    let runner = entry.load(&device, &entry.ptx())?;
    let stream = device.stream()?;
    let sizes: Vec<String> = problem
        .sizes
        .iter()
        .map(|(name, n)| format!("{name} {n}"))
        .collect();
    print(&format!("{} on {}\n", entry.id(), device.properties().name))?;
    print(&format!("{}\n", sizes.join(", ")))?;
    match verify(&*entry, &*runner, &stream, &problem) {
        Ok(()) => {
            print("right\n")?;
            Ok(Done::Ok)
        }
        Err(failure) => {
            print(&format!("wrong: {failure}\n"))?;
            Ok(Done::WithFindings)
        }
    }
}

fn find(what: &str, problem_size: usize) -> Result<(Box<dyn Entry>, Problem)> {
    let kernel = |id: &str| super::kernel_of(id).context("--replay");
    let path = Path::new(what);
    if path.exists() {
        let regression = Regression::read(path)?;
        return Ok((kernel(&regression.kernel)?, regression.problem));
    }
    let Some((id, seed)) = what.rsplit_once(':') else {
        bail!(Usage(format!(
            "--replay: `{what}` is neither a file nor KERNEL:SEED; give a file that --save wrote, \
             or what a failure prints"
        )));
    };
    let Ok(seed) = seed.parse() else {
        bail!(Usage(format!(
            "--replay: invalid seed `{seed}`; expected a whole number behind the colon"
        )));
    };
    let entry = kernel(id)?;
    let problem = problem_of(&*entry, seed, problem_size);
    Ok((entry, problem))
}
