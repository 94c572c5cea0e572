//! Reads examples from JSON lines.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::fields::{Fault, Fields};
use super::shape::Shape;
use super::{Example, Protocol, Task, TaskError};

/// Parses a file of the user's; errors name `source`. The fields of the first line determine the
/// protocol.
///
/// # Errors
/// [`TaskError`] with the file and the line.
pub fn parse(name: &str, source: &str, bytes: &[u8]) -> Result<Task, TaskError> {
    let docs = docs(source, bytes)?;
    let (line, first) = &docs[0];
    let shape = Shape::of(first).ok_or_else(|| TaskError::Shape {
        file: source.to_owned(),
        line: *line,
        found: Shape::nearest(first),
    })?;
    let mut task = task(
        name,
        source,
        bytes,
        shape.protocol,
        docs,
        &shape.to_string(),
    )?;
    task.read_as = Some(shape.to_string());
    Ok(task)
}

/// Parses a file with a known protocol.
///
/// # Errors
/// As [`parse`].
pub fn parse_by(
    name: &str,
    source: &str,
    bytes: &[u8],
    protocol: &'static Protocol,
) -> Result<Task, TaskError> {
    let docs = docs(source, bytes)?;
    let reading = format!("a named task, by its protocol `{}`", protocol.name);
    task(name, source, bytes, protocol, docs, &reading)
}

type Doc = Map<String, Value>;

/// The text of a file, without a byte order mark.
///
/// # Errors
/// [`TaskError`] with the line, if it is not UTF-8.
pub(super) fn text<'a>(source: &str, bytes: &'a [u8]) -> Result<&'a str, TaskError> {
    let text = std::str::from_utf8(bytes).map_err(|error| TaskError::NotUtf8 {
        file: source.to_owned(),
        line: 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count(),
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The lines that are not blank, numbered from 1. There is at least one.
fn docs(source: &str, bytes: &[u8]) -> Result<Vec<(usize, Doc)>, TaskError> {
    let file = || source.to_owned();
    let lines = text(source, bytes)?.split('\n').enumerate();
    let docs = lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            let doc = serde_json::from_str(line).map_err(|error| TaskError::Json {
                file: file(),
                line: index + 1,
                reason: match line.trim_start().starts_with('[') {
                    true => format!("{error} (for a JSON array: `jq -c '.[]' FILE` makes lines)"),
                    false => error.to_string(),
                },
            })?;
            Ok((index + 1, doc))
        })
        .collect::<Result<Vec<_>, _>>()?;
    match docs.is_empty() {
        true => Err(TaskError::Empty { file: file() }),
        false => Ok(docs),
    }
}

fn task(
    name: &str,
    source: &str,
    bytes: &[u8],
    protocol: &'static Protocol,
    docs: Vec<(usize, Doc)>,
    reading: &str,
) -> Result<Task, TaskError> {
    let example = |(line, doc): (usize, Doc)| {
        let content = (protocol.parse)(Fields(&doc));
        let content = content.map_err(|Fault { field, reason }| TaskError::Field {
            file: source.to_owned(),
            line,
            field,
            reason,
            reading: reading.to_owned(),
        })?;
        Ok(Example { doc, content, line })
    };
    Ok(Task {
        name: name.to_owned(),
        source: source.to_owned(),
        sha256: format!("{:x}", Sha256::digest(bytes)),
        protocol,
        read_as: None,
        num_fewshot: 0,
        training: None,
        examples: docs.into_iter().map(example).collect::<Result<_, _>>()?,
    })
}
