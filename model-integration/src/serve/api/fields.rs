//! Fields of a JSON object, taken one by one.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Deserializer, Map, Value};

use super::Served;
use super::error::ApiError;
use super::given::{Given, GivenSeed};

/// The name of the field that has a reader of its own, since it may have many elements.
const PROMPT: &str = "prompt";

/// The fields of a request that nobody has taken yet. `null` is no value.
#[derive(Default)]
pub struct Fields {
    others: Map<String, Value>,
    prompt: Option<Given>,
}

/// Reads the object of a body.
struct BodyVisitor<'a>(&'a Served);

impl<'de> Visitor<'de> for BodyVisitor<'_> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == PROMPT {
                fields.prompt = Some(map.next_value_seed(GivenSeed::new(self.0))?);
            } else {
                fields.others.insert(name, map.next_value()?);
            }
        }
        Ok(fields)
    }
}

impl Fields {
    /// The fields of a body.
    ///
    /// # Errors
    /// If it is no JSON object.
    pub fn parse(body: &[u8], served: &Served) -> Result<Self, ApiError> {
        let not_json = |error| ApiError::new(400, format!("the body is not JSON: {error}"));
        let found = match body.trim_ascii_start().first() {
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b'n') => "null",
            Some(b't' | b'f') => "a boolean",
            Some(b'-' | b'0'..=b'9') => "a number",
            _ => {
                let mut deserializer = Deserializer::from_slice(body);
                let fields = deserializer.deserialize_map(BodyVisitor(served));
                let fields = fields.and_then(|fields| deserializer.end().map(|()| fields));
                return fields.map_err(not_json);
            }
        };
        serde_json::from_slice::<IgnoredAny>(body).map_err(not_json)?;
        let message = format!("the body is {found}; expected a JSON object");
        Err(ApiError::new(400, message))
    }

    /// The fields of an object inside a field.
    ///
    /// # Errors
    /// If the value is no object.
    pub fn inside(&mut self, name: &str) -> Result<Option<Self>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(others)) => Ok(Some(Self {
                others,
                prompt: None,
            })),
            Some(other) => Err(unexpected(name, &other, "an object")),
        }
    }

    /// A field's value.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let value = self.others.shift_remove(name);
        value.filter(|value| !value.is_null())
    }

    /// The value of `prompt`.
    pub fn take_prompt(&mut self) -> Option<Given> {
        self.prompt.take().filter(|given| *given != Given::Nothing)
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
        let prompt = self.prompt.iter().map(|_| PROMPT);
        self.others.keys().map(String::as_str).chain(prompt)
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
