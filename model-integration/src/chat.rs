//! Chat templates: the text that a chat becomes, as `apply_chat_template` of transformers makes it.
//!
//! A template is Jinja with transformers' settings and functions: blocks are trimmed, `break` and
//! `continue` end loops, strings and lists have Python's methods, and there are `raise_exception`,
//! `strftime_now` (in UTC) and a `tojson` that writes as Python's `json` does.

use std::collections::BTreeMap;
use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, ErrorKind, context};
use regex::Regex;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

/// The name of a template in messages.
const NAME: &str = "chat template";

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are those of templates")]
pub enum Role {
    System,
    User,
    Assistant,
}

/// A template, and the texts of the model's special tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatTemplate {
    /// The template.
    pub text: String,
    /// Name and text of special tokens, such as `bos_token`.
    pub special_tokens: Vec<(String, String)>,
}

/// Why a chat has no text.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The model has no template.
    #[error(
        "the model has no chat template; expected chat_template.jinja, `chat_template` in \
         tokenizer_config.json, or tokenizer.chat_template in a GGUF file: leave the chat flags out"
    )]
    Absent,
    /// The template is not Jinja, or uses what is not supported.
    #[error("the model's chat template cannot be read: {0}")]
    Syntax(String),
    /// The template refuses the chat, in its own words.
    #[error("the model's chat template refuses these messages: {0}")]
    Refused(String),
    /// The template fails.
    #[error("the model's chat template fails: {0}")]
    Render(String),
}

impl ChatTemplate {
    /// The text of a chat, up to where the assistant's answer begins.
    ///
    /// # Errors
    /// [`ChatError`], but for `Absent`.
    pub fn render(&self, messages: &[Message]) -> Result<String, ChatError> {
        let mut environment = Environment::new();
        let whitespace = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(whitespace.expect("the usual delimiters"));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise);
        environment.add_function("strftime_now", |format: &str| {
            chrono::Utc::now().format(format).to_string()
        });
        environment.add_filter("tojson", to_json);
        let text = without_generation(&self.text);
        let syntax = |error: minijinja::Error| ChatError::Syntax(reason(&error));
        let template = environment
            .template_from_named_str(NAME, &text)
            .map_err(syntax)?;
        let special_tokens: BTreeMap<&str, &str> = (self.special_tokens.iter())
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let rendered = template.render(context! {
            messages => Value::from(Serde(messages.to_vec())),
            tools => Value::from(()),
            documents => Value::from(()),
            add_generation_prompt => true,
            ..Value::from(Serde(special_tokens))
        });
        rendered.map_err(|error| match error.detail() {
            Some(said)
                if error.kind() == ErrorKind::InvalidOperation && said.starts_with(RAISED) =>
            {
                ChatError::Refused(said[RAISED.len()..].to_owned())
            }
            _ => ChatError::Render(reason(&error)),
        })
    }
}

/// Marks what a template itself says against a chat.
const RAISED: &str = "raised: ";

fn raise(message: String) -> Result<Value, minijinja::Error> {
    let said = format!("{RAISED}{message}");
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, said))
}

/// What went wrong, and the line of the template.
fn reason(error: &minijinja::Error) -> String {
    let line = error
        .line()
        .map_or_else(String::new, |line| format!(" (line {line})"));
    let detail = error
        .detail()
        .map_or_else(String::new, |detail| format!(": {detail}"));
    format!("{}{detail}{line}", error.kind())
}

/// transformers marks the assistant's parts of a chat for training with a tag of its own, which
/// changes no text.
fn without_generation(text: &str) -> String {
    let tag = Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("a pattern");
    let replaced = tag.replace_all(text, |found: &regex::Captures| {
        let word = if found.get(2).is_some() {
            "endif"
        } else {
            "if true"
        };
        format!("{{%{} {word} {}%}}", &found[1], &found[3])
    });
    replaced.into_owned()
}

/// Writes JSON as Python's `json.dumps(..., ensure_ascii=False)` does.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let failed = |error: &dyn fmt::Display| {
        minijinja::Error::new(ErrorKind::BadSerialization, error.to_string())
    };
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let mut out = Vec::new();
    let written = match indent {
        None => {
            let mut writer = serde_json::Serializer::with_formatter(&mut out, Spaced);
            value.serialize(&mut writer)
        }
        Some(indent) => {
            let spaces = " ".repeat(indent);
            let pretty = PrettyFormatter::with_indent(spaces.as_bytes());
            let mut writer = serde_json::Serializer::with_formatter(&mut out, pretty);
            value.serialize(&mut writer)
        }
    };
    written.map_err(|error| failed(&error))?;
    let text = String::from_utf8(out).map_err(|error| failed(&error))?;
    Ok(Value::from_safe_string(text))
}

/// A space behind each comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}
