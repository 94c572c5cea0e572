//! Tasks: examples, and how each becomes a scored token sequence.
//!
//! A task is a file of examples: JSON lines, or a format that is converted to them. Examples have
//! the [`Kind`]s of lm-evaluation-harness. The same file gives the same numbers there.
//!
//! | module | contents |
//! |---|---|
//! | [`named`] | the named tasks, a file each; **add a new one here** |
//! | [`protocol`] | what defines a task: parser, prompt, metrics, stop words, filters |
//! | [`metric`] | the metrics that several tasks share |
//! | [`shape`] | the user's files: which fields select which protocol |
//! | [`file`](mod@file) | reads a task from a file, by its extension |
//! | [`plain_text`] | documents of a text without headings |
//! | [`jsonl`], [`fields`] | reads examples from JSON lines |
//! | [`parquet`] | converts rows of a Parquet file to JSON lines |
//! | [`fewshot`], [`draws`] | solved examples before the scored one |
//! | [`prompt`] | the text before a target: plain, or a chat |
//! | [`encode`] | tokenises contexts and targets |

pub mod draws;
pub mod encode;
pub mod fewshot;
pub mod fields;
pub mod file;
pub mod jsonl;
pub mod metric;
pub mod named;
pub mod parquet;
pub mod plain_text;
pub mod prompt;
pub mod protocol;
pub mod shape;

use std::path::PathBuf;

use crate::did_you_mean::did_you_mean;

use serde_json::{Map, Value};

pub use encode::{Encoded, PromptEncoder};
pub use fewshot::{FewShot, Sampler};
pub use named::{DataSources, load};
pub use prompt::{PromptStyle, Turns};
pub use protocol::{Generation, Protocol};

use named::NAMED;
use shape::{SHAPES, Shape};

/// Every protocol, of shapes and of named tasks; some occur more than once.
pub fn protocols() -> impl Iterator<Item = &'static Protocol> {
    let of_shapes = SHAPES.iter().map(|shape| shape.protocol);
    let of_names = NAMED.iter().map(|task| task.protocol);
    of_shapes.chain(of_names).chain([&plain_text::PROTOCOL])
}

/// One line of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The line as it was read.
    pub doc: Map<String, Value>,
    /// The question and its right answer.
    pub content: Content,
    /// Its line in the file, from 1.
    pub line: usize,
}

/// A question, with its right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// How likely is a target?
    Cloze {
        /// Text before the target.
        context: String,
        /// The target, usually with a leading space.
        target: String,
    },
    /// Which of several continuations is the likeliest?
    Choices {
        /// Text before each choice.
        context: String,
        /// The choices, without the space before them.
        choices: Vec<String>,
        /// Index of the right choice.
        gold: usize,
    },
    /// Generate the solution of a problem.
    Problem {
        /// The prompt.
        context: String,
        /// The solution, with the answer at its end.
        solution: String,
    },
    /// How likely is every token of a text?
    Document {
        /// The text.
        text: String,
        /// Number of words, for the perplexity of a word.
        words: usize,
        /// Number of bytes, for the perplexity of a byte.
        bytes: usize,
    },
}

/// The kind of a task's examples; lm-evaluation-harness calls it the output type.
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
    /// lm-evaluation-harness' name.
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
    /// The kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Cloze { .. } => Kind::Cloze,
            Self::Choices { .. } => Kind::Choices,
            Self::Problem { .. } => Kind::Problem,
            Self::Document { .. } => Kind::Document,
        }
    }

    /// The model's input; empty for a document.
    pub fn context(&self) -> &str {
        match self {
            Self::Cloze { context, .. }
            | Self::Choices { context, .. }
            | Self::Problem { context, .. } => context,
            Self::Document { .. } => "",
        }
    }

    /// The right answer.
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
    /// How its lines are parsed and answers are judged.
    pub protocol: &'static Protocol,
    /// The rule that matched the user's file; `None` for a named task, which has its own protocol.
    pub read_as: Option<String>,
    /// Default number of solved examples before each example.
    pub num_fewshot: usize,
    /// Its training split, if solved examples come from it.
    pub training: Option<Box<Task>>,
    /// Its examples in the order of the file, all of one kind.
    pub examples: Vec<Example>,
}

impl Task {
    /// The kind of its examples.
    pub fn kind(&self) -> Kind {
        let first = self.examples.first();
        first.map_or(Kind::Cloze, |example| example.content.kind())
    }
}

/// Why a task cannot be used. Every variant names the file, and the line if there is one.
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
    #[error(transparent)]
    Foreign(crate::checkpoint::foreign::ForeignFile),
    #[error("`{file}`: not a Parquet file that can be read: {reason}")]
    Parquet { file: String, reason: String },
    #[error(
        "`{file}`: a task is JSON lines, Parquet, or a text (.txt, .raw), not {encoding}; convert \
         it, for example with pandas' to_json(..., orient=\"records\", lines=True)"
    )]
    Encoding { file: String, encoding: String },
    #[error(
        "`{file}`: a Parquet file compressed by {codec}, which is not read; write it again \
         uncompressed, by snappy, gzip, lz4 or zstd, or as JSON lines"
    )]
    Codec { file: String, codec: String },
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
    #[error("{0}; a task may be some characters of a text, such as `stories.txt#0..40000`")]
    Excerpt(String),
    #[error(transparent)]
    TooShort(crate::excerpt::TooShort),
}
