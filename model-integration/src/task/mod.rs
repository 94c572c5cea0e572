//! Tasks: examples, and how each becomes a scored token sequence.
//!
//! A task is a file of JSON lines, or what becomes some. Each line is an example, of one of the
//! [`Kind`]s of lm-evaluation-harness, whose details are followed so that the same file gives the
//! same numbers there.
//!
//! | module | what |
//! |---|---|
//! | [`named`] | the tasks that have a name, a file each; **a new one is added here** |
//! | [`protocol`] | what a task owns: parser, prompt, metrics, stop words, filters |
//! | [`metric`] | the metrics that several tasks share, and how one is judged |
//! | [`shape`] | files of the user's: which fields say which protocol |
//! | [`file`](mod@file) | a file becomes a task, by the end of its name |
//! | [`jsonl`], [`fields`] | JSON lines become examples |
//! | [`parquet`] | rows of a Parquet file become JSON lines |
//! | [`fewshot`], [`draws`] | solved examples before the one that is scored |
//! | [`encode`] | context and target become tokens |

pub mod draws;
pub mod encode;
pub mod fewshot;
pub mod fields;
pub mod file;
pub mod jsonl;
pub mod metric;
pub mod named;
pub mod parquet;
pub mod protocol;
pub mod shape;

use std::path::PathBuf;

use crate::did_you_mean::did_you_mean;

use serde_json::{Map, Value};

pub use encode::{Encoded, PromptEncoder};
pub use fewshot::{FewShot, Sampler};
pub use named::{DataSources, load};
pub use protocol::{Generation, Protocol};

use named::NAMED;
use shape::{SHAPES, Shape};

/// Every protocol, of shapes and of named tasks; the same one may come several times.
pub fn protocols() -> impl Iterator<Item = &'static Protocol> {
    let of_shapes = SHAPES.iter().map(|shape| shape.protocol);
    of_shapes.chain(NAMED.iter().map(|task| task.protocol))
}

/// One line of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The line as it was read.
    pub doc: Map<String, Value>,
    /// What is asked.
    pub content: Content,
    /// Where it stands in the file, from 1.
    pub line: usize,
}

/// What is asked of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// How likely a target is.
    Cloze {
        /// What the model is given.
        context: String,
        /// What it is asked to continue with, usually with a leading space.
        target: String,
    },
    /// Which of several ways to go on is the likeliest.
    Choices {
        /// What the model is given.
        context: String,
        /// The ways, without the space before them.
        choices: Vec<String>,
        /// Which of them is right.
        gold: usize,
    },
    /// What is generated after a problem, until another would begin.
    Problem {
        /// What the model is given.
        context: String,
        /// How it is solved, the answer at its end.
        solution: String,
    },
    /// How likely every token of a text is.
    Document {
        /// The text.
        text: String,
        /// Words that perplexity is counted in.
        words: usize,
        /// Bytes, likewise.
        bytes: usize,
    },
}

/// What the examples of a task are: lm-evaluation-harness calls it the output type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Content::Cloze`]
    Cloze,
    /// [`Content::Choices`]
    Choices,
    /// [`Content::Problem`]
    Problem,
    /// [`Content::Document`]
    Document,
}

impl Kind {
    /// What lm-evaluation-harness calls it.
    pub const fn output_type(self) -> &'static str {
        match self {
            Self::Cloze => "loglikelihood",
            Self::Choices => "multiple_choice",
            Self::Problem => "generate_until",
            Self::Document => "loglikelihood_rolling",
        }
    }
}

impl Content {
    /// What it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Cloze { .. } => Kind::Cloze,
            Self::Choices { .. } => Kind::Choices,
            Self::Problem { .. } => Kind::Problem,
            Self::Document { .. } => Kind::Document,
        }
    }

    /// What the model is given: nothing, of a document.
    pub fn context(&self) -> &str {
        match self {
            Self::Cloze { context, .. }
            | Self::Choices { context, .. }
            | Self::Problem { context, .. } => context,
            Self::Document { .. } => "",
        }
    }

    /// What would be right.
    pub fn solution(&self) -> &str {
        match self {
            Self::Cloze { target, .. } => target,
            Self::Choices { choices, gold, .. } => &choices[*gold],
            Self::Problem { solution, .. } => solution,
            Self::Document { text, .. } => text,
        }
    }
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
    /// How its lines were read, and how answers are judged.
    pub protocol: &'static Protocol,
    /// The rule by which a file of the user's was read; `None` of a named task, which has its own.
    pub read_as: Option<String>,
    /// Solved examples before each, where nobody says how many.
    pub num_fewshot: usize,
    /// Its training split, if solved examples are of that.
    pub training: Option<Box<Task>>,
    /// Its examples in the order of the file, all of a kind.
    pub examples: Vec<Example>,
}

impl Task {
    /// What its examples are.
    pub fn kind(&self) -> Kind {
        let first = self.examples.first();
        first.map_or(Kind::Cloze, |example| example.content.kind())
    }
}

/// Why a task cannot be used. Every variant names the file, and the line where there is one.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum TaskError {
    #[error(
        "unknown task `{name}`; expected a file, or one of {}{}",
        known.join(", "), did_you_mean(name, known)
    )]
    Unknown {
        name: String,
        known: Vec<&'static str>,
    },
    #[error("cannot read `{}`: {reason}", path.display())]
    Read {
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("`{file}`: not a Parquet file that can be read: {reason}")]
    Parquet { file: String, reason: String },
    #[error("`{file}` line {line}: not UTF-8")]
    NotUtf8 { file: String, line: usize },
    #[error("`{file}` line {line}: not a JSON object: {reason}")]
    Json {
        file: String,
        line: usize,
        reason: String,
    },
    #[error("`{file}` line {line}: field `{field}`: {reason} (read as {reading})")]
    Field {
        file: String,
        line: usize,
        field: &'static str,
        reason: String,
        reading: String,
    },
    #[error(
        "`{file}` line {line}: {found}; a file has the fields of one of these: {}; rename its \
         fields to match one",
        Shape::known()
    )]
    Shape {
        file: String,
        line: usize,
        found: String,
    },
    #[error("`{file}` has no examples")]
    Empty { file: String },
}
