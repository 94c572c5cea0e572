//! The records of a study: its plan, one per cell, and all of them in one.

use std::collections::HashSet;
use std::path::Path;

use mxlab_harness::measure::Energy;
use mxlab_harness::record::{Environment, FileError, float};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::calibrate::{AllocateRecord, CalibrateRecord};
use super::column::Column;
use super::eval::EvalRecord;
use super::load::{LevelRecord, LoadSettings};
use super::result::TaskResult;
use super::weight_error::WeightError;
use super::{Record, Recorded, Wrong, tagged};
use crate::config::QuantConfig;
use crate::engine::{Footprint, ModelInfo};
use crate::task::metric::Metric;

/// A study's plan, stored beside its results: everything that determines them, and its hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frozen {
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// The question that it answers.
    pub question: String,
    /// The build that runs it.
    pub mxlab: String,
    /// The text of its file.
    pub text: String,
    /// Changes from the command line.
    pub changes: Changes,
    /// SHA-256 of all of the above.
    pub hash: String,
}

/// Changes to a study from the command line, and the engine; part of the plan.
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
    /// Texts by which codes are chosen, instead of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<Vec<String>>,
    /// Engine and type of the arithmetic: everything about them that determines results.
    pub engine: String,
    /// Examples that go through a model together.
    pub batch_size: usize,
}

/// A whole study: a folder of cells without the logs of interrupted cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyRecord {
    /// Its plan.
    #[serde(with = "tagged")]
    pub plan: Frozen,
    /// Its cells, ordered by file name.
    pub cells: Vec<StudyCell>,
}

/// A cell of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyCell {
    /// Its name in file names.
    pub id: String,
    /// Its record.
    pub record: CellRecord,
    /// The evaluation that scored it; `None` for cells that are not scored.
    #[serde(with = "tagged::option")]
    pub run: Option<EvalRecord>,
    /// The choice of its weights' formats; `None` if they are the configuration's.
    #[serde(
        default,
        with = "tagged::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub allocation: Option<AllocateRecord>,
    /// The choice of its weights' codes; `None` if they are the nearest.
    #[serde(
        default,
        with = "tagged::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub calibration: Option<CalibrateRecord>,
}

impl StudyRecord {
    /// Checks that every cell belongs to this study, and that names are unique.
    ///
    /// # Errors
    /// With the name of the cell.
    pub fn check(&self) -> anyhow::Result<()> {
        let mut ids = HashSet::new();
        for StudyCell { id, record, .. } in &self.cells {
            anyhow::ensure!(ids.insert(id), "cell `{id}` is there twice");
            anyhow::ensure!(
                record.head().hash == self.plan.hash,
                "cell `{id}` belongs to another study: found hash {}, expected {}, the hash of \
                 study `{}`",
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
    /// Accuracy. The same study gives the same bytes, wherever it was interrupted.
    Score(Box<ScoreRecord>),
    /// Speed.
    Speed(Box<SpeedRecord>),
    /// The result of a search. The same study gives the same bytes.
    Search(Box<SearchRecord>),
    /// Latency and throughput under load.
    Serving(Box<ServingRecord>),
}

/// The fields that every cell's record begins with.
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
    /// Its group in the file.
    pub group: String,
    /// The value on each axis of its group.
    pub at: Vec<(String, String)>,
    /// Its index in the study, from 0.
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
    /// The cell.
    #[serde(flatten)]
    pub head: Head,
    /// Seed of stochastic rounding.
    pub seed: u32,
    /// How its codes were chosen; `None` if they are the nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibrated>,
    /// Errors of the quantised weights themselves, if they were requested and there are any.
    pub weight_error: Option<WeightError>,
    /// Results of each task.
    pub tasks: Vec<TaskScores>,
}

/// How the codes of a cell were chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    /// Flags of `mxlab calibrate`.
    pub flags: Vec<String>,
    /// Its texts.
    pub texts: Vec<String>,
    /// SHA-256 of their tokens.
    pub tokens_sha256: String,
    /// Number of tokens.
    pub tokens: usize,
}

/// Results of a task, and the values behind them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskScores {
    /// SHA-256 of its content.
    pub sha256: String,
    /// The result.
    #[serde(flatten)]
    pub result: TaskResult,
    /// The value of each example, by metric; without perplexities, which follow from
    /// log-likelihoods.
    pub columns: Vec<Column>,
}

/// Speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpeedRecord {
    /// The cell.
    #[serde(flatten)]
    pub head: Head,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the continuation.
    pub output_tokens: usize,
    /// Every timing but the first.
    pub repeats: Vec<Repeat>,
    /// Peak memory of the process in bytes; `None` if it was not measured.
    pub peak_memory_bytes: Option<u64>,
    /// Number of threads.
    pub threads: usize,
    /// Machine and build of the measurement.
    pub environment: Environment,
}

/// Timing of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    /// Seconds to the first token.
    pub first_token_seconds: f64,
    /// Mean seconds of a later token.
    pub token_seconds: f64,
    /// All generated tokens over the total time.
    pub tokens_per_second: f64,
    /// Energy of the tokens after the first; `None` if it was not measured.
    pub energy: Option<Energy>,
}

/// Load on a server of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServingRecord {
    /// The cell.
    #[serde(flatten)]
    pub head: Head,
    /// The command that served.
    pub server: Vec<String>,
    /// What was sent, at this and all other levels.
    pub settings: LoadSettings,
    /// The level and its results.
    pub level: LevelRecord,
    /// Peak memory of the server in bytes since it started; `None` if it was not measured.
    pub peak_memory_bytes: Option<u64>,
    /// Machine and build of the measurement.
    pub environment: Environment,
}

/// The largest part of the model that could be quantised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchRecord {
    /// The result, with the head of a configuration's record.
    #[serde(flatten)]
    pub head: Head,
    /// Seed of stochastic rounding.
    pub seed: u32,
    /// The first metric of the first task, which guides the search.
    pub metric: &'static Metric,
    /// Worst accepted value.
    #[serde(with = "float")]
    pub bound: f64,
    /// The baseline's value.
    #[serde(with = "float")]
    pub baseline: f64,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// A step of the search: more parts quantised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The parts.
    pub parts: Vec<Part>,
    /// The metric with these and all parts kept before.
    #[serde(with = "float")]
    pub value: f64,
    /// Whether the parts were kept.
    pub is_kept: bool,
    /// Bytes of all weights with these parts quantised.
    pub weight_bytes: u64,
}

/// A part that may be quantised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Layer.
    pub layer: usize,
    /// Projection.
    pub projection: String,
    /// Log-likelihood lost by this part alone, divided by the bits it saves; parts are tried in
    /// ascending order.
    #[serde(with = "float")]
    pub cost: f64,
}

impl SearchRecord {
    /// Number of parts kept, and of parts in total.
    pub fn parts(&self) -> (usize, usize) {
        let kept = self.steps.iter().filter(|step| step.is_kept);
        let kept = kept.map(|step| step.parts.len()).sum();
        // A part that fails among others is tried again.
        let left = self
            .steps
            .iter()
            .filter(|step| !step.is_kept && step.parts.len() == 1);
        (kept, kept + left.count())
    }
}

impl CellRecord {
    /// The cell.
    pub fn head(&self) -> &Head {
        match self {
            Self::Score(record) => &record.head,
            Self::Speed(record) => &record.head,
            Self::Search(record) => &record.head,
            Self::Serving(record) => &record.head,
        }
    }

    /// Writes the record; see [`super::write`].
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        match self {
            Self::Score(record) => super::write(path, &**record),
            Self::Speed(record) => super::write(path, &**record),
            Self::Search(record) => super::write(path, &**record),
            Self::Serving(record) => super::write(path, &**record),
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
            Record::StudyServing(record) => Ok(Self::Serving(record)),
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
            Self::Serving(record) => tagged::serialize(&**record, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CellRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let record = Record::deserialize(deserializer)?;
        record.try_into().map_err(de::Error::custom)
    }
}
