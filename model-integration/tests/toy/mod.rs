//! Stand-ins for a tokenizer and a model, small enough to know every number of.
#![allow(dead_code, reason = "each test binary uses its own part")]

use mxlab::task::Tokenize;

/// The token of `<s>`.
pub const BOS: u32 = 1;
/// A letter with the space before it is one token: this much above the letter's own.
pub const JOINED: u32 = 0x0020_0000;

/// One token a character, except that a space joins the letter after it.
pub struct CharTokenizer {
    /// Whether special tokens are added where they are asked for.
    pub adds_bos: bool,
}

impl Default for CharTokenizer {
    fn default() -> Self {
        Self { adds_bos: true }
    }
}

impl Tokenize for CharTokenizer {
    fn encode(&self, text: &str, add_special_tokens: bool) -> anyhow::Result<Vec<u32>> {
        let mut tokens = Vec::new();
        if add_special_tokens && self.adds_bos {
            tokens.push(BOS);
        }
        let text = text.replace("<s>", "\u{1}");
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let joins = character == ' ' && characters.peek().is_some_and(|c| c.is_alphabetic());
            tokens.push(match characters.next_if(|_| joins) {
                Some(letter) => JOINED + u32::from(letter),
                None => u32::from(character),
            });
        }
        Ok(tokens)
    }

    fn prefix_token(&self) -> Option<(u32, String)> {
        Some((BOS, "<s>".into()))
    }
}

/// A real tokenizer whose BOS is `<s>`.
pub struct Hf(pub tokenizers::Tokenizer);

impl Tokenize for Hf {
    fn encode(&self, text: &str, add_special_tokens: bool) -> anyhow::Result<Vec<u32>> {
        let encoding = self.0.encode(text, add_special_tokens);
        Ok(encoding
            .map_err(anyhow::Error::from_boxed)?
            .get_ids()
            .to_vec())
    }

    fn prefix_token(&self) -> Option<(u32, String)> {
        Some((BOS, "<s>".into()))
    }
}
