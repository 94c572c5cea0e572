//! The output directory of a study: its plan, a record per cell, and the files of each evaluation.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::calibrated;
use crate::record::study::{CellRecord, Frozen, StudyCell, StudyRecord};
use crate::record::{self, Record, RecordError};

/// Writes the plan to an output directory, or checks that the plan there is the same.
///
/// # Errors
/// If it is another plan, or a file cannot be read or written.
pub fn freeze(frozen: &Frozen, output: &Path) -> Result<()> {
    if check_frozen(frozen, output)? {
        return Ok(());
    }
    Ok(record::write(&frozen_path(output), frozen)?)
}

/// Whether an output directory holds this study. It may hold none.
///
/// # Errors
/// If it holds another study, or cannot be read.
pub fn check_frozen(frozen: &Frozen, output: &Path) -> Result<bool> {
    let Some(there) = frozen_in(output)? else {
        return Ok(false);
    };
    ensure!(
        there.hash == frozen.hash,
        "`{}` holds study `{}` with hash {}, and this is `{}` with {}: {}; use another \
         --output-path",
        output.display(),
        there.name,
        short(&there.hash),
        frozen.name,
        short(&frozen.hash),
        difference(&there, frozen)
    );
    Ok(true)
}

fn difference(there: &Frozen, here: &Frozen) -> &'static str {
    if there.mxlab != here.mxlab {
        "another build began it"
    } else if there.text != here.text {
        "its file has changed"
    } else {
        "flags have changed"
    }
}

/// The first digits of a hash.
pub fn short(hash: &str) -> &str {
    &hash[..hash.len().min(12)]
}

/// Path of the plan in an output directory.
pub fn frozen_path(output: &Path) -> PathBuf {
    output.join("study.json")
}

/// The plan in an output directory, if there is one.
///
/// # Errors
/// If it cannot be read.
pub fn frozen_in(output: &Path) -> Result<Option<Frozen>> {
    let path = frozen_path(output);
    let there = path.exists();
    Ok(there.then(|| record::read(&path)).transpose()?)
}

/// Path of a cell's record.
pub fn record_path(output: &Path, id: &str) -> PathBuf {
    output.join("records").join(format!("{id}.json"))
}

/// Output directory of a cell's evaluation.
pub fn cell_path(output: &Path, id: &str) -> PathBuf {
    output.join("cells").join(id)
}

/// Reads a cell's record.
///
/// # Errors
/// As [`Record::read`]; or if it is not a cell's record.
pub fn read_cell(path: &Path) -> Result<CellRecord, RecordError> {
    let record = Record::read(path)?;
    record.try_into().map_err(RecordError::of(path))
}

/// Reads a cell's record, if it exists.
///
/// # Errors
/// As [`read_cell`]; or if it belongs to another study.
pub fn find(output: &Path, id: &str, frozen: &Frozen) -> Result<Option<CellRecord>> {
    let path = record_path(output, id);
    if !path.exists() {
        return Ok(None);
    }
    let record = read_cell(&path)?;
    ensure!(
        record.head().hash == frozen.hash,
        "`{}` belongs to another study, or to this one before it changed",
        path.display()
    );
    Ok(Some(record))
}

/// Reads everything in an output directory except logs; `None` if it holds no study.
///
/// # Errors
/// If a record cannot be read or belongs to another study.
pub fn read(output: &Path) -> Result<Option<StudyRecord>> {
    let Some(plan) = frozen_in(output)? else {
        return Ok(None);
    };
    let mut cells = Vec::new();
    for path in files(&output.join("records"))? {
        let id = path.file_stem().unwrap_or_default();
        let id = id.to_string_lossy().into_owned();
        let folder = cell_path(output, &id);
        let (allocation, calibration) = calibrated::records(&folder)?;
        let run = folder.join("run.json");
        let run = run.exists().then(|| record::read(&run)).transpose()?;
        let record = read_cell(&path)?;
        cells.push(StudyCell {
            id,
            record,
            run,
            allocation,
            calibration,
        });
    }
    let study = StudyRecord { plan, cells };
    let checked = study.check();
    checked.with_context(|| format!("`{}`", output.display()))?;
    Ok(Some(study))
}

/// Names of the cells that were begun and are unfinished.
///
/// # Errors
/// If a folder cannot be read.
pub fn begun(output: &Path) -> Result<Vec<String>> {
    let cells = output.join("cells");
    let mut begun = Vec::new();
    if cells.exists() {
        let failed = || format!("cannot read `{}`", cells.display());
        for entry in std::fs::read_dir(&cells).with_context(failed)? {
            let id = entry.with_context(failed)?.file_name();
            let id = id.to_string_lossy().into_owned();
            begun.extend((!record_path(output, &id).exists()).then_some(id));
        }
    }
    begun.sort();
    Ok(begun)
}

/// The records in a folder, ordered by name; none if the folder does not exist.
///
/// # Errors
/// If it cannot be read.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if folder.exists() {
        let failed = || format!("cannot read `{}`", folder.display());
        for entry in std::fs::read_dir(folder).with_context(failed)? {
            files.push(entry.with_context(failed)?.path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|own| own == "json"));
    files.sort();
    Ok(files)
}
