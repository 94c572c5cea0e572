//! The records below a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mxlab_benches::{BenchRecord, record};
use serde::Deserialize;
use serde_json::Value;

use super::study::StudyRecords;
use crate::engine::ModelInfo;
use crate::eval::record::{SCHEMA_VERSION, Timing};
use crate::eval::result::TaskResult;
use crate::study::frozen::frozen_path;

/// Records by what they are of, each with its path below the folder, without `.json`.
pub struct Records {
    /// Benches.
    pub benches: Vec<(String, BenchRecord)>,
    /// Campaigns of verification.
    pub verified: Vec<(String, Value)>,
    /// Campaigns of mutation.
    pub mutated: Vec<(String, Value)>,
    /// Generations.
    pub generated: Vec<(String, Value)>,
    /// Evaluations.
    pub evaluations: Vec<(String, Evaluated)>,
    /// Studies.
    pub studies: Vec<StudyRecords>,
    /// Where each of them was made: its environment, as it says.
    pub environments: Vec<(String, Value)>,
}

/// What is read of the record of an evaluation.
#[derive(Deserialize)]
pub struct Evaluated {
    /// The model.
    pub model: ModelInfo,
    /// The configurations.
    pub configs: Vec<Value>,
    /// What they gave.
    pub results: Vec<TaskResult>,
    /// How long it took.
    pub timings: Vec<Timing>,
}

impl Records {
    /// Reads them. Files of other kinds, such as results in other programs' schemas, are left alone.
    ///
    /// # Errors
    /// If the folder cannot be read, a file is cut off or of another version, or there is no record at all.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let mut records = Self {
            benches: Vec::new(),
            verified: Vec::new(),
            mutated: Vec::new(),
            generated: Vec::new(),
            evaluations: Vec::new(),
            studies: Vec::new(),
            environments: Vec::new(),
        };
        let mut studies = Vec::new();
        collect(folder, &mut files, &mut studies)?;
        files.sort();
        studies.sort();
        for path in studies {
            let below = path.strip_prefix(folder).unwrap_or(&path);
            if let Some(study) = StudyRecords::read(&path, below)? {
                records.environments.extend(study.environments.clone());
                records.studies.push(study);
            }
        }
        for path in files {
            let below = path.strip_prefix(folder).unwrap_or(&path);
            let name = below.with_extension("").display().to_string();
            let text = std::fs::read(&path);
            let text = text.with_context(|| format!("cannot read `{}`", path.display()))?;
            let value: Value = serde_json::from_slice(&text)
                .with_context(|| format!("`{}` is no record", path.display()))?;
            let kind = value.get("kind").and_then(Value::as_str);
            if let (Some(_), Some(environment)) = (kind, value.get("environment")) {
                let of = (name.clone(), environment.clone());
                records.environments.push(of);
            }
            match kind {
                Some("eval") => records.evaluations.push((name, evaluated(&path, value)?)),
                Some(record::KIND) => records.benches.push((name, BenchRecord::read(&path)?)),
                Some("verify") => records.verified.push((name, value)),
                Some("mutate") => records.mutated.push((name, value)),
                Some("generate") => records.generated.push((name, value)),
                _ => {}
            }
        }
        let count = records.benches.len()
            + records.verified.len()
            + records.mutated.len()
            + records.generated.len()
            + records.evaluations.len()
            + records.studies.len();
        if count == 0 {
            bail!("no record below `{}`", folder.display());
        }
        Ok(records)
    }
}

fn evaluated(path: &Path, value: Value) -> Result<Evaluated> {
    let version = value.get("schema_version").and_then(Value::as_u64);
    if version != Some(u64::from(SCHEMA_VERSION)) {
        let found = version.map_or("missing".to_owned(), |version| version.to_string());
        bail!(
            "`{}`: field `schema_version`: {found}, and this program reads {SCHEMA_VERSION}",
            path.display()
        );
    }
    serde_json::from_value(value).with_context(|| format!("`{}`", path.display()))
}

/// Files of records, and folders of studies, which have their own.
fn collect(folder: &Path, files: &mut Vec<PathBuf>, studies: &mut Vec<PathBuf>) -> Result<()> {
    if frozen_path(folder).exists() {
        studies.push(folder.to_owned());
        return Ok(());
    }
    let failed = || format!("cannot read `{}`", folder.display());
    for entry in std::fs::read_dir(folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        if path.is_dir() {
            collect(&path, files, studies)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    Ok(())
}
