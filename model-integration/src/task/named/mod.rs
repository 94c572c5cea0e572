//! The tasks that have a name. **A new one is a file beside this one and a line of [`NAMED`].**
//!
//! A file owns all of its task: where its lines come from, its parser and prompt, its metrics, and,
//! where answers are generated, stop words and filters. [`gsm8k`] is an example of the latter.

pub mod arc;
pub mod gsm8k;
pub mod hellaswag;
pub mod lambada;
pub mod wikitext;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{FewShot, Protocol, Task, TaskError, file, jsonl};

/// Every named task.
pub const NAMED: &[NamedTask] = &[
    lambada::EMBEDDED,
    lambada::LAMBADA,
    hellaswag::HELLASWAG,
    arc::CHALLENGE,
    gsm8k::GSM8K,
    wikitext::WIKITEXT,
];

/// A task that can be asked for by name.
#[derive(Debug)]
pub struct NamedTask {
    /// What `--tasks` calls it.
    pub name: &'static str,
    /// One line for the help.
    pub about: &'static str,
    /// How its lines become questions, and how answers are judged.
    pub protocol: &'static Protocol,
    /// Solved examples before each, where nobody says how many.
    pub num_fewshot: usize,
    /// Where its lines come from.
    pub origin: Origin,
}

/// Where the lines of a task come from.
#[derive(Debug)]
pub enum Origin {
    /// Part of the binary.
    Embedded,
    /// Splits of a data set.
    Dataset {
        /// What is scored.
        test: Split,
        /// What solved examples are of.
        training: Option<Split>,
    },
}

/// A file in the data directory, or else of a data set on the hub.
#[derive(Debug)]
pub struct Split {
    /// The first of these that the data directory has.
    pub files: &'static [&'static str],
    /// Repository and file on the hub. The data directory may have it under that path, too.
    pub hub: (&'static str, &'static str),
}

/// Where the content of named tasks comes from.
pub struct DataSources<'a> {
    /// The directory that is searched before the hub.
    pub data_dir: Option<&'a Path>,
    /// The content of the embedded task.
    pub embedded: &'static str,
    /// Fetches a file of a data set from the hub, given repository and file, and returns where
    /// it is.
    pub hub_file: &'a dyn Fn(&str, &str) -> anyhow::Result<PathBuf>,
}

/// Loads a task by name, with its training split if solved examples are of that; or a file of the
/// user's by path.
///
/// # Errors
/// [`TaskError`], or why the hub did not provide the file.
pub fn load(name: &str, fewshot: &FewShot, sources: &DataSources) -> anyhow::Result<Task> {
    let Some(named) = NAMED.iter().find(|task| task.name == name) else {
        let path = Path::new(name);
        let is_file = |ending: &OsStr| ending == "jsonl" || ending == "parquet";
        if !path.exists() && !path.extension().is_some_and(is_file) {
            let known = NAMED.iter().map(|task| task.name).collect();
            let name = name.to_owned();
            return Err(TaskError::Unknown { name, known }.into());
        }
        return Ok(file::read(path)?);
    };
    let read = |split: &Split| -> anyhow::Result<Task> {
        let path = split.path(sources)?;
        Ok(file::read_by(&path, named.protocol)?)
    };
    let (mut task, training) = match &named.origin {
        Origin::Embedded => {
            let lines = sources.embedded.as_bytes();
            let task = jsonl::parse_by(name, "embedded", lines, named.protocol)?;
            (task, &None)
        }
        Origin::Dataset { test, training } => {
            let task = read(test).with_context(|| format!("task {name}"))?;
            (task, training)
        }
    };
    task.name = named.name.to_owned();
    task.num_fewshot = named.num_fewshot;
    if let Some(split) = training.as_ref().filter(|_| fewshot.is_of_training(&task)) {
        let training = read(split).with_context(|| {
            format!(
                "task {name}: solved examples are of its training split; --fewshot-file names \
                 others, --num-fewshot 0 does without"
            )
        })?;
        task.training = Some(Box::new(training));
    }
    Ok(task)
}

impl Split {
    /// Where it is: in the data directory, or else where the hub's file was put.
    fn path(&self, sources: &DataSources) -> anyhow::Result<PathBuf> {
        let (repository, hub_file) = self.hub;
        let of_hub = format!("{repository}/{hub_file}");
        let names = || self.files.iter().copied().chain([of_hub.as_str()]);
        if let Some(directory) = sources.data_dir {
            let mut paths = names().map(|file| directory.join(file));
            if let Some(path) = paths.find(|path| path.exists()) {
                return Ok(path);
            }
        }
        (sources.hub_file)(repository, hub_file).with_context(|| {
            let names: Vec<String> = names().map(|file| format!("`{file}`")).collect();
            let names = names.join(" or ");
            let local = sources
                .data_dir
                .map(|directory| format!("no {names} in `{}`, and ", directory.display()));
            format!(
                "{}the hub does not provide `{hub_file}` of {repository}; --data-dir names a \
                 directory with {names}",
                local.unwrap_or_default(),
            )
        })
    }
}
