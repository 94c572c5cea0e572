//! What can be wrong with a folder of golden vectors.

use super::Engine;
use crate::format::FormatError;
use crate::kernel::LaunchError;
use std::path::PathBuf;

/// A folder that cannot be verified because something in it is broken. Mismatches are no
/// errors: they are counted in the report.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Io {
        path: PathBuf,
        reason: std::io::Error,
    },
    /// Not a safetensors file.
    #[error("{file}: not a valid safetensors file: {reason}")]
    Safetensors {
        file: String,
        reason: safetensors::SafeTensorError,
    },
    /// Not a JSON file, or not of the expected structure.
    #[error("{file}: not valid JSON: {reason}")]
    Json {
        file: String,
        reason: serde_json::Error,
    },
    /// A code table that is no list of numbers.
    #[error("{file}: {format}.{field}: {problem}")]
    CodeTable {
        file: String,
        format: String,
        field: &'static str,
        problem: String,
    },
    /// A tensor of a type that its role does not allow.
    #[error("{file}: {tensor}: expected {expected} elements, found {found}")]
    Dtype {
        file: String,
        tensor: String,
        expected: &'static str,
        found: String,
    },
    /// A tensor whose shape does not follow from its input.
    #[error("{file}: {tensor}: expected shape {expected:?}, found {found:?}")]
    Shape {
        file: String,
        tensor: String,
        expected: Vec<usize>,
        found: Vec<usize>,
    },
    /// An engine that gives more or fewer elements than there are.
    #[error("{file}: {tensor}: the {engine} engine gave {found} elements, expected {expected}")]
    Count {
        file: String,
        tensor: String,
        engine: Engine,
        expected: usize,
        found: usize,
    },
    /// An expected result without the input it was computed from.
    #[error("{file}: {tensor}: its input {input} is missing")]
    MissingInput {
        file: String,
        tensor: String,
        input: String,
    },
    /// A tensor that cannot be quantised in the format that its name asks for.
    #[error("{file}: {tensor}: {reason}")]
    Format {
        file: String,
        tensor: String,
        reason: FormatError,
    },
    /// A tensor on which an engine fails.
    #[error("{file}: {tensor}: {reason}")]
    Launch {
        file: String,
        tensor: String,
        reason: Box<LaunchError>,
    },
    /// The device gives no stream.
    #[error("{reason}")]
    Device { reason: Box<LaunchError> },
}
