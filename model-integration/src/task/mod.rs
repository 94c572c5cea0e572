//! Tasks: examples, and how each becomes a scored token sequence.
//!
//! A task is a file of JSON lines. Each line is an example: a context and the target whose
//! log-likelihood is asked for. All details are those of lm-evaluation-harness' `lambada_openai`,
//! so that the same file gives the same numbers there.
//!
//! | module | what |
//! |---|---|
//! | [`named`] | the tasks that have a name; **a new one is added here** |
//! | [`jsonl`] | a file of JSON lines becomes examples |
//! | [`fewshot`] | solved examples before the one that is scored |
//! | [`encode`] | context and target become tokens |

pub mod encode;
pub mod fewshot;
pub mod jsonl;
pub mod named;

use std::path::PathBuf;

use serde_json::{Map, Value};

pub use encode::{Encoded, PromptEncoder, Tokenize};
pub use fewshot::FewShot;
pub use named::{DataSources, load};

/// One line of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The line as it was read.
    pub doc: Map<String, Value>,
    /// What the model is given.
    pub context: String,
    /// What it is asked to continue with, usually with a leading space.
    pub target: String,
    /// Where it stands in the file, from 1.
    pub line: usize,
}

/// A task with at least one example.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its name in tables, records and file names: letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// The file it came from, or `embedded`.
    pub source: String,
    /// SHA-256 of its content in hexadecimal.
    pub sha256: String,
    /// Its examples in the order of the file.
    pub examples: Vec<Example>,
}

/// Why a task cannot be used. Every variant names the file, and the line where there is one.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum TaskError {
    #[error("unknown task `{name}`: no such file, and the named tasks are {}", known.join(", "))]
    Unknown {
        name: String,
        known: Vec<&'static str>,
    },
    #[error("cannot read `{}`: {reason}", path.display())]
    Read {
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("`{file}` line {line}: not UTF-8")]
    NotUtf8 { file: String, line: usize },
    #[error("`{file}` line {line}: not a JSON object: {reason}")]
    Json {
        file: String,
        line: usize,
        reason: String,
    },
    #[error("`{file}` line {line}: field `{field}`: {reason}")]
    Field {
        file: String,
        line: usize,
        field: &'static str,
        reason: String,
    },
    #[error("`{file}` has no examples")]
    Empty { file: String },
}
