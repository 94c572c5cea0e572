//! Typed access to the fields of a JSON object, with errors that name file and field.

use std::path::Path;

use serde_json::{Map, Value};

use super::CheckpointError;

/// Parses `json`, which must be an object.
pub(super) fn parse_object(
    json: &[u8],
    file: &Path,
) -> Result<Map<String, Value>, CheckpointError> {
    match serde_json::from_slice(json) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(CheckpointError::Field {
            file: file.to_owned(),
            field: "(top level)".to_owned(),
            expected: "a JSON object".to_owned(),
            found: shortened(&other),
        }),
        Err(reason) => Err(CheckpointError::Json {
            file: file.to_owned(),
            reason,
        }),
    }
}

/// A JSON object and its origin. Null counts as absent everywhere.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    file: &'a Path,
    /// Name of the enclosing field, for messages; empty at the top level.
    parent: &'a str,
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(file: &'a Path, object: &'a Map<String, Value>) -> Self {
        Self {
            file,
            parent: "",
            object,
        }
    }

    /// The field's value, unless it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// The names of all fields.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.object.keys().map(String::as_str)
    }

    /// Whether every field is absent or null.
    pub(super) fn is_empty(&self) -> bool {
        self.object.values().all(Value::is_null)
    }

    /// Whether the key exists, even with null.
    pub(super) fn has_key(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    /// The error for a field that is absent or invalid.
    pub(super) fn error(&self, name: &str, expected: impl Into<String>) -> CheckpointError {
        let file = self.file.to_owned();
        let expected = expected.into();
        let field = if self.parent.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.parent)
        };
        match self.get(name) {
            None => CheckpointError::MissingField {
                file,
                field,
                expected,
            },
            Some(value) => CheckpointError::Field {
                file,
                field,
                expected,
                found: shortened(value),
            },
        }
    }

    /// A nested object.
    pub(super) fn object(&self, name: &'a str) -> Result<Option<Fields<'a>>, CheckpointError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Fields {
                file: self.file,
                parent: name,
                object,
            })),
            Some(_) => Err(self.error(name, "an object or null")),
        }
    }

    /// An integer in `1..=max`.
    pub(super) fn size(&self, name: &str, max: usize) -> Result<Option<usize>, CheckpointError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        value
            .as_u64()
            .and_then(|value| usize::try_from(value).ok())
            .filter(|value| (1..=max).contains(value))
            .map(Some)
            .ok_or_else(|| self.error(name, format!("an integer from 1 to {max}")))
    }

    /// A required integer in `1..=max`.
    pub(super) fn required_size(&self, name: &str, max: usize) -> Result<usize, CheckpointError> {
        self.size(name, max)?
            .ok_or_else(|| self.error(name, format!("an integer from 1 to {max}")))
    }

    /// A number above zero and at most `max`.
    pub(super) fn positive(&self, name: &str, max: f64) -> Result<Option<f64>, CheckpointError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        value
            .as_f64()
            .filter(|value| *value > 0.0 && *value <= max)
            .map(Some)
            .ok_or_else(|| self.error(name, format!("a number above 0 and at most {max:e}")))
    }

    /// A required number from `min` to `max`.
    pub(super) fn required_between(
        &self,
        name: &str,
        min: f64,
        max: f64,
    ) -> Result<f64, CheckpointError> {
        self.get(name)
            .and_then(Value::as_f64)
            .filter(|value| (min..=max).contains(value))
            .ok_or_else(|| self.error(name, format!("a number from {min} to {max:e}")))
    }

    /// A required list of `count` numbers above zero and at most `max`.
    pub(super) fn required_positives(
        &self,
        name: &str,
        count: usize,
        max: f64,
    ) -> Result<Vec<f64>, CheckpointError> {
        let list = self.get(name).and_then(Value::as_array);
        let list: Option<Vec<f64>> = list.and_then(|list| {
            let numbers = list.iter().map(Value::as_f64);
            numbers
                .map(|x| x.filter(|&x| x > 0.0 && x <= max))
                .collect()
        });
        list.filter(|list| list.len() == count).ok_or_else(|| {
            let expected = format!("{count} numbers above 0 and at most {max:e}");
            self.error(name, expected)
        })
    }

    /// A list of strings; empty if absent.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'a str>, CheckpointError> {
        let expected = "a list of strings";
        let list = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(self.error(name, expected)),
        };
        let texts = list.iter().map(Value::as_str).collect::<Option<_>>();
        texts.ok_or_else(|| self.error(name, expected))
    }

    /// A required list of `count` integers in `1..=max`.
    pub(super) fn sizes(
        &self,
        name: &str,
        count: usize,
        max: usize,
    ) -> Result<Vec<usize>, CheckpointError> {
        let list = self.get(name).and_then(Value::as_array);
        let sizes: Option<Vec<usize>> = list.and_then(|list| {
            let sizes = list.iter().map(Value::as_u64);
            let sizes = sizes.map(|size| usize::try_from(size?).ok());
            sizes
                .map(|size| size.filter(|size| (1..=max).contains(size)))
                .collect()
        });
        sizes
            .filter(|sizes| sizes.len() == count)
            .ok_or_else(|| self.error(name, format!("{count} integers from 1 to {max}")))
    }

    /// `true` or `false`; `default` if absent.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, CheckpointError> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.error(name, "true or false")),
        }
    }

    /// A string.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, CheckpointError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(name, "a string")),
        }
    }
}

/// A value for a message: its first 60 characters.
pub(super) fn shortened(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
