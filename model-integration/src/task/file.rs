//! Reads a task from a file, in the encoding that its extension names.

use std::path::Path;

use super::named::wikitext;
use super::{Protocol, Task, TaskError, jsonl, parquet, plain_text};
use crate::checkpoint::foreign;
use crate::excerpt::Excerpt;
use crate::file_name::file_name;

/// Reads a task from the user's file; its name is the file's stem. `.parquet` is read row by row,
/// `.txt` and `.raw` document by document, anything else as JSON lines. The fields of the first row
/// or line determine the protocol.
///
/// # Errors
/// [`TaskError`] with the file and the line, or the row of a Parquet file.
pub fn read(excerpt: &Excerpt) -> Result<Task, TaskError> {
    let (name, source) = names(excerpt);
    match lines(excerpt)? {
        Lines::Fields(bytes) => jsonl::parse(&name, &source, &bytes),
        Lines::Documents {
            lines,
            protocol,
            of,
        } => {
            let mut task = jsonl::parse_by(&name, &source, &lines, protocol)?;
            task.read_as = Some(format!("documents, {of}, by the end of its name"));
            Ok(task)
        }
    }
}

/// Reads a file with a known protocol.
///
/// # Errors
/// As [`read`].
pub fn read_by(path: &Path, protocol: &'static Protocol) -> Result<Task, TaskError> {
    let excerpt = Excerpt::whole(path);
    let (name, source) = names(&excerpt);
    let (Lines::Fields(bytes) | Lines::Documents { lines: bytes, .. }) = lines(&excerpt)?;
    jsonl::parse_by(&name, &source, &bytes, protocol)
}

/// Endings of data in other encodings.
const TABLES: [&str; 6] = ["arrow", "csv", "tsv", "xlsx", "yaml", "yml"];

/// JSON lines.
enum Lines {
    /// The file itself has these fields.
    Fields(Vec<u8>),
    /// The file is a text.
    Documents {
        lines: Vec<u8>,
        protocol: &'static Protocol,
        /// What a document is.
        of: &'static str,
    },
}

fn lines(excerpt: &Excerpt) -> Result<Lines, TaskError> {
    let path = &excerpt.path;
    let bytes = std::fs::read(path).map_err(|reason| TaskError::Read {
        path: path.to_owned(),
        reason,
    })?;
    let head = &bytes[..bytes.len().min(foreign::HEAD_BYTES)];
    foreign::check(path, head).map_err(TaskError::Foreign)?;
    let source = path.to_string_lossy();
    let ending = path.extension().and_then(|ending| ending.to_str());
    Ok(match ending {
        Some("txt" | "raw") => {
            let text = jsonl::text(&source, &bytes)?;
            let text = excerpt.of(text).map_err(TaskError::TooShort)?;
            match wikitext::articles(text) {
                Some(articles) => Lines::Documents {
                    lines: articles.into(),
                    protocol: &wikitext::PROTOCOL,
                    of: "the articles of a text",
                },
                None => Lines::Documents {
                    lines: plain_text::documents(text).into(),
                    protocol: &plain_text::PROTOCOL,
                    of: "4,000 characters or more of a text up to a blank line",
                },
            }
        }
        Some(other) if TABLES.contains(&other.to_ascii_lowercase().as_str()) => {
            return Err(TaskError::Encoding {
                file: source.into_owned(),
                encoding: other.to_ascii_lowercase(),
            });
        }
        _ if excerpt.characters.is_some() => {
            return Err(TaskError::Excerpt(format!(
                "`{source}` is no text (.txt, .raw)"
            )));
        }
        Some("parquet") => Lines::Fields(parquet::lines(&source, bytes.into())?.into()),
        _ => Lines::Fields(bytes),
    })
}

/// The names of the task and of its source.
fn names(excerpt: &Excerpt) -> (String, String) {
    let path = &excerpt.path;
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    let name = file_name(&stem.to_string_lossy());
    let source = path.to_string_lossy().into_owned();
    match &excerpt.characters {
        None => (name, source),
        Some(part) => {
            let (from, to) = (part.start, part.end);
            (
                format!("{name}-{from}-{to}"),
                format!("{source}#{from}..{to}"),
            )
        }
    }
}
