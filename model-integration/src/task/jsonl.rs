//! A file of JSON lines becomes examples.
//!
//! `{"text": ...}` is split at its last single space, the target keeping that space. It is the
//! last *space*: where a newline stands inside the last piece, the piece stays whole.
//! `{"context": ..., "target": ...}` is taken as it is.

use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Example, Task, TaskError};

/// Reads a task from a file; its name is the file's stem.
///
/// # Errors
/// [`TaskError`] naming the file and the line.
pub fn read(path: &Path) -> Result<Task, TaskError> {
    let bytes = std::fs::read(path).map_err(|reason| TaskError::Read {
        path: path.to_owned(),
        reason,
    })?;
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    parse(
        &file_name(&stem.to_string_lossy()),
        &path.to_string_lossy(),
        &bytes,
    )
}

/// Parses the content of a task; `source` is the file that errors name.
///
/// # Errors
/// [`TaskError`] naming the file and the line.
pub fn parse(name: &str, source: &str, bytes: &[u8]) -> Result<Task, TaskError> {
    let text = std::str::from_utf8(bytes).map_err(|error| TaskError::NotUtf8 {
        file: source.to_owned(),
        line: 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count(),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let examples = text
        .split('\n')
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| example(source, index + 1, line))
        .collect::<Result<Vec<_>, _>>()?;
    if examples.is_empty() {
        return Err(TaskError::Empty {
            file: source.to_owned(),
        });
    }
    Ok(Task {
        name: name.to_owned(),
        source: source.to_owned(),
        sha256: format!("{:x}", Sha256::digest(bytes)),
        examples,
    })
}

fn example(source: &str, line: usize, json: &str) -> Result<Example, TaskError> {
    let doc: Map<String, Value> = serde_json::from_str(json).map_err(|error| TaskError::Json {
        file: source.to_owned(),
        line,
        reason: error.to_string(),
    })?;
    let fault = |field, reason: &str| TaskError::Field {
        file: source.to_owned(),
        line,
        field,
        reason: reason.to_owned(),
    };
    let string = |field| match doc.get(field) {
        Some(Value::String(value)) => Ok(value.as_str()),
        Some(_) => Err(fault(field, "not a string")),
        None => Err(fault(field, "missing")),
    };
    let (context, target) = if doc.contains_key("context") || doc.contains_key("target") {
        let target = string("target")?;
        if target.is_empty() {
            return Err(fault("target", "empty"));
        }
        (string("context")?.to_owned(), target.to_owned())
    } else {
        let text = string("text")?;
        let last_space = text.rfind(' ').ok_or_else(|| {
            fault(
                "text",
                "has no space that would part a context from a target",
            )
        })?;
        let (context, target) = text.split_at(last_space);
        (context.to_owned(), target.to_owned())
    };
    Ok(Example {
        doc,
        context,
        target,
        line,
    })
}

/// A name that is safe in a file name.
pub(crate) fn file_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') {
                c
            } else {
                '_'
            }
        })
        .collect()
}
