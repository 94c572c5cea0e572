//! The named tasks. **A new one is a file beside this one and a line of [`NAMED`].**
//!
//! A file owns all of its task: origin, parser, prompt, metrics and, for generated answers, stop
//! words and filters. [`gsm8k`] is an example with generated answers.

pub mod arc;
pub mod gsm8k;
pub mod hellaswag;
pub mod lambada;
pub mod wikitext;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::excerpt::Excerpt;

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

/// A task with a name.
#[derive(Debug)]
pub struct NamedTask {
    /// Its name in `--tasks`.
    pub name: &'static str,
    /// One line for the help.
    pub about: &'static str,
    /// How its lines are parsed and answers are judged.
    pub protocol: &'static Protocol,
    /// Default number of solved examples before each example.
    pub num_fewshot: usize,
    /// Origin of its lines.
    pub origin: Origin,
}

/// Origin of a task's lines.
#[derive(Debug)]
pub enum Origin {
    /// Part of the binary.
    Embedded,
    /// Splits of a data set.
    Dataset {
        /// The scored split.
        test: Split,
        /// The split of the solved examples.
        training: Option<Split>,
    },
}

/// A file of the data directory, or of a data set on the hub.
#[derive(Debug)]
pub struct Split {
    /// Names in the data directory; the first that exists is read.
    pub files: &'static [&'static str],
    /// Repository and file on the hub. The data directory may also have the file under this path.
    pub hub: (&'static str, &'static str),
}

/// Where the contents of named tasks are looked up.
pub struct DataSources<'a> {
    /// The directory that is searched before the hub.
    pub data_dir: Option<&'a Path>,
    /// The content of the embedded task.
    pub embedded: &'static str,
    /// Downloads a file of a data set from the hub, given repository and file, and returns its
    /// path.
    pub hub_file: &'a dyn Fn(&str, &str) -> anyhow::Result<PathBuf>,
}

/// Loads a named task, with its training split if solved examples come from it; or a user's file,
/// given its path.
///
/// # Errors
/// [`TaskError`], or the reason why the hub did not provide the file.
pub fn load(name: &str, fewshot: &FewShot, sources: &DataSources) -> anyhow::Result<Task> {
    let Some(named) = NAMED.iter().find(|task| task.name == name) else {
        let excerpt: Excerpt = match Path::new(name).exists() {
            true => Excerpt::whole(name),
            false => name.parse().map_err(TaskError::Excerpt)?,
        };
        let path = &excerpt.path;
        let is_file = |ending: &OsStr| ending == "jsonl" || ending == "parquet";
        if !path.exists() && !path.extension().is_some_and(is_file) {
            let known = NAMED.iter().map(|task| task.name).collect();
            let name = name.to_owned();
            return Err(TaskError::Unknown { name, known }.into());
        }
        return Ok(file::read(&excerpt)?);
    };
    let read = |split: &Split| split.read(named.protocol, sources);
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
    if let Some(split) = training
        .as_ref()
        .filter(|_| fewshot.uses_training_split(&task))
    {
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

/// The training split of a named task.
///
/// # Errors
/// If the task is unknown or has none, or the reason why its file is not there.
pub fn training(name: &str, sources: &DataSources) -> anyhow::Result<Task> {
    let named = NAMED.iter().find(|task| task.name == name);
    let split = named.and_then(|task| Some((task.protocol, task.training()?)));
    let (protocol, split) = split.with_context(|| format!("{name} has no training split"))?;
    let task = split.read(protocol, sources);
    task.with_context(|| format!("the training split of {name}"))
}

impl NamedTask {
    /// Its training split.
    pub const fn training(&self) -> Option<&Split> {
        match &self.origin {
            Origin::Embedded => None,
            Origin::Dataset { training, .. } => training.as_ref(),
        }
    }
}

impl Split {
    fn read(&self, protocol: &'static Protocol, sources: &DataSources) -> anyhow::Result<Task> {
        Ok(file::read_by(&self.path(sources)?, protocol)?)
    }

    /// Its path in the data directory, or else that of the downloaded file.
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
