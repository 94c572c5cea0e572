//! Text to tokens and back.

use anyhow::Result;

use crate::chat::{ChatError, Message};

/// The interface of a tokenizer.
pub trait Tokenize: Sync {
    /// The token ids of a text, with the special tokens that the tokenizer's post-processor adds
    /// (Llama: a leading BOS) if `add_special_tokens`.
    ///
    /// # Errors
    /// If the text cannot be encoded.
    fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>>;

    /// The text of tokens, without special tokens.
    ///
    /// # Errors
    /// If they cannot be decoded.
    fn decode(&self, tokens: &[u32]) -> Result<String>;

    /// The text of one token by itself, special or not.
    ///
    /// # Errors
    /// As [`Tokenize::decode`].
    fn token_text(&self, token: u32) -> Result<String> {
        self.decode(&[token])
    }

    /// The token that stands for an empty context, as id and text: BOS if there is one, else EOS.
    fn prefix_token(&self) -> Option<(u32, String)>;

    /// The text of a chat, up to where the assistant's answer begins. It has all special tokens of
    /// its own.
    ///
    /// # Errors
    /// If the model has no chat template, or the template refuses the chat.
    fn chat(&self, _messages: &[Message]) -> Result<String> {
        Err(ChatError::Absent.into())
    }

    /// The chat template, if the model has one.
    fn chat_template(&self) -> Option<&str> {
        None
    }

    /// The tokenizer's own end-of-text token.
    fn eos_token(&self) -> Option<u32> {
        None
    }
}
