//! Reads a task from a file, in the encoding that its extension names.

use std::path::Path;

use super::named::wikitext;
use super::{Protocol, Task, TaskError, jsonl, parquet};
use crate::checkpoint::foreign;
use crate::file_name::file_name;

/// Reads a task from the user's file; its name is the file's stem. `.parquet` is read row by row,
/// `.txt` and `.raw` article by article, anything else as JSON lines. The fields of the first row
/// or line determine the protocol.
///
/// # Errors
/// [`TaskError`] with the file and the line, or the row of a Parquet file.
pub fn read(path: &Path) -> Result<Task, TaskError> {
    let (name, source) = names(path);
    match lines(path)? {
        Lines::Fields(bytes) => jsonl::parse(&name, &source, &bytes),
        Lines::Articles(bytes) => {
            let mut task = jsonl::parse_by(&name, &source, &bytes, &wikitext::PROTOCOL)?;
            task.read_as = Some("documents, the articles of a text, by the end of its name".into());
            Ok(task)
        }
    }
}

/// Reads a file with a known protocol.
///
/// # Errors
/// As [`read`].
pub fn read_by(path: &Path, protocol: &'static Protocol) -> Result<Task, TaskError> {
    let (name, source) = names(path);
    let (Lines::Fields(bytes) | Lines::Articles(bytes)) = lines(path)?;
    jsonl::parse_by(&name, &source, &bytes, protocol)
}

/// Endings of data in other encodings.
const TABLES: [&str; 6] = ["arrow", "csv", "tsv", "xlsx", "yaml", "yml"];

/// JSON lines, and whether the file itself has these fields.
enum Lines {
    Fields(Vec<u8>),
    Articles(Vec<u8>),
}

fn lines(path: &Path) -> Result<Lines, TaskError> {
    let bytes = std::fs::read(path).map_err(|reason| TaskError::Read {
        path: path.to_owned(),
        reason,
    })?;
    let head = &bytes[..bytes.len().min(foreign::HEAD_BYTES)];
    foreign::check(path, head).map_err(TaskError::Foreign)?;
    let source = path.to_string_lossy();
    let ending = path.extension().and_then(|ending| ending.to_str());
    Ok(match ending {
        Some("parquet") => Lines::Fields(parquet::lines(&source, bytes.into())?.into()),
        Some("txt" | "raw") => {
            let articles = wikitext::articles(jsonl::text(&source, &bytes)?);
            Lines::Articles(articles.into())
        }
        Some(other) if TABLES.contains(&other.to_ascii_lowercase().as_str()) => {
            return Err(TaskError::Encoding {
                file: source.into_owned(),
                encoding: other.to_ascii_lowercase(),
            });
        }
        _ => Lines::Fields(bytes),
    })
}

/// The names of the task and of its source.
fn names(path: &Path) -> (String, String) {
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    let name = file_name(&stem.to_string_lossy());
    (name, path.to_string_lossy().into_owned())
}
