//! The records of a study.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::study::Frozen;
use crate::study::frozen::frozen_in;
use crate::study::record::{CellRecord, ScoreRecord, SearchRecord, SpeedRecord};

/// Everything of an output directory.
pub struct StudyRecords {
    /// Its name.
    pub name: String,
    /// The study as it was frozen.
    pub frozen: Frozen,
    /// Accuracy; each with the path of its record from the report, and in the order of names.
    pub scores: Vec<(String, ScoreRecord)>,
    /// Speed.
    pub speeds: Vec<(String, SpeedRecord)>,
    /// Searches.
    pub searches: Vec<(String, SearchRecord)>,
    /// Examples a second of each scored cell, by the path of its record.
    pub examples_per_second: BTreeMap<String, f64>,
    /// Where its cells were done: the path of the first of each build and machine without its ending, and the
    /// environment.
    pub environments: Vec<(String, Value)>,
}

impl StudyRecords {
    /// Reads an output directory, which `below` leads to from the report; `None` if it holds no study.
    ///
    /// # Errors
    /// If a record is cut off or of another version or study.
    pub fn read(folder: &Path, below: &Path) -> Result<Option<Self>> {
        let Some(frozen) = frozen_in(folder)? else {
            return Ok(None);
        };
        let mut study = Self {
            name: frozen.name.clone(),
            frozen,
            scores: Vec::new(),
            speeds: Vec::new(),
            searches: Vec::new(),
            examples_per_second: BTreeMap::new(),
            environments: Vec::new(),
        };
        let records = folder.join("records");
        let mut files = Vec::new();
        if records.exists() {
            let failed = || format!("cannot read `{}`", records.display());
            for entry in std::fs::read_dir(&records).with_context(failed)? {
                files.push(entry.with_context(failed)?.path());
            }
        }
        files.retain(|file| {
            file.extension()
                .is_some_and(|extension| extension == "json")
        });
        files.sort();
        for file in files {
            let name = file.file_name().unwrap_or_default();
            let path = below.join("records").join(name).display().to_string();
            let record = CellRecord::read(&file)?;
            anyhow::ensure!(
                record.head().hash == study.frozen.hash,
                "`{}` is of another study",
                file.display()
            );
            match record {
                CellRecord::Score(record) => {
                    let cell = Path::new("cells").join(file.file_stem().unwrap_or_default());
                    if let Some(run) = run(&folder.join(&cell))? {
                        if let Some(speed) = speed(&run) {
                            study.examples_per_second.insert(path.clone(), speed);
                        }
                        study.add_environment(&below.join(cell).join("run"), &run);
                    }
                    study.scores.push((path, *record));
                }
                CellRecord::Speed(record) => study.speeds.push((path, *record)),
                CellRecord::Search(record) => study.searches.push((path, *record)),
            }
        }
        Ok(Some(study))
    }

    fn add_environment(&mut self, path: &Path, run: &Value) {
        let Some(environment) = run.get("environment") else {
            return;
        };
        let place = |environment: &Value| {
            ["commit", "dirty", "machine"].map(|field| environment.get(field).cloned())
        };
        let mut known = self.environments.iter();
        if known.all(|(_, other)| place(other) != place(environment)) {
            let path = path.display().to_string();
            self.environments.push((path, environment.clone()));
        }
    }
}

/// What a cell's evaluation says of its run, if it is there.
fn run(cell: &Path) -> Result<Option<Value>> {
    let path = cell.join("run.json");
    if !path.exists() {
        return Ok(None);
    }
    let of_file = || format!("`{}`", path.display());
    let text = std::fs::read(&path).with_context(of_file)?;
    serde_json::from_slice(&text).with_context(of_file)
}

/// Examples a second over all tasks of a run.
fn speed(run: &Value) -> Option<f64> {
    let timings = run.get("timings").and_then(Value::as_array);
    let (mut seconds, mut examples) = (0.0, 0.0);
    for timing in timings.into_iter().flatten() {
        let number = |field: &str| timing.get(field).and_then(Value::as_f64);
        let took = number("seconds").unwrap_or(f64::NAN);
        seconds += took;
        examples += took * number("examples_per_second").unwrap_or(f64::NAN);
    }
    let speed = examples / seconds;
    speed.is_finite().then_some(speed)
}
