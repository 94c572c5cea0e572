//! The records of a study.

use std::collections::BTreeMap;

use mxlab_harness::record::Environment;

use crate::record::calibrate::CalibrateRecord;
use crate::record::eval::EvalRecord;
use crate::record::study::{
    CellRecord, Frozen, ScoreRecord, SearchRecord, ServingRecord, SpeedRecord, StudyCell,
    StudyRecord,
};
use crate::report::records::{Found, Place};

/// The records of a study by kind, each with its path from the report.
pub struct StudyRecords {
    /// Its name.
    pub name: String,
    /// The plan.
    pub frozen: Frozen,
    /// Accuracy, ordered by name.
    pub scores: Vec<(String, ScoreRecord)>,
    /// Speed.
    pub speeds: Vec<(String, SpeedRecord)>,
    /// Searches.
    pub searches: Vec<(String, SearchRecord)>,
    /// Load on servers.
    pub servings: Vec<(String, ServingRecord)>,
    /// Examples per second of each scored cell, by the path of its record.
    pub examples_per_second: BTreeMap<String, f64>,
    /// The choice of codes of each calibrated cell, by the path of its record.
    pub calibrations: BTreeMap<String, CalibrateRecord>,
    /// Environments of its cells: the first of each build and machine.
    pub environments: Vec<Found<Environment>>,
}

impl StudyRecords {
    /// The records of a study, which the report calls `name`.
    pub fn new(name: &str, study: StudyRecord, place: &Place) -> Self {
        let mut records = Self {
            name: study.plan.name.clone(),
            frozen: study.plan,
            scores: Vec::new(),
            speeds: Vec::new(),
            searches: Vec::new(),
            servings: Vec::new(),
            examples_per_second: BTreeMap::new(),
            calibrations: BTreeMap::new(),
            environments: Vec::new(),
        };
        for cell in study.cells {
            let StudyCell {
                id,
                record,
                run,
                calibration,
                ..
            } = cell;
            let path = place.record(&id);
            if let Some(calibration) = calibration {
                records.calibrations.insert(path.clone(), calibration);
            }
            match record {
                CellRecord::Score(record) => {
                    let speed = run.as_ref().and_then(EvalRecord::examples_per_second);
                    let of_path = speed.map(|speed| (path.clone(), speed));
                    records.examples_per_second.extend(of_path);
                    if let Some(run) = run {
                        records.add_environment(Found {
                            name: format!("{name}, {id}"),
                            path: place.run(&id),
                            record: run.environment,
                        });
                    }
                    records.scores.push((path, *record));
                }
                CellRecord::Speed(record) => records.speeds.push((path, *record)),
                CellRecord::Search(record) => records.searches.push((path, *record)),
                CellRecord::Serving(record) => {
                    records.add_environment(Found {
                        name: format!("{name}, {id}"),
                        path: path.clone(),
                        record: record.environment.clone(),
                    });
                    records.servings.push((path, *record));
                }
            }
        }
        records
    }

    fn add_environment(&mut self, found: Found<Environment>) {
        let is_same = |other: &Found<Environment>| {
            let (one, other) = (&found.record, &other.record);
            (&one.commit, one.dirty, &one.machine) == (&other.commit, other.dirty, &other.machine)
        };
        if !self.environments.iter().any(is_same) {
            self.environments.push(found);
        }
    }
}
