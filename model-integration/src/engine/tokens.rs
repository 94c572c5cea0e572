//! Text to tokens and back.

use anyhow::Result;

/// The interface of a tokenizer.
pub trait Tokenize {
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

    /// The token that stands for an empty context, as id and text: BOS if there is one, else EOS.
    fn prefix_token(&self) -> Option<(u32, String)>;

    /// The tokenizer's own end-of-text token.
    fn eos_token(&self) -> Option<u32> {
        None
    }
}
