//! What is kept of a cell.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mxlab_harness::measure::Energy;
use mxlab_harness::record::{Environment, float, write_atomic};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::weights::WeightError;
use super::{Frozen, SCHEMA_VERSION};
use crate::engine::{Footprint, ModelInfo};
use crate::eval::column::Column;
use crate::eval::result::TaskResult;
use crate::task::metric::Metric;

/// The record of a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum CellRecord {
    /// What it answered. The same bytes for the same study, wherever it was interrupted.
    #[serde(rename = "study-score")]
    Score(Box<ScoreRecord>),
    /// What it took.
    #[serde(rename = "study-speed")]
    Speed(Box<SpeedRecord>),
    /// What a search found. The same bytes for the same study.
    #[serde(rename = "study-search")]
    Search(Box<SearchRecord>),
}

/// What every record begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Version of the schema.
    pub schema_version: u32,
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
    pub config: Value,
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

    /// Writes it to where records of a study are.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, output: &Path, id: &str) -> Result<()> {
        let mut json = serde_json::to_string(self).context("a record is plain data")?;
        json.push('\n');
        let path = path(output, id);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot create `{}`", folder.display()))?;
        }
        Ok(write_atomic(&path, json.as_bytes())?)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// If there is none, or it is cut off, or of another version.
    pub fn read(path: &Path) -> Result<Self> {
        let of_file = || format!("`{}`", path.display());
        let text = std::fs::read(path).with_context(of_file)?;
        let value: Value = serde_json::from_slice(&text)
            .context("cut off, or no record")
            .with_context(of_file)?;
        let version = value.get("schema_version").and_then(Value::as_u64);
        ensure!(
            version == Some(u64::from(SCHEMA_VERSION)),
            "`{}`: field `schema_version`: {}, and this program reads {SCHEMA_VERSION}",
            path.display(),
            version.map_or("missing".to_owned(), |version| version.to_string()),
        );
        serde_json::from_value(value).with_context(of_file)
    }

    /// Reads the record of a cell, if there is one.
    ///
    /// # Errors
    /// As [`CellRecord::read`]; if it is of another study.
    pub fn find(output: &Path, id: &str, frozen: &Frozen) -> Result<Option<Self>> {
        let path = path(output, id);
        if !path.exists() {
            return Ok(None);
        }
        let record = Self::read(&path)?;
        ensure!(
            record.head().hash == frozen.hash,
            "`{}` is of another study, or of this one before it changed",
            path.display()
        );
        Ok(Some(record))
    }
}

/// Where the record of a cell is.
pub fn path(output: &Path, id: &str) -> PathBuf {
    output.join("records").join(format!("{id}.json"))
}
