//! The frozen study in an output directory: one directory, one hash.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mxlab_harness::record::write_atomic;

use super::Frozen;

/// Keeps the frozen study in an output directory, or checks that what is there is the same.
///
/// # Errors
/// If it is another, or a file cannot be read or written.
pub fn freeze(frozen: &Frozen, output: &Path) -> Result<()> {
    if check_frozen(frozen, output)? {
        return Ok(());
    }
    std::fs::create_dir_all(output)
        .with_context(|| format!("cannot create `{}`", output.display()))?;
    let mut json = serde_json::to_string_pretty(frozen).context("a study is plain data")?;
    json.push('\n');
    Ok(write_atomic(&frozen_path(output), json.as_bytes())?)
}

/// Whether an output directory holds this study; it may also hold none.
///
/// # Errors
/// If it holds another, or cannot be read.
pub fn check_frozen(frozen: &Frozen, output: &Path) -> Result<bool> {
    let Some(there) = frozen_in(output)? else {
        return Ok(false);
    };
    ensure!(
        there.hash == frozen.hash,
        "`{}` holds study `{}` with hash {}, and this is `{}` with {}: {}; use another --output-path",
        output.display(),
        there.name,
        short(&there.hash),
        frozen.name,
        short(&frozen.hash),
        difference(&there, frozen)
    );
    Ok(true)
}

/// Where the frozen study of an output directory is.
pub fn frozen_path(output: &Path) -> PathBuf {
    output.join("study.json")
}

/// The frozen study of an output directory, if there is one.
///
/// # Errors
/// If it cannot be read.
pub fn frozen_in(output: &Path) -> Result<Option<Frozen>> {
    let path = frozen_path(output);
    if !path.exists() {
        return Ok(None);
    }
    let of_file = || format!("`{}`", path.display());
    let text = std::fs::read(&path).with_context(of_file)?;
    let frozen = serde_json::from_slice(&text).with_context(of_file)?;
    Ok(Some(frozen))
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
