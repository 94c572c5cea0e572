//! What clients ask a worker for, and what it sends them.

use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use super::log_probability::TokenLog;
use super::sampling::Choice;

/// A sequence that a client asks for.
#[derive(Debug)]
pub struct Job {
    /// The prompt; not empty.
    pub prompt: Vec<u32>,
    /// Most tokens to choose; 0 only if the prompt's log-probabilities are wanted.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub choice: Choice,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Whether the answer continues after an end-of-text token.
    pub ignore_eos: bool,
    /// How many of the likeliest tokens are listed for each token; `None` for no log-probabilities.
    pub log_probabilities: Option<usize>,
    /// Whether log-probabilities of the prompt are wanted too.
    pub scores_prompt: bool,
    /// The number of the answer.
    pub index: usize,
    /// When the request came.
    pub arrival: Instant,
    /// When it is given up.
    pub deadline: Instant,
    /// Where events go. The sequence ends when nobody receives them.
    pub events: UnboundedSender<(usize, Event)>,
}

/// What happens to a sequence.
#[derive(Clone, Debug)]
pub enum Event {
    /// Tokens of the prompt with their log-probabilities.
    Prompt(Vec<TokenLog>),
    /// A new token.
    Token {
        /// The token.
        token: u32,
        /// The text that is complete now; empty inside a character or before a possible stop.
        text: String,
        /// If they were asked for.
        log: Option<TokenLog>,
    },
    /// The answer has ended.
    End {
        /// The rest of the text.
        text: String,
        /// Why.
        end: Finish,
    },
    /// There will be no answer.
    Failed(Failure),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// By a token that ends texts, or a stop text.
    Stop,
    /// It has as many tokens as it may.
    Length,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its time ran out.
    Deadline,
    /// The model cannot continue such a prompt.
    Refused(String),
    /// The model could not run it.
    Model(String),
}
