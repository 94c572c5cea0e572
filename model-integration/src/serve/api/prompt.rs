//! Prompts and chats.

use serde_json::Value;

use super::Served;
use super::error::ApiError;
use super::fields::{Fields, unexpected};
use crate::chat::{Message, Role};

/// Most prompts of a request.
const MOST_PROMPTS: usize = 256;

/// A prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its tokens; not empty.
    pub tokens: Vec<u32>,
    /// Its text, if that is how it came.
    pub text: Option<String>,
}

/// The prompts of `prompt`: a text, token ids, or an array of either.
///
/// # Errors
/// With the field.
pub fn prompts(fields: &mut Fields, served: &Served) -> Result<Vec<Prompt>, ApiError> {
    let refuse = |message: &str| ApiError::field("prompt", message);
    let value = fields.take("prompt");
    let value = value.ok_or_else(|| refuse("`prompt` is missing; expected a text or token ids"))?;
    let is_one = match &value {
        Value::Array(items) => items.iter().all(Value::is_number),
        _ => true,
    };
    let values = match value {
        Value::Array(items) if !is_one => items,
        one => vec![one],
    };
    if values.len() > MOST_PROMPTS {
        let message = format!(
            "`prompt` has {} prompts; expected at most {MOST_PROMPTS}: send more requests",
            values.len()
        );
        return Err(refuse(&message));
    }
    values.into_iter().map(|one| prompt(one, served)).collect()
}

fn prompt(value: Value, served: &Served) -> Result<Prompt, ApiError> {
    let refuse = |message: String| ApiError::field("prompt", message);
    let prompt = match value {
        Value::String(text) => Prompt {
            tokens: encode(served, &text, true)?,
            text: Some(text),
        },
        Value::Array(ids) => {
            let last = served.vocabulary.saturating_sub(1);
            let token = |id: &Value| {
                let token = id.as_u64().filter(|&id| id <= last as u64);
                let expected = || format!("token ids from 0 to {last}");
                token
                    .map(|id| id as u32)
                    .ok_or_else(|| unexpected("prompt", id, expected()))
            };
            Prompt {
                tokens: ids.iter().map(token).collect::<Result<_, _>>()?,
                text: None,
            }
        }
        other => {
            let expected = "a text, token ids, or an array of either";
            return Err(unexpected("prompt", &other, expected));
        }
    };
    match prompt.tokens.is_empty() {
        true => Err(refuse(
            "a prompt is empty; expected at least one token".into(),
        )),
        false => Ok(prompt),
    }
}

/// The prompt of `messages`, by the model's chat template.
///
/// # Errors
/// With the field, or if the model has no template or refuses the chat.
pub fn chat(fields: &mut Fields, served: &Served) -> Result<Prompt, ApiError> {
    let name = "messages";
    if served.tokenizer.chat_template().is_none() {
        let message = "the model has no chat template; use /v1/completions";
        return Err(ApiError::new(400, message));
    }
    let messages = match fields.take(name) {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        Some(Value::Array(_)) | None => {
            let message = "`messages` is empty; expected at least one message";
            return Err(ApiError::field(name, message));
        }
        Some(other) => return Err(unexpected(name, &other, "an array of messages")),
    };
    let messages: Vec<Message> = messages
        .into_iter()
        .enumerate()
        .map(|(index, value)| message(index, value))
        .collect::<Result<_, _>>()?;
    let text = served.tokenizer.chat(&messages);
    let text = text.map_err(|error| ApiError::field(name, format!("{error:#}")))?;
    Ok(Prompt {
        tokens: encode(served, &text, false)?,
        text: None,
    })
}

fn message(index: usize, value: Value) -> Result<Message, ApiError> {
    let place = |field: &str| format!("messages[{index}]{field}");
    let Value::Object(mut message) = value else {
        return Err(unexpected(&place(""), &value, "an object"));
    };
    let role = match message.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        found => {
            let found = found.map_or("missing".to_owned(), |role| format!("{role:?}"));
            let name = place(".role");
            let message =
                format!("`{name}` is {found}; expected system, developer, user or assistant");
            return Err(ApiError::field(&name, message));
        }
    };
    for field in ["tool_calls", "function_call", "audio"] {
        if message.get(field).is_some_and(|value| !value.is_null()) {
            let name = place(&format!(".{field}"));
            let message = format!("`{name}` is not supported; leave it out");
            return Err(ApiError::field(&name, message));
        }
    }
    let name = place(".content");
    let content = match message.shift_remove("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => {
            let texts = parts.iter().map(|part| {
                let text = part.get("text").and_then(Value::as_str);
                let is_text = part.get("type").and_then(Value::as_str) == Some("text");
                text.filter(|_| is_text).ok_or_else(|| {
                    let message = format!("`{name}` has a part that is no text; send texts alone");
                    ApiError::field(&name, message)
                })
            });
            texts.collect::<Result<Vec<_>, _>>()?.concat()
        }
        other => {
            let other = other.unwrap_or(Value::Null);
            return Err(unexpected(&name, &other, "a text or an array of texts"));
        }
    };
    Ok(Message::new(role, content))
}

fn encode(served: &Served, text: &str, special: bool) -> Result<Vec<u32>, ApiError> {
    let tokens = served.tokenizer.encode(text, special);
    tokens.map_err(|error| ApiError::field("prompt", format!("{error:#}")))
}
