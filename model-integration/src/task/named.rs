//! The tasks that have a name. **A new one is an entry of [`NAMED`].**

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{Task, TaskError, jsonl};

/// A task that can be asked for by name.
pub struct NamedTask {
    /// What `--tasks` calls it.
    pub name: &'static str,
    /// One line for the help.
    pub about: &'static str,
    origin: Origin,
}

enum Origin {
    /// Part of the binary.
    Embedded,
    /// A file in the data directory, or else of a data set on the hub.
    Dataset {
        file: &'static str,
        hub_repository: &'static str,
        hub_file: &'static str,
    },
}

/// Every named task.
pub const NAMED: &[NamedTask] = &[
    NamedTask {
        name: "embedded",
        about: "last words of generated stories, part of the binary",
        origin: Origin::Embedded,
    },
    NamedTask {
        name: "lambada_openai",
        about: "LAMBADA, the 5153 examples of lm-evaluation-harness' task of that name",
        origin: Origin::Dataset {
            file: "lambada_test.jsonl",
            hub_repository: "EleutherAI/lambada_openai",
            hub_file: "data/lambada_test.jsonl",
        },
    },
];

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

/// Loads a task by name, or from a file of JSON lines by path.
///
/// # Errors
/// [`TaskError`], or why the hub did not provide the file.
pub fn load(name: &str, sources: &DataSources) -> anyhow::Result<Task> {
    let Some(named) = NAMED.iter().find(|task| task.name == name) else {
        let path = Path::new(name);
        if !path.exists()
            && path
                .extension()
                .is_none_or(|extension| extension != "jsonl")
        {
            let known = NAMED.iter().map(|task| task.name).collect();
            let name = name.to_owned();
            return Err(TaskError::Unknown { name, known }.into());
        }
        return Ok(jsonl::read(path)?);
    };
    let mut task = match named.origin {
        Origin::Embedded => jsonl::parse(name, "embedded", sources.embedded.as_bytes())?,
        Origin::Dataset {
            file,
            hub_repository,
            hub_file,
        } => match sources.data_dir.map(|directory| directory.join(file)) {
            Some(path) if path.exists() => jsonl::read(&path)?,
            local => {
                let path = (sources.hub_file)(hub_repository, hub_file).with_context(|| {
                    let local = local.map(|path| format!("no `{}`, and ", path.display()));
                    format!(
                        "task {name}: {}the hub does not provide `{hub_file}` of \
                         {hub_repository}; --data-dir names a directory with `{file}`",
                        local.unwrap_or_default()
                    )
                })?;
                jsonl::read(&path)?
            }
        },
    };
    task.name = named.name.to_owned();
    Ok(task)
}
