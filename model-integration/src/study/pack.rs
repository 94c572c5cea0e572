//! Packs a folder of cells into one file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::run::{ModelPlan, Sources};
use super::variant::variants;
use super::{Study, folder};
use crate::record;
use crate::record::study::StudyRecord;

/// Reads everything in a study's output directory except logs, which only unfinished cells need.
///
/// # Errors
/// If there is no study there, or a record cannot be read.
pub fn read(output: &Path) -> Result<StudyRecord> {
    let study = folder::read(output)?;
    study.with_context(|| {
        format!(
            "`{}` holds no study: expected `study.json`, which `mxlab study run` writes",
            output.display()
        )
    })
}

/// Refuses an unfinished study, with the names of the missing cells.
///
/// # Errors
/// If cells are missing, or models cannot be opened to determine the cells.
pub fn check_done(study: &StudyRecord, output: &Path, sources: &Sources) -> Result<()> {
    let plan = Study::of(&study.plan)?;
    let has = |id: &String| study.cells.iter().any(|cell| cell.id == *id);
    let mut missing = folder::begun(output)?;
    for variant in variants(&plan) {
        let ids = ModelPlan::new(&plan, &variant, sources)?.ids(&plan);
        missing.extend(ids.into_iter().filter(|id| !has(id)));
    }
    missing.sort();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "`{}`: {} cells are unfinished: {}; finish them with `mxlab study run`, or pack the others \
         with --unfinished",
        output.display(),
        missing.len(),
        missing.join(", ")
    )
}

/// The default path of the file: beside the folder, with its name.
pub fn default_path(output: &Path) -> PathBuf {
    // `.` and `..` have no name of their own.
    let whole = match output.file_name() {
        Some(_) => output.to_owned(),
        None => output.canonicalize().unwrap_or_else(|_| output.to_owned()),
    };
    let mut name = whole.components().as_path().as_os_str().to_owned();
    name.push(".json.gz");
    name.into()
}

/// Writes the file.
///
/// # Errors
/// If it cannot be written, the name of `path` is not a record's, or the file has cells that would
/// be lost.
pub fn write(study: &StudyRecord, path: &Path) -> Result<()> {
    if !record::has_name(path) {
        bail!(
            "--output {}: expected the name of a file that ends in `.json` or `.json.gz`",
            path.display()
        );
    }
    if path.exists() {
        let old: StudyRecord = record::read(path)?;
        let is_kept = |id: &String| study.cells.iter().any(|cell| cell.id == *id);
        let lost = old.cells.iter().filter(|cell| !is_kept(&cell.id)).count();
        if lost > 0 {
            bail!(
                "`{}` has {lost} cells that the folder lacks; give another --output, or remove it",
                path.display()
            );
        }
    }
    Ok(record::write(path, study)?)
}
