//! The records of a study: its plan, a record a cell, and all of them in one.

use std::collections::HashSet;
use std::path::Path;

use mxlab_harness::measure::Energy;
use mxlab_harness::record::{Environment, FileError, float};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::column::Column;
use super::eval::EvalRecord;
use super::result::TaskResult;
use super::weight_error::WeightError;
use super::{Record, Recorded, Wrong, tagged};
use crate::config::QuantConfig;
use crate::engine::{Footprint, ModelInfo};
use crate::task::metric::Metric;

/// A study as it is kept beside its results: whatever decides about them, and its hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frozen {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub title: String,
    /// What it asks.
    pub question: String,
    /// The build that runs it.
    pub mxlab: String,
    /// The text of its file.
    pub text: String,
    /// What the command line changed.
    pub changes: Changes,
    /// SHA-256 of all of the above.
    pub hash: String,
}

/// What the command line changes of a study, and how its models run: part of what is frozen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// Models instead of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// Tasks instead of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Vec<String>>,
    /// Examples of each task instead of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// What runs the models, and in what type: anything that decides about results.
    pub engine: String,
    /// Examples that go through a model together.
    pub batch_size: usize,
}

/// A whole study: what a folder of cells holds but for the logs that interrupted cells go on from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyRecord {
    /// What it does.
    #[serde(with = "tagged")]
    pub plan: Frozen,
    /// Its cells, in the order of the names of their files.
    pub cells: Vec<StudyCell>,
}

/// A cell of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyCell {
    /// Its name in the names of files.
    pub id: String,
    /// What is kept of it.
    pub record: CellRecord,
    /// The evaluation that scored it; `None` of cells that are not scored.
    #[serde(with = "tagged::option")]
    pub run: Option<EvalRecord>,
}

impl StudyRecord {
    /// Checks that every cell is of this study, and that there is one of each name.
    ///
    /// # Errors
    /// Naming the cell.
    pub fn check(&self) -> anyhow::Result<()> {
        let mut ids = HashSet::new();
        for StudyCell { id, record, .. } in &self.cells {
            anyhow::ensure!(ids.insert(id), "cell `{id}` is there twice");
            anyhow::ensure!(
                record.head().hash == self.plan.hash,
                "cell `{id}` is of another study: found hash {}, expected {}, that of study `{}`",
                record.head().hash,
                self.plan.hash,
                self.plan.name
            );
        }
        Ok(())
    }
}

/// The record of a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum CellRecord {
    /// What it answered. The same bytes for the same study, wherever it was interrupted.
    Score(Box<ScoreRecord>),
    /// What it took.
    Speed(Box<SpeedRecord>),
    /// What a search found. The same bytes for the same study.
    Search(Box<SearchRecord>),
}

/// What every record begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Name of the study.
    pub study: String,
    /// Its hash.
    pub hash: String,
    /// The model.
    pub model: ModelInfo,
    /// Name of the configuration.
    pub name: String,
    /// Where in the file it comes from.
    pub group: String,
    /// The value of each axis that its group is varied over.
    pub at: Vec<(String, String)>,
    /// Its place in the study, from 0.
    pub number: usize,
    /// The configuration in one line.
    pub description: String,
    /// The bits of each quantised operand, as in `W4A6KV4`.
    pub operands: String,
    /// The configuration.
    pub config: QuantConfig,
    /// Memory that the model takes.
    pub footprint: Footprint,
}

/// Accuracy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreRecord {
    /// What it is of.
    #[serde(flatten)]
    pub head: Head,
    /// Seed of stochastic rounding.
    pub seed: u32,
    /// Of the weights by themselves, where that was asked for and there are quantised ones.
    pub weight_error: Option<WeightError>,
    /// Of each task.
    pub tasks: Vec<TaskScores>,
}

/// Results of a task, and what they are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskScores {
    /// SHA-256 of its content.
    pub sha256: String,
    /// The results.
    #[serde(flatten)]
    pub result: TaskResult,
    /// The value of each example, by metric; not of perplexities, which are of log-likelihoods.
    pub columns: Vec<Column>,
}

/// Speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpeedRecord {
    /// What it is of.
    #[serde(flatten)]
    pub head: Head,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens that followed.
    pub output_tokens: usize,
    /// Each time but the first.
    pub repeats: Vec<Repeat>,
    /// Most memory that the process had meanwhile, in bytes; `None` is not measured.
    pub peak_memory_bytes: Option<u64>,
    /// Threads that computed.
    pub threads: usize,
    /// Where it was measured.
    pub environment: Environment,
}

/// A generation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    /// Seconds to the first token.
    pub first_token_seconds: f64,
    /// Mean seconds of a token after it.
    pub token_seconds: f64,
    /// All tokens that were generated, over all the time.
    pub tokens_per_second: f64,
    /// Of the tokens after the first; `None` is not measured.
    pub energy: Option<Energy>,
}

/// The most that could be quantised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchRecord {
    /// What it found, as the record of a configuration.
    #[serde(flatten)]
    pub head: Head,
    /// Seed of stochastic rounding.
    pub seed: u32,
    /// The first metric of the first task, which the search goes by.
    pub metric: &'static Metric,
    /// What it may come to at worst.
    #[serde(with = "float")]
    pub bound: f64,
    /// Its value for the baseline.
    #[serde(with = "float")]
    pub baseline: f64,
    /// What was tried, in this order.
    pub steps: Vec<Step>,
}

/// Some more parts quantised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which.
    pub parts: Vec<Part>,
    /// The metric with them and everything kept before.
    #[serde(with = "float")]
    pub value: f64,
    /// Whether they were kept.
    pub is_kept: bool,
    /// Bytes of all weights if they are kept.
    pub weight_bytes: u64,
}

/// A part that may be quantised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Layer.
    pub layer: usize,
    /// Projection.
    pub projection: String,
    /// Log-likelihood lost by it alone, over the bits it saves: what the order goes by.
    #[serde(with = "float")]
    pub cost: f64,
}

impl SearchRecord {
    /// How many parts were kept, and of how many.
    pub fn parts(&self) -> (usize, usize) {
        let kept = self.steps.iter().filter(|step| step.is_kept);
        let kept = kept.map(|step| step.parts.len()).sum();
        // What fails among others is tried again.
        let left = self
            .steps
            .iter()
            .filter(|step| !step.is_kept && step.parts.len() == 1);
        (kept, kept + left.count())
    }
}

impl CellRecord {
    /// What it is of.
    pub fn head(&self) -> &Head {
        match self {
            Self::Score(record) => &record.head,
            Self::Speed(record) => &record.head,
            Self::Search(record) => &record.head,
        }
    }

    /// Writes it; see [`super::write`].
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        match self {
            Self::Score(record) => super::write(path, &**record),
            Self::Speed(record) => super::write(path, &**record),
            Self::Search(record) => super::write(path, &**record),
        }
    }
}

impl TryFrom<Record> for CellRecord {
    type Error = Wrong;

    fn try_from(record: Record) -> Result<Self, Wrong> {
        match record {
            Record::StudyScore(record) => Ok(Self::Score(record)),
            Record::StudySpeed(record) => Ok(Self::Speed(record)),
            Record::StudySearch(record) => Ok(Self::Search(record)),
            other => Err(Wrong::OtherKind {
                found: other.kind(),
                expected: ScoreRecord::KIND,
            }),
        }
    }
}

impl Serialize for CellRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Score(record) => tagged::serialize(&**record, serializer),
            Self::Speed(record) => tagged::serialize(&**record, serializer),
            Self::Search(record) => tagged::serialize(&**record, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CellRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let record = Record::deserialize(deserializer)?;
        record.try_into().map_err(de::Error::custom)
    }
}
