//! Prompts and chats.

use serde_json::Value;

use super::Served;
use super::error::ApiError;
use super::fields::{Fields, unexpected};
use super::given::{Given, MOST_PROMPTS};
use crate::chat::{Message, Role};

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
    let given = fields.take_prompt();
    let given = given.ok_or_else(|| refuse("`prompt` is missing; expected a text or token ids"))?;
    match given {
        Given::Many { prompts, count } if count <= MOST_PROMPTS => {
            prompts.into_iter().map(|one| prompt(one, served)).collect()
        }
        Given::Many { count, .. } => Err(refuse(&format!(
            "`prompt` has {count} prompts; expected at most {MOST_PROMPTS}: send more requests"
        ))),
        one => Ok(vec![prompt(one, served)?]),
    }
}

fn prompt(given: Given, served: &Served) -> Result<Prompt, ApiError> {
    let refuse = |message: String| ApiError::field("prompt", message);
    let empty = || refuse("a prompt is empty; expected a text or at least one token".into());
    let prompt = match given {
        // Whatever the tokenizer puts before a text.
        Given::Text(text) if text.is_empty() => return Err(empty()),
        Given::Text(text) => Prompt {
            tokens: encode(served, "prompt", &text, true)?,
            text: Some(text),
        },
        Given::Tokens { count, .. } if count > served.longest => {
            return Err(too_long("prompt", &format!("{count} tokens"), served));
        }
        Given::Tokens { ids, .. } => Prompt {
            tokens: ids,
            text: None,
        },
        other => return Err(wrong(other, served)),
    };
    match prompt.tokens.is_empty() {
        true => Err(empty()),
        false => Ok(prompt),
    }
}

fn wrong(given: Given, served: &Served) -> ApiError {
    let all = "expected a text, token ids, or an array of either";
    let message = match given {
        Given::Wrong { place, found, .. } if place.is_empty() => {
            format!("`prompt` is {found}; {all}")
        }
        Given::Wrong {
            place,
            found,
            is_mixed,
        } => {
            let last = served.vocabulary.saturating_sub(1);
            let expected = match is_mixed {
                true => "the same as before it: ids, texts and arrays do not mix".to_owned(),
                false => format!("token ids from 0 to {last}"),
            };
            format!("`prompt{place}` is {found}; expected {expected}")
        }
        _ => format!("`prompt` has an array in an array; {all}"),
    };
    ApiError::field("prompt", message)
}

fn too_long(name: &str, found: &str, served: &Served) -> ApiError {
    let message = format!(
        "a prompt of {found}; a prompt and its answer are at most {} tokens, which have at most {} \
         bytes: shorten it",
        served.longest, served.longest_text
    );
    ApiError::field(name, message).with_code("context_length_exceeded")
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
        tokens: encode(served, name, &text, false)?,
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
        // As clients send back an answer without text.
        None | Some(Value::Null) if role == Role::Assistant => String::new(),
        other => {
            let other = other.unwrap_or(Value::Null);
            return Err(unexpected(&name, &other, "a text or an array of texts"));
        }
    };
    Ok(Message::new(role, content))
}

/// The tokens of a text. A text that must have too many is refused before that takes its time.
fn encode(served: &Served, name: &str, text: &str, special: bool) -> Result<Vec<u32>, ApiError> {
    if text.len() > served.longest_text {
        return Err(too_long(name, &format!("{} bytes", text.len()), served));
    }
    let tokens = served.tokenizer.encode(text, special);
    tokens.map_err(|error| ApiError::field(name, format!("{error:#}")))
}
