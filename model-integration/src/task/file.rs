//! A file becomes a task: what its name ends with says how it is written.

use std::path::Path;

use super::{Task, TaskError, jsonl, parquet, wikitext};
use crate::file_name::file_name;

/// Reads a task from a file; its name is the file's stem. `.parquet` is read row by row, `.txt` and `.raw` article by
/// article, anything else as JSON lines.
///
/// # Errors
/// [`TaskError`] naming the file and the line, which of a Parquet file is the row.
pub fn read(path: &Path) -> Result<Task, TaskError> {
    let bytes = std::fs::read(path).map_err(|reason| TaskError::Read {
        path: path.to_owned(),
        reason,
    })?;
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    let name = file_name(&stem.to_string_lossy());
    let source = path.to_string_lossy();
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending {
        Some("parquet") => {
            let lines = parquet::lines(&source, bytes.into())?;
            jsonl::parse(&name, &source, lines.as_bytes())
        }
        Some("txt" | "raw") => {
            let lines = wikitext::articles(jsonl::text(&source, &bytes)?);
            jsonl::parse(&name, &source, lines.as_bytes())
        }
        _ => jsonl::parse(&name, &source, &bytes),
    }
}
