//! A file of JSON lines becomes examples.
//!
//! `{"text": ...}` is split at its last single space, the target keeping that space. It is the
//! last *space*: where a newline stands inside the last piece, the piece stays whole.
//! `{"context": ..., "target": ...}` and `{"context": ..., "choices": [...], "gold": 0}` are taken as they are, of
//! `{"page": ...}` every token is scored. Lines of data sets as they are published are known by their fields, see
//! [`published`].

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Content, Example, Task, TaskError, published, wikitext};

/// Parses the content of a task; `source` is the file that errors name.
///
/// # Errors
/// [`TaskError`] naming the file and the line.
pub fn parse(name: &str, source: &str, bytes: &[u8]) -> Result<Task, TaskError> {
    let text = text(source, bytes)?;
    let examples = text
        .split('\n')
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| example(source, index + 1, line))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(first) = examples.first() else {
        return Err(TaskError::Empty {
            file: source.to_owned(),
        });
    };
    let kind = first.content.kind();
    if let Some(other) = examples.iter().find(|other| other.content.kind() != kind) {
        return Err(TaskError::Mixed {
            file: source.to_owned(),
            line: other.line,
            here: other.content.kind().output_type(),
            before: kind.output_type(),
        });
    }
    Ok(Task {
        name: name.to_owned(),
        source: source.to_owned(),
        sha256: format!("{:x}", Sha256::digest(bytes)),
        num_fewshot: 0,
        training: None,
        examples,
    })
}

/// The text of a file, without the mark that may stand before it.
///
/// # Errors
/// Naming the line, if it is not UTF-8.
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

fn example(source: &str, line: usize, json: &str) -> Result<Example, TaskError> {
    let doc: Map<String, Value> = serde_json::from_str(json).map_err(|error| TaskError::Json {
        file: source.to_owned(),
        line,
        reason: error.to_string(),
    })?;
    let content = content(&Fields(&doc)).map_err(|Fault { field, reason }| TaskError::Field {
        file: source.to_owned(),
        line,
        field,
        reason,
    })?;
    Ok(Example { doc, content, line })
}

/// The fields of a line, or of an object in it.
#[derive(Clone, Copy)]
pub struct Fields<'a>(pub &'a Map<String, Value>);

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub field: &'static str,
    /// What is wrong.
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
    /// Whether there is a field.
    pub fn has(self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    fn value(self, field: &'static str) -> Result<&'a Value, Fault> {
        let value = self.0.get(field);
        value.ok_or_else(|| Fault::new(field, "missing"))
    }

    /// A text.
    ///
    /// # Errors
    /// If it is missing or none.
    pub fn text(self, field: &'static str) -> Result<&'a str, Fault> {
        let text = self.value(field)?.as_str();
        text.ok_or_else(|| Fault::new(field, "not a string"))
    }

    /// A list of texts.
    ///
    /// # Errors
    /// If it is missing or none.
    pub fn texts(self, field: &'static str) -> Result<Vec<String>, Fault> {
        let list = self.list(field)?.iter();
        let texts: Option<Vec<String>> = list.map(|text| Some(text.as_str()?.to_owned())).collect();
        texts.ok_or_else(|| Fault::new(field, "not a list of strings"))
    }

    /// A list.
    ///
    /// # Errors
    /// If it is missing or none.
    pub fn list(self, field: &'static str) -> Result<&'a [Value], Fault> {
        let list = self.value(field)?.as_array();
        list.map(Vec::as_slice)
            .ok_or_else(|| Fault::new(field, "not a list"))
    }

    /// The fields of an object.
    ///
    /// # Errors
    /// If it is missing or none.
    pub fn fields(self, field: &'static str) -> Result<Self, Fault> {
        let object = self.value(field)?.as_object();
        object
            .map(Self)
            .ok_or_else(|| Fault::new(field, "not an object"))
    }

    /// A number of something, written as a number or as text.
    ///
    /// # Errors
    /// If it is missing or none.
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
    /// Choices of which the one called `field` is right.
    ///
    /// # Errors
    /// If there is no such choice, or one is empty.
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
        if choices.iter().any(String::is_empty) {
            return Err(Fault::new("choices", "one is empty"));
        }
        Ok(Self::Choices {
            context,
            choices,
            gold,
        })
    }
}

/// What a line asks: its fields tell the layout.
fn content(fields: &Fields) -> Result<Content, Fault> {
    if fields.has("answerKey") {
        return published::arc(fields);
    }
    if fields.has("endings") {
        return published::hellaswag(fields);
    }
    if fields.has("question") && fields.has("answer") {
        return published::gsm8k(fields);
    }
    if fields.has("choices") {
        let (context, choices) = (fields.text("context")?.to_owned(), fields.texts("choices")?);
        return Content::choices(context, choices, fields.index("gold")?, "gold");
    }
    if fields.has("page") {
        return wikitext::page(fields);
    }
    if fields.has("context") || fields.has("target") {
        let target = fields.text("target")?;
        if target.is_empty() {
            return Err(Fault::new("target", "empty"));
        }
        return Ok(Content::Cloze {
            context: fields.text("context")?.to_owned(),
            target: target.to_owned(),
        });
    }
    let text = fields.text("text")?;
    let last_space = text.rfind(' ').ok_or_else(|| {
        let reason = "has no space that would part a context from a target";
        Fault::new("text", reason)
    })?;
    let (context, target) = text.split_at(last_space);
    Ok(Content::Cloze {
        context: context.to_owned(),
        target: target.to_owned(),
    })
}
