//! Merges the output of shards into that of one run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use mxlab_harness::record::write_atomic;

use super::Frozen;
use super::folder::{freeze, frozen_in, read_cell, short};
use crate::record::study::CellRecord;

/// Copies the contents of the shards' output directories into one, and returns the number of
/// records.
///
/// # Errors
/// If they belong to different studies, a record is cut off, two records of one cell differ, or a
/// file cannot be read or written.
pub fn merge(shards: &[PathBuf], output: &Path) -> Result<usize> {
    let mut first: Option<(&Path, Frozen)> = None;
    for shard in shards {
        let frozen = frozen_in(shard)?;
        let frozen = frozen.with_context(|| format!("`{}` holds no study", shard.display()))?;
        match &first {
            None => first = Some((shard, frozen)),
            Some((before, other)) => ensure!(
                other.hash == frozen.hash,
                "`{}` belongs to study `{}` with hash {}, but `{}` to `{}` with {}; merge shards \
                 of one study",
                before.display(),
                other.name,
                short(&other.hash),
                shard.display(),
                frozen.name,
                short(&frozen.hash)
            ),
        }
    }
    let Some((_, frozen)) = first else {
        bail!("no shards are given");
    };
    // Everything is read before anything is written.
    for shard in shards {
        for record in files(&shard.join("records"))? {
            let read = read_cell(&record)?;
            ensure!(
                read.head().hash == frozen.hash,
                "`{}` is of another study",
                record.display()
            );
        }
    }
    freeze(&frozen, output)?;
    for shard in shards {
        copy(shard, output, "records")?;
        copy(shard, output, "cells")?;
    }
    Ok(files(&output.join("records"))?.len())
}

/// Copies the files below part of a shard. Records that exist already must be equal. Other files
/// belong to one cell, and the first shard's are kept.
fn copy(shard: &Path, output: &Path, part: &str) -> Result<()> {
    for from in files(&shard.join(part))? {
        let below = from.strip_prefix(shard).context("is below")?;
        let to = output.join(below);
        let bytes = fs::read(&from).with_context(|| format!("`{}`", from.display()))?;
        if to.exists() {
            let there = fs::read(&to).with_context(|| format!("`{}`", to.display()))?;
            let is_timed = part == "records"
                && matches!(
                    read_cell(&from)?,
                    CellRecord::Speed(_) | CellRecord::Serving(_)
                );
            ensure!(
                part == "cells" || is_timed || there == bytes,
                "`{}` and `{}` are different records of one cell; remove the wrong one",
                from.display(),
                to.display()
            );
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create `{}`", folder.display()))?;
        }
        write_atomic(&to, &bytes)?;
    }
    Ok(())
}

/// Every file below a folder, in order; none if the folder does not exist.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    let failed = || format!("cannot read `{}`", folder.display());
    for entry in fs::read_dir(folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}
