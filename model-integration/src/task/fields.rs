//! Typed access to the fields of a line.

use serde_json::{Map, Value};

use super::Content;

/// The fields of a line, or of an object inside it.
#[derive(Clone, Copy)]
pub struct Fields<'a>(pub &'a Map<String, Value>);

/// A field that is missing or invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field's name.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Fault {
    /// A fault of a field.
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { field, reason }
    }
}

impl<'a> Fields<'a> {
    /// Whether the field exists.
    pub fn has(self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    fn value(self, field: &'static str) -> Result<&'a Value, Fault> {
        let value = self.0.get(field);
        value.ok_or_else(|| Fault::new(field, "missing"))
    }

    /// A string.
    ///
    /// # Errors
    /// If it is missing or not a string.
    pub fn text(self, field: &'static str) -> Result<&'a str, Fault> {
        let text = self.value(field)?.as_str();
        text.ok_or_else(|| Fault::new(field, "not a string"))
    }

    /// A list of strings.
    ///
    /// # Errors
    /// If it is missing or not a list of strings.
    pub fn texts(self, field: &'static str) -> Result<Vec<String>, Fault> {
        let list = self.list(field)?.iter();
        let texts: Option<Vec<String>> = list.map(|text| Some(text.as_str()?.to_owned())).collect();
        texts.ok_or_else(|| Fault::new(field, "not a list of strings"))
    }

    /// A list.
    ///
    /// # Errors
    /// If it is missing or not a list.
    pub fn list(self, field: &'static str) -> Result<&'a [Value], Fault> {
        let list = self.value(field)?.as_array();
        list.map(Vec::as_slice)
            .ok_or_else(|| Fault::new(field, "not a list"))
    }

    /// The fields of an object.
    ///
    /// # Errors
    /// If it is missing or not an object.
    pub fn fields(self, field: &'static str) -> Result<Self, Fault> {
        let object = self.value(field)?.as_object();
        object
            .map(Self)
            .ok_or_else(|| Fault::new(field, "not an object"))
    }

    /// An index, written as a number or as a string.
    ///
    /// # Errors
    /// If it is missing or not an index.
    pub fn index(self, field: &'static str) -> Result<usize, Fault> {
        let value = self.value(field)?;
        let index = match value {
            Value::String(text) => text.parse().ok(),
            _ => value.as_u64().and_then(|index| usize::try_from(index).ok()),
        };
        index.ok_or_else(|| Fault::new(field, "not an index"))
    }
}

impl Content {
    /// Choices, of which number `gold` is right; `field` is the field that said so.
    ///
    /// # Errors
    /// If there is no such choice.
    pub fn choices(
        context: String,
        choices: Vec<String>,
        gold: usize,
        field: &'static str,
    ) -> Result<Self, Fault> {
        if gold >= choices.len() {
            let reason = format!("{gold} of {} choices", choices.len());
            return Err(Fault::new(field, reason));
        }
        Ok(Self::Choices {
            context,
            choices,
            gold,
        })
    }
}
