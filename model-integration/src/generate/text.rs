//! Streams the text of tokens.

use anyhow::Result;

use crate::engine::Tokenize;

/// Prompt tokens that are decoded before a continuation, because a token's text can depend on the
/// tokens before it.
const CONTEXT: usize = 4;

/// The text of a growing sequence. The pieces add up to the text of the whole sequence; a character
/// that takes several tokens comes with the last of them.
pub struct TextStream<'a> {
    tokenizer: &'a dyn Tokenize,
    tokens: Vec<u32>,
    /// Index of the first token that is decoded with the next ones.
    context: usize,
    /// Index of the first token whose text has not been returned.
    pending: usize,
}

impl<'a> TextStream<'a> {
    /// The text behind `prompt`.
    pub fn new(tokenizer: &'a dyn Tokenize, prompt: &[u32]) -> Self {
        let tokens = prompt[prompt.len().saturating_sub(CONTEXT)..].to_vec();
        Self {
            tokenizer,
            context: 0,
            pending: tokens.len(),
            tokens,
        }
    }

    /// Adds a token, and returns the text that is now complete.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails.
    pub fn push(&mut self, token: u32) -> Result<String> {
        self.tokens.push(token);
        let text = self.pending()?;
        // An incomplete character is decoded as a replacement character.
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.context = self.pending;
        self.pending = self.tokens.len();
        Ok(text)
    }

    /// The remaining text at the end.
    ///
    /// # Errors
    /// As [`TextStream::push`].
    pub fn finish(self) -> Result<String> {
        self.pending()
    }

    /// The text that the pending tokens add to their context.
    ///
    /// # Errors
    /// As [`TextStream::push`].
    pub fn pending(&self) -> Result<String> {
        let before = self
            .tokenizer
            .decode(&self.tokens[self.context..self.pending])?;
        let whole = self.tokenizer.decode(&self.tokens[self.context..])?;
        let common = whole.chars().zip(before.chars());
        let common = common
            .take_while(|(a, b)| a == b)
            .map(|(a, _)| a.len_utf8());
        Ok(whole[common.sum::<usize>()..].to_owned())
    }
}

/// The text of `tokens` behind `prompt`.
///
/// # Errors
/// As [`TextStream::push`].
pub fn of(tokenizer: &dyn Tokenize, prompt: &[u32], tokens: &[u32]) -> Result<String> {
    let mut stream = TextStream::new(tokenizer, prompt);
    let mut text = String::new();
    for &token in tokens {
        text += &stream.push(token)?;
    }
    Ok(text + &stream.finish()?)
}
