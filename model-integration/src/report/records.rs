//! Reads the records below a folder, or one file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mxlab_benches::BenchRecord;
use mxlab_harness::record::Environment;

use super::study::StudyRecords;
use crate::record::eval::EvalRecord;
use crate::record::generate::GenerateRecord;
use crate::record::load::LoadRecord;
use crate::record::mutate::MutateRecord;
use crate::record::soak::SoakRecord;
use crate::record::study::StudyRecord;
use crate::record::verify::VerifyRecord;
use crate::record::{self, Record, RecordError};
use crate::study::folder;

/// A record and its place.
pub struct Found<T> {
    /// Its path below the folder, without extension.
    pub name: String,
    /// Its path from the report.
    pub path: String,
    /// The record.
    pub record: T,
}

/// Records by kind.
#[derive(Default)]
pub struct Records {
    /// Benches.
    pub benches: Vec<Found<BenchRecord>>,
    /// Verification campaigns.
    pub verified: Vec<Found<VerifyRecord>>,
    /// Mutation campaigns.
    pub mutated: Vec<Found<MutateRecord>>,
    /// Generations.
    pub generated: Vec<Found<GenerateRecord>>,
    /// Loads on endpoints.
    pub loads: Vec<Found<LoadRecord>>,
    /// Soaks.
    pub soaks: Vec<Found<SoakRecord>>,
    /// Evaluations.
    pub evaluations: Vec<Found<EvalRecord>>,
    /// Studies, ordered by name.
    pub studies: Vec<(String, StudyRecords)>,
    /// Environments of all records except studies.
    others: Vec<Found<Environment>>,
    /// The studies in folders: the hash of each plan, and its cells.
    in_folders: Vec<(String, Vec<String>)>,
}

impl Records {
    /// Reads the records below a folder, or one file, for a report in the folder `report`. Files of
    /// other kinds, such as results in other programs' schemas, are ignored.
    ///
    /// # Errors
    /// If a record cannot be read, is damaged or has another version, or there is no record.
    pub fn read(place: &Path, report: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let mut studies = Vec::new();
        let is_file = place.is_file();
        let folder = match is_file {
            true => place.parent().unwrap_or(place),
            false => place,
        };
        match is_file {
            true => files.push(place.to_owned()),
            false => collect(place, &mut files, &mut studies)?,
        }
        files.sort();
        let name = |path: &Path| record::stem(path.strip_prefix(folder).unwrap_or(path));
        let mut records = Self::default();
        for path in studies {
            if let Some(study) = folder::read(&path)? {
                let cells = study.cells.iter().map(|cell| cell.id.clone()).collect();
                records.in_folders.push((study.plan.hash.clone(), cells));
                let link = Place::Folder(relative(report, &path)?);
                records.add_study(name(&path), study, &link);
            }
        }
        for path in files {
            let record = match Record::read(&path) {
                Err(RecordError::Wrong { wrong, .. }) if !is_file && wrong.is_other() => {
                    if wrong.has_kind() {
                        eprintln!("`{}` is left out: {wrong}", path.display());
                    }
                    continue;
                }
                record => record?,
            };
            if let Record::Study(study) = &record
                && records.has_in_folder(study)
            {
                eprintln!(
                    "`{}` is left out: the folder of the study is here too",
                    path.display()
                );
                continue;
            }
            let link = relative(report, &path)?;
            // A single study keeps its own name.
            let name = match record {
                Record::Study(_) if is_file => String::new(),
                _ => name(&path),
            };
            records
                .add(name, link, record)
                .with_context(|| format!("`{}`", path.display()))?;
        }
        records.studies.sort_by(|one, other| one.0.cmp(&other.0));
        if records.is_empty() {
            bail!(
                "`{}`: found no record; expected JSON that commands write with --output-path",
                place.display()
            );
        }
        Ok(records)
    }

    /// Whether a folder has the same study with all cells of `packed`.
    fn has_in_folder(&self, packed: &StudyRecord) -> bool {
        self.in_folders.iter().any(|(hash, cells)| {
            let is_there = |cell: &str| cells.iter().any(|own| own == cell);
            *hash == packed.plan.hash && packed.cells.iter().all(|cell| is_there(&cell.id))
        })
    }

    fn is_empty(&self) -> bool {
        self.studies.is_empty() && self.others.is_empty()
    }

    /// The environment of each record; for a study, each build and machine once.
    pub fn environments(&self) -> impl Iterator<Item = &Found<Environment>> {
        let studies = self.studies.iter();
        let studies = studies.flat_map(|(_, study)| &study.environments);
        studies.chain(&self.others)
    }

    fn add_study(&mut self, name: String, study: StudyRecord, place: &Place) {
        let name = match name.is_empty() {
            true => study.plan.name.clone(),
            false => name,
        };
        let records = StudyRecords::new(&name, study, place);
        self.studies.push((name, records));
    }

    fn add(&mut self, name: String, path: String, record: Record) -> Result<()> {
        let mut others = Vec::new();
        let mut made = |environment: &Environment| {
            others.push(Found {
                name: name.clone(),
                path: path.clone(),
                record: environment.clone(),
            });
        };
        macro_rules! keep {
            ($list:ident, $record:expr) => {{
                made(&$record.environment);
                self.$list.push(Found {
                    name,
                    path,
                    record: *$record,
                });
            }};
        }
        match record {
            Record::Verify(record) => keep!(verified, record),
            Record::Mutate(record) => keep!(mutated, record),
            Record::Bench(record) => keep!(benches, record),
            Record::Eval(record) => keep!(evaluations, record),
            Record::Generate(record) => keep!(generated, record),
            Record::Load(record) => keep!(loads, record),
            Record::Soak(record) => keep!(soaks, record),
            // Their results are in studies and in models.
            Record::Calibrate(record) => made(&record.environment),
            Record::Allocate(record) => made(&record.environment),
            Record::Study(study) => {
                study.check()?;
                self.add_study(name, *study, &Place::File(path));
            }
            Record::StudyPlan(_)
            | Record::StudyScore(_)
            | Record::StudyServing(_)
            | Record::StudySpeed(_)
            | Record::StudySearch(_) => bail!(
                "found a {} record without its study, expected the folder of a study or a study \
                 in one file, as `mxlab study pack` writes it",
                record.kind().name
            ),
        }
        self.others.extend(others);
        Ok(())
    }
}

/// Path of a study, relative to the report.
pub enum Place {
    /// A folder of cells.
    Folder(String),
    /// One file.
    File(String),
}

impl Place {
    /// Path of a cell's record.
    pub fn record(&self, id: &str) -> String {
        self.of(id, &format!("records/{id}.json"))
    }

    /// Path of a cell's evaluation.
    pub fn run(&self, id: &str) -> String {
        self.of(id, &format!("cells/{id}/run.json"))
    }

    fn of(&self, id: &str, below: &str) -> String {
        match self {
            Self::Folder(folder) if folder.is_empty() => below.to_owned(),
            Self::Folder(folder) => format!("{folder}/{below}"),
            Self::File(file) => format!("{file}#{id}"),
        }
    }
}

/// The relative path from a folder to a file or folder, with `/`; empty if they are equal.
fn relative(from: &Path, to: &Path) -> Result<String> {
    let absolute = |path: &Path| {
        let absolute = std::path::absolute(path);
        absolute.with_context(|| format!("cannot find `{}`", path.display()))
    };
    let (from, to) = (absolute(from)?, absolute(to)?);
    let same = from.components().zip(to.components());
    let same = same.take_while(|(one, other)| one == other).count();
    let up = from.components().skip(same).map(|_| "..".to_owned());
    let down = to.components().skip(same);
    let down = down.map(|part| part.as_os_str().to_string_lossy().into_owned());
    Ok(up.chain(down).collect::<Vec<_>>().join("/"))
}

/// Collects record files, and folders of studies, which have their own records.
fn collect(folder: &Path, files: &mut Vec<PathBuf>, studies: &mut Vec<PathBuf>) -> Result<()> {
    if folder::frozen_path(folder).exists() {
        studies.push(folder.to_owned());
        return Ok(());
    }
    let failed = || format!("cannot read `{}`", folder.display());
    for entry in std::fs::read_dir(folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        if path.is_dir() {
            collect(&path, files, studies)?;
        } else if record::has_name(&path) {
            files.push(path);
        }
    }
    Ok(())
}
