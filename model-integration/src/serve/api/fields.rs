//! Fields of a JSON object, taken one by one.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::ApiError;

/// The fields of a request that nobody has taken yet. `null` is no value.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of a body.
    ///
    /// # Errors
    /// If it is no JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(other) => {
                let message = format!("the body is {}; expected a JSON object", kind(&other));
                Err(ApiError::new(400, message))
            }
            Err(error) => Err(ApiError::new(400, format!("the body is not JSON: {error}"))),
        }
    }

    /// The fields of an object inside a field.
    ///
    /// # Errors
    /// If the value is no object.
    pub fn inside(&mut self, name: &str) -> Result<Option<Self>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self(map))),
            Some(other) => Err(unexpected(name, &other, "an object")),
        }
    }

    /// A field's value.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name).filter(|value| !value.is_null())
    }

    /// # Errors
    /// If the value is no boolean.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let boolean = value.as_bool();
        boolean
            .map(Some)
            .ok_or_else(|| unexpected(name, &value, "true or false"))
    }

    /// # Errors
    /// If the value is no integer in `range`.
    pub fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let integer = value.as_i64().filter(|value| range.contains(value));
        let expected = || format!("an integer from {} to {}", range.start(), range.end());
        integer
            .map(Some)
            .ok_or_else(|| unexpected(name, &value, expected()))
    }

    /// # Errors
    /// If the value is no number in `range`.
    pub fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let number = value.as_f64().filter(|value| range.contains(value));
        let expected = || format!("a number from {} to {}", range.start(), range.end());
        number
            .map(|number| Some(number as f32))
            .ok_or_else(|| unexpected(name, &value, expected()))
    }

    /// # Errors
    /// If the value is no string.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(unexpected(name, &other, "a string")),
        }
    }

    /// Names of the fields that are left.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The error of a field with another value than expected.
pub fn unexpected(name: &str, found: &Value, expected: impl Display) -> ApiError {
    let found = match found {
        Value::Number(number) => number.to_string(),
        other => kind(other).to_owned(),
    };
    ApiError::field(name, format!("`{name}` is {found}; expected {expected}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
