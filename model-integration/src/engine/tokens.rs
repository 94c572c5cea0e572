//! Text to tokens and back.

use anyhow::Result;

/// What is asked of a tokenizer.
pub trait Tokenize {
    /// The token ids of a text, with the special tokens that the tokenizer's post-processor adds
    /// (Llama: a leading BOS) if `add_special_tokens`.
    ///
    /// # Errors
    /// If the text cannot be encoded.
    fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>>;

    /// The text of tokens, special ones left out.
    ///
    /// # Errors
    /// If they cannot be decoded.
    fn decode(&self, tokens: &[u32]) -> Result<String>;

    /// The token that stands for an empty context: BOS, or else EOS, as id and text.
    fn prefix_token(&self) -> Option<(u32, String)>;
}
