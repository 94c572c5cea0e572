//! The tasks that have a name. **A new one is an entry of [`NAMED`].**

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{FewShot, Kind, Task, TaskError, file, jsonl};

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
    /// Splits of a data set: what is scored, and what solved examples are of.
    Dataset {
        test: Split,
        training: Option<Split>,
    },
}

/// A file in the data directory, or else of a data set on the hub.
struct Split {
    /// The first of these that the data directory has.
    files: &'static [&'static str],
    /// Repository and file on the hub. The data directory may have it under that path, too.
    hub: (&'static str, &'static str),
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
            test: Split {
                files: &["lambada_test.jsonl"],
                hub: ("EleutherAI/lambada_openai", "data/lambada_test.jsonl"),
            },
            training: None,
        },
    },
    NamedTask {
        name: "hellaswag",
        about: "HellaSwag, four endings of a scene: acc, acc_norm",
        origin: Origin::Dataset {
            test: Split {
                files: &["hellaswag_val.jsonl"],
                hub: ("Rowan/hellaswag", "data/validation-00000-of-00001.parquet"),
            },
            training: Some(Split {
                files: &["hellaswag_train.jsonl"],
                hub: ("Rowan/hellaswag", "data/train-00000-of-00001.parquet"),
            }),
        },
    },
    NamedTask {
        name: "arc_challenge",
        about: "the AI2 reasoning challenge, the harder part: acc, acc_norm",
        origin: Origin::Dataset {
            test: Split {
                files: &["arc_challenge_test.jsonl", "ARC-Challenge-Test.jsonl"],
                hub: (
                    "allenai/ai2_arc",
                    "ARC-Challenge/test-00000-of-00001.parquet",
                ),
            },
            training: Some(Split {
                files: &["arc_challenge_train.jsonl", "ARC-Challenge-Train.jsonl"],
                hub: (
                    "allenai/ai2_arc",
                    "ARC-Challenge/train-00000-of-00001.parquet",
                ),
            }),
        },
    },
    NamedTask {
        name: "gsm8k",
        about: "GSM8K, problems in words, 5 of them solved before: exact match of the answer",
        origin: Origin::Dataset {
            test: Split {
                files: &["gsm8k_test.jsonl", "test.jsonl"],
                hub: ("openai/gsm8k", "main/test-00000-of-00001.parquet"),
            },
            training: Some(Split {
                files: &["gsm8k_train.jsonl", "train.jsonl"],
                hub: ("openai/gsm8k", "main/train-00000-of-00001.parquet"),
            }),
        },
    },
    NamedTask {
        name: "wikitext",
        about: "WikiText-2, every token of its articles: perplexity of words and bytes",
        origin: Origin::Dataset {
            test: Split {
                files: &[
                    "wikitext2_test.jsonl",
                    "wiki.test.raw",
                    "wikitext2_test.txt",
                ],
                hub: (
                    "EleutherAI/wikitext_document_level",
                    "wikitext-2-raw-v1/wikitext-2-raw-v1-test.parquet",
                ),
            },
            training: None,
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

/// Loads a task by name, or from a file by path; with its training split if solved examples are of that.
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
    let (mut task, training) = match &named.origin {
        Origin::Embedded => {
            let lines = sources.embedded.as_bytes();
            (jsonl::parse(name, "embedded", lines)?, &None)
        }
        Origin::Dataset { test, training } => {
            let path = test.path(sources).with_context(|| format!("task {name}"))?;
            (file::read(&path)?, training)
        }
    };
    task.name = named.name.to_owned();
    task.num_fewshot = match task.kind() {
        Kind::Problem => PROBLEM_FEWSHOT,
        Kind::Cloze | Kind::Choices | Kind::Document => 0,
    };
    if let Some(split) = training.as_ref().filter(|_| fewshot.is_of_training(&task)) {
        let path = split.path(sources).with_context(|| {
            format!(
                "task {name}: solved examples are of its training split; --fewshot-file names others, --num-fewshot 0 \
                 does without"
            )
        })?;
        task.training = Some(Box::new(file::read(&path)?));
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
            let local = sources.data_dir.map(|directory| {
                format!("no {names} in `{}`, and ", directory.display())
            });
            format!(
                "{}the hub does not provide `{hub_file}` of {repository}; --data-dir names a directory with {names}",
                local.unwrap_or_default(),
            )
        })
    }
}
