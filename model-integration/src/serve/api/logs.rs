//! Log-probabilities in answers.

use serde_json::{Map, Value, json};

use super::Served;
use super::call::Kind;
use crate::generate::text::TextStream;
use crate::serve::log_probability::TokenLog;

/// Log-probabilities of an answer, or of a piece of it.
pub struct Logs {
    served: Served,
    kind: Kind,
    logs: Vec<TokenLog>,
    /// Text of the tokens that have been taken.
    text: TextStream<'static>,
    /// Characters of that text which are complete.
    offset: usize,
}

impl Logs {
    /// None yet, for an answer of a kind, whose first token follows `context`.
    pub fn new(served: Served, kind: Kind, context: &[u32]) -> Self {
        Self {
            served,
            kind,
            logs: Vec::new(),
            text: TextStream::new(served.tokenizer, context),
            offset: 0,
        }
    }

    /// Adds tokens.
    pub fn extend(&mut self, logs: impl IntoIterator<Item = TokenLog>) {
        self.logs.extend(logs);
    }

    /// Whether no token waits.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// Takes the tokens so far, in OpenAI's form.
    pub fn take(&mut self) -> Value {
        let logs = std::mem::take(&mut self.logs);
        match self.kind {
            Kind::Completion => self.of_completion(&logs),
            Kind::Chat => {
                let content = logs.iter().map(|log| {
                    let mut token = self.of_chat(log.token, log.log_probability);
                    let likeliest = log.likeliest.iter();
                    let likeliest = likeliest.map(|&(token, log)| self.of_chat(token, Some(log)));
                    token["top_logprobs"] = likeliest.collect();
                    token
                });
                json!({"content": content.collect::<Value>(), "refusal": null})
            }
        }
    }

    fn of_completion(&mut self, logs: &[TokenLog]) -> Value {
        let (mut tokens, mut each, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
        for log in logs {
            let text = self.text(log.token);
            offsets.push(self.offset);
            // Tokens within a character begin where it begins. Special ones have no text.
            let complete = self.text.push(log.token).unwrap_or_default();
            self.offset += complete.chars().count();
            each.push(log.log_probability);
            tops.push(log.log_probability.map(|own| {
                // Several tokens may have one text, for which the likeliest of them stands.
                let mut map = Map::new();
                for &(token, log) in &log.likeliest {
                    map.entry(self.text(token)).or_insert_with(|| json!(log));
                }
                map.entry(text.clone()).or_insert_with(|| json!(own));
                map
            }));
            tokens.push(text);
        }
        json!({
            "tokens": tokens,
            "token_logprobs": each,
            "top_logprobs": tops,
            "text_offset": offsets,
        })
    }

    fn of_chat(&self, token: u32, log: Option<f32>) -> Value {
        let text = self.text(token);
        // A part of a character has no bytes of its own here.
        let is_whole = !text.contains(char::REPLACEMENT_CHARACTER);
        let bytes = is_whole.then(|| text.as_bytes().to_vec());
        json!({"token": text, "logprob": log, "bytes": bytes})
    }

    fn text(&self, token: u32) -> String {
        self.served.tokenizer.token_text(token).unwrap_or_default()
    }
}
