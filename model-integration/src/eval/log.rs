//! The log of one task under one configuration, from which an interrupted run resumes. Its header
//! holds everything that determines the results, so results of different runs never mix.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use mxlab_harness::record::{AppendLog, LogError, build_version, float};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::{Plan, Prompt};
use crate::config::QuantConfig;
use crate::engine::{ModelInfo, Score};
use crate::task::{FewShot, Sampler, Task};

/// Everything that determines a result. Two runs with equal keys give equal results.
#[derive(Clone, Debug, Serialize)]
pub struct RunKey {
    mxlab: String,
    model: String,
    device: String,
    dtype: String,
    softmax_dtype: String,
    max_length: usize,
    config: QuantConfig,
    task: String,
    task_sha256: String,
    protocol: &'static str,
    output_type: &'static str,
    examples: usize,
    num_fewshot: usize,
    fewshot_sampler: Option<Sampler>,
    fewshot_sha256: Option<String>,
    add_bos_token: Option<bool>,
    prompts_sha256: String,
    end_tokens: Vec<u32>,
    batch_size: usize,
}

impl RunKey {
    /// The key of a task under a configuration.
    pub fn new(
        model: &ModelInfo,
        config: &QuantConfig,
        task: &Task,
        plan: &Plan,
        fewshot: &FewShot,
        add_bos_token: Option<bool>,
        batch_size: usize,
    ) -> Self {
        let count = fewshot.count(task);
        let pool = fewshot.pool(task).filter(|_| count > 0);
        Self {
            mxlab: build_version(),
            model: model.fingerprint.clone(),
            device: model.device.clone(),
            dtype: model.dtype.clone(),
            softmax_dtype: model.softmax_dtype.clone(),
            max_length: model.max_length,
            config: config.clone(),
            task: task.name.clone(),
            task_sha256: task.sha256.clone(),
            protocol: task.protocol.name,
            output_type: task.kind().output_type(),
            examples: plan.count(),
            num_fewshot: count,
            fewshot_sampler: (count > 0).then_some(fewshot.sampler),
            fewshot_sha256: pool.map(|pool| pool.sha256.clone()),
            add_bos_token,
            prompts_sha256: plan.sha256(),
            end_tokens: model.end_tokens.clone(),
            batch_size,
        }
    }
}

/// One line of a log: the model's answer to a prompt.
pub trait Answered: Serialize + DeserializeOwned {
    /// The index of the example, and of the prompt in the example.
    fn place(&self) -> (usize, usize);

    /// The prompt's share of the time its batch took.
    fn seconds(&self) -> f64;
}

/// The continuation of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEntry {
    /// Index of the example in the task.
    pub example: usize,
    /// The text, up to its end.
    pub text: String,
    /// The prompt's share of the time its batch took.
    pub seconds: f64,
}

impl Answered for TextEntry {
    fn place(&self) -> (usize, usize) {
        (self.example, 0)
    }

    fn seconds(&self) -> f64 {
        self.seconds
    }
}

impl Answered for Entry {
    fn place(&self) -> (usize, usize) {
        (self.example, self.part)
    }

    fn seconds(&self) -> f64 {
        self.seconds
    }
}

/// The score of one prompt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Index of the example in the task.
    pub example: usize,
    /// Index of the prompt in the example: the choice, or the window of a document.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub part: usize,
    /// See [`Score::loglikelihood`].
    #[serde(with = "float")]
    pub loglikelihood: f64,
    /// See [`Score::is_greedy`].
    pub is_greedy: bool,
    /// See [`Score::shortfall`].
    #[serde(with = "float")]
    pub shortfall: f64,
    /// The prompt's share of the time its batch took.
    pub seconds: f64,
}

const fn is_zero(part: &usize) -> bool {
    *part == 0
}

impl Entry {
    /// The score.
    pub fn score(&self) -> Score {
        Score {
            loglikelihood: self.loglikelihood,
            is_greedy: self.is_greedy,
            shortfall: self.shortfall,
        }
    }
}

/// The destination of entries: a log, or none.
pub struct SampleLog(Option<AppendLog>);

impl SampleLog {
    /// Keeps nothing.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Opens the log at `path` and returns its entries: whole batches of the plan, in order. The
    /// log starts empty if it does not exist or `overwrite` is set.
    ///
    /// # Errors
    /// If the log belongs to a run with another key, is damaged or in use, or cannot be written.
    pub fn open<E: Answered>(
        path: &Path,
        key: &RunKey,
        plan: &Plan,
        overwrite: bool,
    ) -> Result<(Self, Vec<E>)> {
        let key = serde_json::to_value(key).context("the key of a run is plain data")?;
        let resumed = match overwrite {
            true => None,
            false => AppendLog::resume::<Value, E>(path)?,
        };
        let Some(mut resumed) = resumed else {
            let log = AppendLog::create(path, &key)?;
            return Ok((Self(Some(log)), Vec::new()));
        };
        if let Some(difference) = difference(&resumed.header, &key) {
            bail!(
                "`{}` belongs to another run: {difference}; use the same settings, --overwrite or \
                 another --output-path",
                path.display()
            );
        }
        for (number, (entry, &prompt)) in resumed.entries.iter().zip(plan.order()).enumerate() {
            let Prompt { example, part, .. } = plan.prompts[prompt];
            ensure!(
                entry.place() == (example, part),
                "`{}` line {}: example {} where {example} was evaluated",
                path.display(),
                number + 2,
                entry.place().0
            );
        }
        // The composition of a batch may show in the last bits of its scores, so a batch that was
        // written in part is evaluated again as a whole.
        resumed.keep(plan.whole_batches(resumed.entries.len()))?;
        Ok((Self(Some(resumed.log)), resumed.entries))
    }

    /// Appends a batch.
    ///
    /// # Errors
    /// If it cannot be written; the earlier content is kept.
    pub fn append<E: Answered>(&mut self, batch: &[E]) -> Result<(), LogError> {
        match &mut self.0 {
            Some(log) => log.append(batch),
            None => Ok(()),
        }
    }

    /// Flushes the log to the disk.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn sync(&self) -> Result<(), LogError> {
        self.0.as_ref().map_or(Ok(()), AppendLog::sync)
    }
}

/// The log of a task under a configuration in an output directory.
pub fn path(output: &Path, task: &str, config: &str) -> PathBuf {
    output.join("log").join(format!("{task}.{config}.jsonl"))
}

/// The first setting in which two keys differ.
fn difference(there: &Value, here: &Value) -> Option<String> {
    if there == here {
        return None;
    }
    let fields = here.as_object()?.iter();
    let differs = |(field, here): (&String, &Value)| {
        let there = there.get(field).unwrap_or(&Value::Null);
        (there != here).then(|| format!("its {field} is {there}, not {here}"))
    };
    Some(
        fields
            .filter_map(differs)
            .next()
            .unwrap_or_else(|| "it says more".into()),
    )
}
