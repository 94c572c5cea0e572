//! Answers, whole and in pieces.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Served;
use super::call::{Call, Kind};
use super::error::ApiError;
use super::logs::Logs;
use crate::serve::job::{Event, Failure, Finish};

/// What has come of the answers to a call.
pub struct Answer {
    served: Served,
    kind: Kind,
    id: String,
    created: u64,
    includes_usage: bool,
    returns_ids: bool,
    prompt_tokens: usize,
    output_tokens: usize,
    choices: Vec<Choice>,
}

/// One of the answers.
struct Choice {
    /// Text that has not been sent.
    text: String,
    ids: Vec<u32>,
    logs: Option<Logs>,
    end: Option<Finish>,
    has_begun: bool,
}

impl Answer {
    /// Nothing yet.
    pub fn new(call: &Call, served: Served) -> Self {
        let prompts = call.prompts.iter();
        let prompts = prompts.flat_map(|prompt| std::iter::repeat_n(prompt, call.answers));
        let choices = prompts.map(|prompt| {
            let text = match &prompt.text {
                Some(text) => text.clone(),
                None => served.tokenizer.decode(&prompt.tokens).unwrap_or_default(),
            };
            let context = match call.echoes {
                true => &[],
                false => &*prompt.tokens,
            };
            let logs = || Logs::new(served, call.kind, context);
            Choice {
                text: if call.echoes { text } else { String::new() },
                ids: Vec::new(),
                logs: call.log_probabilities.map(|_| logs()),
                end: None,
                has_begun: false,
            }
        });
        let prefix = match call.kind {
            Kind::Completion => "cmpl",
            Kind::Chat => "chatcmpl",
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let prompt_tokens = call.prompts.iter().map(|prompt| prompt.tokens.len());
        Self {
            served,
            kind: call.kind,
            id: format!("{prefix}-{:016x}", rand::random::<u64>()),
            created: since.map_or(0, |since| since.as_secs()),
            includes_usage: call.includes_usage,
            returns_ids: call.returns_ids,
            prompt_tokens: prompt_tokens.sum(),
            output_tokens: 0,
            choices: choices.collect(),
        }
    }

    /// Takes an event of the answer number `index`.
    ///
    /// # Errors
    /// If there will be no answer.
    pub fn take(&mut self, index: usize, event: Event) -> Result<(), ApiError> {
        let choice = &mut self.choices[index];
        match event {
            Event::Prompt(logs) => {
                if let Some(of_choice) = &mut choice.logs {
                    of_choice.extend(logs);
                }
            }
            Event::Token { token, text, log } => {
                self.output_tokens += 1;
                choice.text += &text;
                choice.ids.push(token);
                if let Some(logs) = &mut choice.logs {
                    logs.extend(log);
                }
            }
            Event::End { text, end } => {
                choice.text += &text;
                choice.end = Some(end);
            }
            Event::Failed(failure) => return Err(failed(failure)),
        }
        Ok(())
    }

    /// Whether all answers have ended.
    pub fn is_complete(&self) -> bool {
        self.choices.iter().all(|choice| choice.end.is_some())
    }

    /// The whole answer.
    pub fn whole(&mut self) -> Value {
        let choices = (0..self.choices.len()).map(|index| {
            let choice = &mut self.choices[index];
            let mut value = json!({"index": index});
            let text = std::mem::take(&mut choice.text);
            match self.kind {
                Kind::Completion => value["text"] = text.into(),
                Kind::Chat => value["message"] = json!({"role": "assistant", "content": text}),
            }
            choice.describe(&mut value, self.returns_ids);
            value
        });
        let choices: Value = choices.collect();
        let mut answer = self.envelope(choices, false);
        answer["usage"] = self.usage();
        answer
    }

    /// What is new of the answer number `index`, as a piece; `None` if there is nothing to tell.
    pub fn piece(&mut self, index: usize) -> Option<Value> {
        let choice = &mut self.choices[index];
        let has_logs = choice.logs.as_ref().is_some_and(|logs| !logs.is_empty());
        let has_ids = self.returns_ids && !choice.ids.is_empty();
        if choice.text.is_empty() && !has_logs && !has_ids && choice.end.is_none() {
            return None;
        }
        let mut value = json!({"index": index});
        let text = std::mem::take(&mut choice.text);
        let is_first = !std::mem::replace(&mut choice.has_begun, true);
        match self.kind {
            Kind::Completion => value["text"] = text.into(),
            Kind::Chat if is_first => {
                value["delta"] = json!({"role": "assistant", "content": text});
            }
            Kind::Chat => value["delta"] = json!({"content": text}),
        }
        choice.describe(&mut value, self.returns_ids);
        choice.ids.clear();
        let mut piece = self.envelope(json!([value]), true);
        if self.includes_usage {
            piece["usage"] = Value::Null;
        }
        Some(piece)
    }

    /// The piece behind the last of all answers, if it is asked for.
    pub fn last_piece(&self) -> Option<Value> {
        self.includes_usage.then(|| {
            let mut piece = self.envelope(json!([]), true);
            piece["usage"] = self.usage();
            piece
        })
    }

    fn envelope(&self, choices: Value, is_piece: bool) -> Value {
        let object = match (self.kind, is_piece) {
            (Kind::Completion, _) => "text_completion",
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
        };
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.served.name,
            "choices": choices,
        })
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.prompt_tokens + self.output_tokens,
        })
    }
}

impl Choice {
    /// Log-probabilities, ids and the reason of the end.
    fn describe(&mut self, value: &mut Value, returns_ids: bool) {
        value["logprobs"] = self.logs.as_mut().map_or(Value::Null, Logs::take);
        if returns_ids {
            value["token_ids"] = json!(self.ids);
        }
        value["finish_reason"] = match self.end {
            None => Value::Null,
            Some(Finish::Stop) => "stop".into(),
            Some(Finish::Length) => "length".into(),
        };
    }
}

/// The error of an answer that does not come.
pub fn failed(failure: Failure) -> ApiError {
    match failure {
        Failure::Deadline => ApiError::new(
            504,
            "the answer took longer than this server allows; ask for fewer tokens or try later",
        ),
        Failure::Refused(reason) => ApiError::new(400, reason),
        Failure::Model(reason) => ApiError::new(500, reason),
    }
}
