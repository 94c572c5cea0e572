//! The tasks that have a name. **A new one is an entry of [`NAMED`].**

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{Kind, Task, TaskError, jsonl, wikitext};

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
    /// One of these files in the data directory, of lines or a text of articles; where it is published.
    Published {
        files: &'static [&'static str],
        from: &'static str,
    },
}

/// Solved problems before each, as the harness has it.
const PROBLEM_FEWSHOT: usize = 5;

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
    NamedTask {
        name: "hellaswag",
        about: "HellaSwag, four endings of a scene: acc, acc_norm",
        origin: Origin::Published {
            files: &["hellaswag_val.jsonl"],
            from: "https://github.com/rowanz/hellaswag, data/hellaswag_val.jsonl",
        },
    },
    NamedTask {
        name: "arc_challenge",
        about: "the AI2 reasoning challenge, the harder part: acc, acc_norm",
        origin: Origin::Published {
            files: &["arc_challenge_test.jsonl", "ARC-Challenge-Test.jsonl"],
            from: "https://allenai.org/data/arc, ARC-Challenge-Test.jsonl",
        },
    },
    NamedTask {
        name: "gsm8k",
        about: "GSM8K, problems in words, 5 of them solved before: exact match of the answer",
        origin: Origin::Published {
            files: &["gsm8k_test.jsonl", "test.jsonl"],
            from: "https://github.com/openai/grade-school-math, test.jsonl",
        },
    },
    NamedTask {
        name: "wikitext",
        about: "WikiText-2, every token of its articles: perplexity of words and bytes",
        origin: Origin::Published {
            files: &[
                "wikitext2_test.jsonl",
                "wiki.test.raw",
                "wikitext2_test.txt",
            ],
            from: "wikitext-2-raw-v1, wiki.test.raw",
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
    let mut task = match &named.origin {
        Origin::Published { files, from } => published_task(name, files, from, sources)?,
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
    task.num_fewshot = match task.kind() {
        Kind::Problem => PROBLEM_FEWSHOT,
        Kind::Cloze | Kind::Choices | Kind::Document => 0,
    };
    Ok(task)
}

/// A task of the first of its files that is there.
fn published_task(
    name: &str,
    files: &[&str],
    from: &str,
    sources: &DataSources,
) -> anyhow::Result<Task> {
    let directory = sources.data_dir.unwrap_or(Path::new("."));
    let mut paths = files.iter().map(|file| directory.join(file));
    let Some(path) = paths.find(|path| path.exists()) else {
        let names: Vec<String> = files.iter().map(|file| format!("`{file}`")).collect();
        bail!(
            "task {name}: no {} in `{}`; --data-dir names the directory that has it, and it is published at {from}",
            names.join(" or "),
            directory.display()
        );
    };
    if path
        .extension()
        .is_some_and(|extension| extension == "jsonl")
    {
        return Ok(jsonl::read(&path)?);
    }
    let text = std::fs::read_to_string(&path);
    let text = text.with_context(|| format!("`{}`", path.display()))?;
    let lines = wikitext::articles(&text);
    Ok(jsonl::parse(
        name,
        &path.to_string_lossy(),
        lines.as_bytes(),
    )?)
}
