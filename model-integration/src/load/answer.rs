//! An answer that comes event by event, with the time of each token.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;

use super::events::Events;
use super::failure::{Failure, Stage, beginning};

/// Most tokens of an answer, far beyond any model's length.
const MOST_EVENTS: usize = 1 << 22;

/// What is known of an answer, whole or not.
#[derive(Debug, Default)]
pub struct Answer {
    /// When each event with a token came.
    pub tokens: Vec<Instant>,
    /// When its finish reason came, or without one `[DONE]`; `None` if it is not whole.
    pub end: Option<Instant>,
    /// The tokens of the prompt and of the answer, as the server counts them.
    pub usage: Option<Usage>,
    /// Where the times of tokens of all answers are collected.
    log: Option<Arc<TokenLog>>,
    /// What it waits for.
    pub(super) stage: Option<Stage>,
    /// When the finish reason came.
    finished: Option<Instant>,
}

/// The times of tokens of many answers, those that are not whole among them.
#[derive(Debug, Default)]
pub struct TokenLog(Mutex<Vec<Instant>>);

impl TokenLog {
    fn push(&self, time: Instant) {
        self.times().push(time);
    }

    /// The number of tokens from `begin` up to `end`.
    pub fn within(&self, begin: Instant, end: Instant) -> usize {
        let is_within = |time: &&Instant| (begin..=end).contains(*time);
        self.times().iter().filter(is_within).count()
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server's counts of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    #[serde(default)]
    pub completion_tokens: u64,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
}

impl Choice {
    /// Whether the event stands for a token. Its text may be empty, where characters span tokens;
    /// the role that begins a chat and the end of an answer are no tokens.
    fn has_token(&self) -> bool {
        let (text, is_role) = match &self.delta {
            None => (self.text.as_ref(), false),
            Some(delta) => (
                delta.content.as_ref().or(delta.reasoning_content.as_ref()),
                delta.role.is_some(),
            ),
        };
        text.is_some_and(|text| !text.is_empty() || (!is_role && self.finish_reason.is_none()))
    }
}

impl Answer {
    /// An answer whose tokens are logged.
    pub fn logged(log: Arc<TokenLog>) -> Self {
        Self {
            log: Some(log),
            ..Self::default()
        }
    }

    /// Reads events up to `[DONE]`, or the end of the body after a finish reason.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn read(&mut self, body: &mut Incoming) -> Result<(), Failure> {
        let mut events = Events::default();
        let mut is_done = false;
        while let (false, Some(frame)) = (is_done, body.frame().await) {
            let frame = frame
                .map_err(|error| Failure::of_connection(&error, "before the stream was whole"))?;
            let Some(bytes) = frame.data_ref() else {
                continue;
            };
            let now = Instant::now();
            for data in events.push(bytes)? {
                is_done |= self.take(&data, now)?;
            }
        }
        let now = Instant::now();
        if let Some(data) = events.finish() {
            is_done |= self.take(&data, now)?;
        }
        if !is_done && self.finished.is_none() {
            let when = "without a finish reason or `[DONE]`".to_owned();
            return Err(Failure::ClosedEarly(when));
        }
        // The text of all tokens may be empty.
        let counted = self.usage.is_some_and(|usage| usage.completion_tokens > 0);
        if let (true, true, Some(finished)) = (self.tokens.is_empty(), counted, self.finished) {
            self.add_token(finished);
        }
        Ok(())
    }

    fn add_token(&mut self, time: Instant) {
        self.tokens.push(time);
        if let Some(log) = &self.log {
            log.push(time);
        }
    }

    /// Takes an event; whether it is the last one.
    fn take(&mut self, data: &[u8], now: Instant) -> Result<bool, Failure> {
        if data.trim_ascii() == b"[DONE]" {
            self.end = self.end.or(Some(now));
            return Ok(true);
        }
        let chunk: Chunk = serde_json::from_slice(data).map_err(|error| Failure::Event {
            reason: format!("not a chunk of a completion ({error})"),
            start: beginning(data),
        })?;
        if chunk.error.is_some() {
            let message = reported(data);
            return Err(Failure::Reported(
                message.unwrap_or_else(|| beginning(data)),
            ));
        }
        if chunk.choices.iter().any(Choice::has_token) {
            if self.tokens.len() == MOST_EVENTS {
                return Err(Failure::TooLong("4,194,304 tokens in an answer"));
            }
            self.add_token(now);
            self.stage = Some(Stage::NextToken);
        }
        if chunk
            .choices
            .iter()
            .any(|choice| choice.finish_reason.is_some())
        {
            self.finished = Some(now);
            self.end = Some(now);
        }
        self.usage = chunk.usage.or(self.usage);
        Ok(false)
    }
}

/// The message of an error in OpenAI's form.
pub(super) fn reported(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let error = value.get("error")?;
    let message = error.get("message").unwrap_or(error);
    let text = message
        .as_str()
        .map_or_else(|| message.to_string(), str::to_owned);
    Some(beginning(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_are_tokens() {
        let has_token = |json: &str| {
            let chunk: Chunk = serde_json::from_str(json).expect("a chunk");
            chunk.choices.iter().any(Choice::has_token)
        };
        for token in [
            r#"{"choices": [{"text": "a"}]}"#,
            r#"{"choices": [{"text": "", "finish_reason": null}]}"#,
            r#"{"choices": [{"text": "z", "finish_reason": "length"}]}"#,
            r#"{"choices": [{"delta": {"role": "assistant", "content": "a"}}]}"#,
            r#"{"choices": [{"delta": {"reasoning_content": "a"}}]}"#,
        ] {
            assert!(has_token(token), "{token}");
        }
        for other in [
            r#"{"choices": [], "usage": {"prompt_tokens": 1}}"#,
            r#"{"choices": [{"text": "", "finish_reason": "stop"}]}"#,
            r#"{"choices": [{"delta": {"role": "assistant", "content": ""}}]}"#,
            r#"{"choices": [{"delta": {}, "finish_reason": "stop"}]}"#,
        ] {
            assert!(!has_token(other), "{other}");
        }
    }
}
