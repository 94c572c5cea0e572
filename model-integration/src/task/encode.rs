//! Context and target become tokens, as lm-evaluation-harness' HF backend does it.

use anyhow::{Context, Result, ensure};

use crate::engine::{Request, Tokenize};

/// Turns a context and a target into a request.
pub struct PromptEncoder<'a> {
    /// The model's tokenizer.
    pub tokenizer: &'a dyn Tokenize,
    /// Whether a context begins with BOS; `None` for what the tokenizer does by itself.
    pub add_bos_token: Option<bool>,
    /// How many tokens the model takes.
    pub max_length: usize,
}

/// A request, and what truncation it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// What the model scores.
    pub request: Request,
    /// Tokens of the context that did not fit and were dropped from the left.
    pub dropped_tokens: usize,
}

impl PromptEncoder<'_> {
    /// Encodes the continuation as the tokens that follow the context's own in the encoding of
    /// the whole text, and drops what exceeds the model's length from the left.
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
            "the target has {targets} tokens, the model takes {}",
            self.max_length
        );
        // The last token is only scored, never an input: one more than the length fits.
        let dropped_tokens = tokens.len().saturating_sub(self.max_length + 1);
        tokens.drain(..dropped_tokens);
        Ok(Encoded {
            request: Request { tokens, targets },
            dropped_tokens,
        })
    }

    /// The tokens of a text that is to be continued with `room` tokens, and how many of its first
    /// do not fit and are dropped.
    ///
    /// # Errors
    /// If the model takes no more than the room, the text has no tokens, or the tokenizer fails.
    pub fn prompt(&self, text: &str, room: usize) -> Result<Encoded> {
        ensure!(
            room < self.max_length,
            "an answer has up to {room} tokens, the model takes {}",
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

    /// Requests that together score every token of a text once: the first as many as the model
    /// takes, after the prefix token, then as many again, each window's first after the token
    /// before it, and the last with as much context as fits.
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
            // Of the last the model takes all that fits, of the first the prefix token.
            let first = end.saturating_sub(self.max_length + 1);
            requests.push(Request {
                tokens: tokens[first..end].to_vec(),
                targets,
            });
            scored += targets;
        }
        Ok(requests)
    }

    /// Context and continuation tokens, and how many of them are the continuation.
    fn encode_pair(&self, context: &str, target: &str) -> Result<(Vec<u32>, usize)> {
        if context.is_empty() {
            return self.encode_without_context(target);
        }
        // A tokenizer joins a space with the word after it, so spaces that end the context
        // belong to the continuation.
        let trimmed = context.trim_end_matches(is_python_space);
        let continuation = format!("{}{target}", &context[trimmed.len()..]);
        let context_tokens = self.encode_text(trimmed)?;
        if context_tokens.is_empty() {
            return self.encode_without_context(&continuation);
        }
        let tokens = self.encode_text(&format!("{trimmed}{continuation}"))?;
        let targets = tokens.len().saturating_sub(context_tokens.len());
        // Where joining changed the context's own tokens, its encoding alone is what counts.
        let mut joined = context_tokens;
        joined.extend_from_slice(&tokens[tokens.len() - targets..]);
        Ok((joined, targets))
    }

    /// The prefix token takes the place of the context, unless the target begins with it.
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

    /// A text that already begins with the BOS token's text gets no second one.
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

/// What Python's `str.rstrip` strips: the Unicode white space and four separators.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}
