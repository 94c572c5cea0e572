//! The text before a scored target: solved examples and the question, as plain text or as a chat,
//! as in lm-evaluation-harness.
//!
//! In plain text a solved example is its context, a space, its target and a blank line. A target
//! with a leading space of its own is therefore preceded by two spaces, as in the harness.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::Example;
use crate::chat::{Message, Role};
use crate::engine::Tokenize;

const TARGET_DELIMITER: &str = " ";
const EXAMPLE_DELIMITER: &str = "\n\n";

/// How a prompt is put together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptStyle {
    /// The chat that it is; `None` for plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<Turns>,
    /// A text at its beginning; the system's message of a chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
}

/// The turns of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Turns {
    /// One, with all solved examples in it.
    Single,
    /// One for each solved example and one for the question.
    Multi,
}

/// Solved examples as plain text, each with the blank line behind it.
pub fn solved(examples: &[&Example]) -> String {
    let mut text = String::new();
    for example in examples {
        text += example.content.context();
        text += TARGET_DELIMITER;
        text += example.content.solution();
        text += EXAMPLE_DELIMITER;
    }
    text
}

impl PromptStyle {
    /// Whether it is plain text without a beginning of its own.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The text behind solved examples, up to where the answer begins.
    ///
    /// # Errors
    /// If the tokenizer has no chat template, or the template refuses the chat.
    pub fn context(
        &self,
        tokenizer: &dyn Tokenize,
        shots: &[&Example],
        example: &Example,
    ) -> Result<String> {
        let system = self.system.as_deref().filter(|text| !text.is_empty());
        let question = example.content.context();
        let plain = || solved(shots) + question;
        let Some(turns) = self.chat else {
            return Ok(system.unwrap_or_default().to_owned() + &plain());
        };
        let mut messages = Vec::new();
        messages.extend(system.map(|text| Message::new(Role::System, text)));
        match turns {
            Turns::Single => messages.push(Message::new(Role::User, plain())),
            Turns::Multi => {
                for shot in shots {
                    messages.push(Message::new(Role::User, shot.content.context()));
                    messages.push(Message::new(Role::Assistant, shot.content.solution()));
                }
                messages.push(Message::new(Role::User, question));
            }
        }
        tokenizer.chat(&messages)
    }

    /// What stands between a question and a choice.
    pub const fn choice_delimiter(&self) -> &'static str {
        match self.chat {
            None => TARGET_DELIMITER,
            Some(_) => "",
        }
    }
}
