//! Tokens to text as they come.

use anyhow::Result;

use crate::engine::Tokenize;

/// Tokens of the prompt that a continuation is decoded together with: what a token is as text can
/// depend on those before it.
const CONTEXT: usize = 4;

/// The text of a sequence that grows. What it gives, one after another, is the text of the
/// whole: a character that several tokens make comes with the last of them.
pub struct TextStream<'a> {
    tokenizer: &'a dyn Tokenize,
    tokens: Vec<u32>,
    /// Where the tokens begin that the next ones are decoded together with.
    context: usize,
    /// Where the tokens begin of which no text was given yet.
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

    /// The text that one more token makes whole.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails.
    pub fn push(&mut self, token: u32) -> Result<String> {
        self.tokens.push(token);
        let text = self.pending_text()?;
        // A character that is not whole yet is decoded as a replacement.
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.context = self.pending;
        self.pending = self.tokens.len();
        Ok(text)
    }

    /// What is left at the end.
    ///
    /// # Errors
    /// As [`TextStream::push`].
    pub fn finish(self) -> Result<String> {
        self.pending_text()
    }

    /// What the pending tokens add to the text of their context.
    fn pending_text(&self) -> Result<String> {
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
