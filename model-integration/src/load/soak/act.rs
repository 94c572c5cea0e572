//! What a client does.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use rand::Rng;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::malformed::MALFORMED;
use super::{Soak, is_error, raw};
use crate::load::answer::Answer;
use crate::load::exchange::Whole;
use crate::load::failure::{Failure, beginning};
use crate::load::prompts::Asked;

/// Longest time after which an impatient client leaves.
const PATIENCE_MS: u64 = 60;
/// Wait after status 429 without `Retry-After`.
const AFTER_OVERLOAD: Duration = Duration::from_millis(200);

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Takes a stream to its end.
    Stream,
    /// Takes a whole answer.
    Whole,
    /// Leaves at a random time.
    Leave,
    /// Sends and reads a few bytes at a time.
    Slow,
    /// Sends a body that no server should accept.
    Malformed,
    /// Is killed somewhere in its request, or right after it.
    Killed,
}

/// How it ended.
#[derive(Debug)]
pub enum End {
    /// With a whole answer of the length that was asked for.
    Answered,
    /// With the error that is due, or a closed connection.
    Refused,
    /// The client left.
    Gone,
    /// With status 429 or 503.
    Overloaded,
    /// In another way.
    Failed {
        /// What it was, for counting.
        kind: String,
        /// What it was, in full.
        example: String,
    },
}

impl End {
    fn failed(kind: impl Into<String>, example: impl Into<String>) -> Self {
        Self::Failed {
            kind: kind.into(),
            example: example.into(),
        }
    }

    fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Status {
                status: 429 | 503, ..
            } => Self::Overloaded,
            _ => Self::failed(failure.kind(), failure.to_string()),
        }
    }
}

impl Act {
    /// Six of ten clients behave.
    pub fn draw(random: &mut impl Rng) -> Self {
        match random.random_range(0..100) {
            0..50 => Self::Stream,
            50..60 => Self::Whole,
            60..75 => Self::Leave,
            75..80 => Self::Slow,
            80..90 => Self::Malformed,
            _ => Self::Killed,
        }
    }

    /// Its name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Whole => "whole",
            Self::Leave => "leave",
            Self::Slow => "slow",
            Self::Malformed => "malformed",
            Self::Killed => "killed",
        }
    }

    /// Does it.
    pub async fn perform(self, soak: &Soak, asked: &Asked, random: &mut impl Rng) -> End {
        let end = match self {
            Self::Stream => stream(soak, asked).await,
            Self::Whole => whole(soak, asked).await,
            Self::Leave => {
                let patience = Duration::from_millis(random.random_range(0..PATIENCE_MS));
                let left = timeout(patience, stream(soak, asked)).await;
                left.unwrap_or(End::Gone)
            }
            Self::Slow => raw::slow(soak, asked).await,
            Self::Malformed => {
                malformed(soak, asked, random.random_range(0..MALFORMED.len())).await
            }
            Self::Killed => raw::killed(soak, asked, random.random()).await,
        };
        if matches!(end, End::Overloaded) {
            sleep(AFTER_OVERLOAD).await;
        }
        end
    }
}

async fn stream(soak: &Soak, asked: &Asked) -> End {
    let mut answer = Answer::default();
    let path = soak.prompts.api.path();
    let done = soak
        .client
        .stream(path, asked.body.clone(), &mut answer)
        .await;
    match done {
        Err(failure) => End::of(&failure),
        Ok(()) => {
            let tokens = answer.usage.map(|usage| usage.completion_tokens);
            of_length(tokens, asked)
        }
    }
}

/// Whether an answer has the length that was asked for.
pub fn of_length(tokens: Option<u64>, asked: &Asked) -> End {
    match (tokens, asked.output_tokens) {
        (Some(found), Some(expected)) if found != expected => End::failed(
            "wrong length",
            format!("found {found} tokens, expected {expected}"),
        ),
        _ => End::Answered,
    }
}

async fn whole(soak: &Soak, asked: &Asked) -> End {
    let mut body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    if let Some(fields) = body.as_object_mut() {
        fields.insert("stream".to_owned(), false.into());
        fields.shift_remove("stream_options");
    }
    let path = soak.prompts.api.path();
    let answer = soak
        .client
        .whole(Method::POST, path, body.to_string().into())
        .await;
    let answer = match answer {
        Err(failure) => return End::of(&failure),
        Ok(answer) if matches!(answer.status, 429 | 503) => return End::Overloaded,
        Ok(answer) => answer,
    };
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status != 200 || value.pointer("/choices/0").is_none() {
        let Whole { status, body, .. } = answer;
        return End::failed(format!("status {status}"), beginning(&body));
    }
    let tokens = value.pointer("/usage/completion_tokens");
    of_length(tokens.and_then(Value::as_u64), asked)
}

async fn malformed(soak: &Soak, asked: &Asked, which: usize) -> End {
    let (name, make) = MALFORMED[which];
    let body: Bytes = make(asked).into();
    let path = soak.prompts.api.path();
    match soak.client.whole(Method::POST, path, body).await {
        // A server need not read a body that is too long.
        Err(Failure::ClosedEarly(_)) => End::Refused,
        Err(failure) => End::of(&failure),
        Ok(Whole {
            status: 429 | 503, ..
        }) => End::Overloaded,
        Ok(Whole { status, body }) if (400..500).contains(&status) && is_error(&body) => {
            End::Refused
        }
        Ok(Whole { status, body }) => End::failed(
            format!("{name}: status {status}"),
            format!(
                "expected status 4xx with an error, found: {}",
                beginning(&body)
            ),
        ),
    }
}
