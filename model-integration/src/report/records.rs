//! The records below a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use mxlab_benches::{BenchRecord, record};
use serde_json::Value;

/// Records by what they are of, each with its path below the folder, without `.json`.
pub struct Records {
    /// Benches.
    pub benches: Vec<(String, BenchRecord)>,
    /// Campaigns of verification.
    pub verified: Vec<(String, Value)>,
    /// Generations.
    pub generated: Vec<(String, Value)>,
}

impl Records {
    /// Reads them. Files of other kinds, such as evaluations, are left alone.
    ///
    /// # Errors
    /// If the folder cannot be read, a file is cut off or of another version, or there is no record at all.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        collect(folder, &mut files)?;
        files.sort();
        let mut records = Self {
            benches: Vec::new(),
            verified: Vec::new(),
            generated: Vec::new(),
        };
        for path in files {
            let below = path.strip_prefix(folder).unwrap_or(&path);
            let name = below.with_extension("").display().to_string();
            let text = std::fs::read(&path);
            let text = text.with_context(|| format!("cannot read `{}`", path.display()))?;
            let value: Value = serde_json::from_slice(&text)
                .with_context(|| format!("`{}` is no record", path.display()))?;
            match value.get("kind").and_then(Value::as_str) {
                Some(record::KIND) => records.benches.push((name, BenchRecord::read(&path)?)),
                Some("verify") => records.verified.push((name, value)),
                Some("generate") => records.generated.push((name, value)),
                _ => {}
            }
        }
        let count = records.benches.len() + records.verified.len() + records.generated.len();
        if count == 0 {
            bail!("no record below `{}`", folder.display());
        }
        Ok(records)
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let failed = || format!("cannot read `{}`", folder.display());
    for entry in std::fs::read_dir(folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    Ok(())
}
