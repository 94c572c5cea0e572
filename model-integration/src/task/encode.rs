//! Tokenises contexts and targets as lm-evaluation-harness' HF backend does.

use anyhow::{Context, Result, ensure};

use crate::engine::{Request, Tokenize};

/// Turns a context and a target into a request.
pub struct PromptEncoder<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a dyn Tokenize,
    /// Whether a context begins with BOS; `None` for the tokenizer's default.
    pub add_bos_token: Option<bool>,
    /// Longest input of the model, in tokens.
    pub max_length: usize,
}

/// A request, and how much of it was truncated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The request.
    pub request: Request,
    /// Context tokens that did not fit and were dropped from the left.
    pub dropped_tokens: usize,
}

impl PromptEncoder<'_> {
    /// Encodes the whole text. The target is the tokens behind those of the context alone. Tokens
    /// beyond the model's length are dropped from the left.
    ///
    /// # Errors
    /// If the target has no tokens or more than the model takes, or the tokenizer fails.
    pub fn encode(&self, context: &str, target: &str) -> Result<Encoded> {
        let (mut tokens, targets) = self.encode_pair(context, target)?;
        ensure!(
            targets > 0,
            "the target {target:?} has no tokens of its own"
        );
        ensure!(
            targets <= self.max_length,
            "the target has {targets} tokens; the model takes at most {}",
            self.max_length
        );
        // The last token is scored but is never an input, so one more than the length fits.
        let dropped_tokens = tokens.len().saturating_sub(self.max_length + 1);
        tokens.drain(..dropped_tokens);
        Ok(Encoded {
            request: Request { tokens, targets },
            dropped_tokens,
        })
    }

    /// Encodes a text to be continued by `room` tokens. Tokens that do not fit are dropped from the
    /// left.
    ///
    /// # Errors
    /// If `room` fills the model's length, the text has no tokens, or the tokenizer fails.
    pub fn prompt(&self, text: &str, room: usize) -> Result<Encoded> {
        ensure!(
            room < self.max_length,
            "an answer has up to {room} tokens; the model takes at most {}, prompt included",
            self.max_length
        );
        let mut tokens = self.encode_text(text)?;
        ensure!(!tokens.is_empty(), "the text has no tokens");
        let dropped_tokens = tokens.len().saturating_sub(self.max_length - room);
        tokens.drain(..dropped_tokens);
        let request = Request { tokens, targets: 0 };
        Ok(Encoded {
            request,
            dropped_tokens,
        })
    }

    /// Splits a text into windows that together score every token once. The first window follows
    /// the prefix token, later ones follow the token before them. The last window takes as much
    /// context as fits.
    ///
    /// # Errors
    /// If the text has no tokens, there is no prefix token, or the tokenizer fails.
    pub fn windows(&self, text: &str) -> Result<Vec<Request>> {
        let mut tokens = self.encode_text(text)?;
        ensure!(!tokens.is_empty(), "the text has no tokens");
        let prefix = self.tokenizer.prefix_token();
        let (prefix, _) = prefix.context("the tokenizer has neither BOS nor EOS")?;
        let total = tokens.len();
        tokens.insert(0, prefix);
        let mut requests = Vec::new();
        let mut scored = 0;
        while scored < total {
            let targets = (total - scored).min(self.max_length);
            let end = scored + targets + 1;
            // The last window takes all context that fits; the first takes the prefix token.
            let first = end.saturating_sub(self.max_length + 1);
            requests.push(Request {
                tokens: tokens[first..end].to_vec(),
                targets,
            });
            scored += targets;
        }
        Ok(requests)
    }

    /// Context and continuation tokens, and the number of continuation tokens.
    fn encode_pair(&self, context: &str, target: &str) -> Result<(Vec<u32>, usize)> {
        if context.is_empty() {
            return self.encode_without_context(target);
        }
        // A tokenizer joins a space with the word after it, so trailing spaces of the context
        // belong to the continuation.
        let trimmed = context.trim_end_matches(is_python_space);
        let continuation = format!("{}{target}", &context[trimmed.len()..]);
        let context_tokens = self.encode_text(trimmed)?;
        if context_tokens.is_empty() {
            return self.encode_without_context(&continuation);
        }
        let tokens = self.encode_text(&format!("{trimmed}{continuation}"))?;
        let targets = tokens.len().saturating_sub(context_tokens.len());
        // If joining changed the context's own tokens, the encoding of the context alone decides.
        let mut joined = context_tokens;
        joined.extend_from_slice(&tokens[tokens.len() - targets..]);
        Ok((joined, targets))
    }

    /// The prefix token replaces the context, unless the target begins with it.
    fn encode_without_context(&self, target: &str) -> Result<(Vec<u32>, usize)> {
        let mut tokens = self.tokenizer.encode(target, false)?;
        let (prefix, _) = self
            .tokenizer
            .prefix_token()
            .context("the context is empty, and the tokenizer has neither BOS nor EOS")?;
        if tokens.first() != Some(&prefix) {
            tokens.insert(0, prefix);
        }
        let targets = tokens.len() - 1;
        Ok((tokens, targets))
    }

    /// A text that begins with the text of BOS gets no second BOS.
    fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        let prefix = self.tokenizer.prefix_token();
        let starts_with_prefix = prefix
            .as_ref()
            .is_some_and(|(_, prefix)| !prefix.is_empty() && text.starts_with(prefix));
        let special = !starts_with_prefix && self.add_bos_token.unwrap_or(true);
        let mut tokens = self.tokenizer.encode(text, special)?;
        if self.add_bos_token == Some(true) && !starts_with_prefix {
            let (bos, _) = prefix.context("--add-bos-token: the tokenizer has no BOS token")?;
            if tokens.first() != Some(&bos) {
                tokens.insert(0, bos);
            }
        }
        Ok(tokens)
    }
}

/// The characters that Python's `str.rstrip` strips: Unicode white space and four separators.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}
