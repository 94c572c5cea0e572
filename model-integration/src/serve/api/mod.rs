//! Requests and answers in OpenAI's form.
//!
//! | module | contents |
//! |---|---|
//! | [`call`] | a request as it is run |
//! | [`fields`] | fields of a JSON object, taken one by one |
//! | [`given`] | prompts as they come |
//! | [`prompt`] | prompts and chats |
//! | [`answer`] | answers, whole and in chunks |
//! | [`logs`] | log-probabilities in answers |
//! | [`error`] | refusals |

pub mod answer;
pub mod call;
pub mod error;
pub mod fields;
pub mod given;
pub mod logs;
pub mod prompt;

use crate::engine::Tokenize;

/// The model that is served.
#[derive(Clone, Copy)]
pub struct Served {
    /// Its name in requests and answers.
    pub name: &'static str,
    /// Its tokenizer.
    pub tokenizer: &'static dyn Tokenize,
    /// Number of tokens in the vocabulary.
    pub vocabulary: usize,
    /// Most tokens of a sequence: what the model takes and the cache holds.
    pub longest: usize,
    /// Most bytes of a text of as many tokens.
    pub longest_text: usize,
}
