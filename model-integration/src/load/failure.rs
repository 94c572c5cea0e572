//! Why a request failed, by kind.

use std::io;
use std::time::Duration;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The host has no address.
    #[error("`{host}` has no address: {reason}")]
    Unresolved {
        /// The host.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// Nothing listens at the port.
    #[error("connection refused")]
    Refused,
    /// The connection cannot be made for another reason.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The time is up.
    #[error("nothing more within the time while {}", .0.text())]
    Timeout(Stage),
    /// The answer has another status than 200.
    #[error("status {status}: {message}")]
    Status {
        /// The status.
        status: u16,
        /// The error's message, or the beginning of the body.
        message: String,
        /// The header `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The answer is not HTTP.
    #[error("not HTTP/1.1: {0}")]
    Protocol(String),
    /// The answer is no stream of events.
    #[error("expected `text/event-stream`, found `{found}`: {start}")]
    NoStream {
        /// Its content type.
        found: String,
        /// Its beginning.
        start: String,
    },
    /// An event is not the expected JSON.
    #[error("{reason}: {start}")]
    Event {
        /// What is wrong with it.
        reason: String,
        /// Its beginning.
        start: String,
    },
    /// An event or an answer is too long to be kept.
    #[error("more than {0}")]
    TooLong(&'static str),
    /// The stream reports an error.
    #[error("{0}")]
    Reported(String),
    /// The connection was closed before the end of the answer.
    #[error("closed {0}")]
    ClosedEarly(String),
    /// The answer ended without a token.
    #[error("the answer has no token")]
    NoToken,
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A connection.
    Connecting,
    /// The head of the answer, or its first token.
    FirstToken,
    /// Another token, or the end.
    NextToken,
}

impl Stage {
    const fn text(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::FirstToken => "waiting for the first token",
            Self::NextToken => "waiting for the next token",
        }
    }
}

impl Failure {
    /// Its kind, by which failures are counted.
    pub fn kind(&self) -> String {
        match self {
            Self::Unresolved { .. } => "unresolved".to_owned(),
            Self::Refused => "refused".to_owned(),
            Self::Unreachable(_) => "unreachable".to_owned(),
            Self::Tls(_) => "TLS".to_owned(),
            Self::Timeout(stage) => format!("timeout {}", stage.text()),
            Self::Status { status, .. } => format!("status {status}"),
            Self::Protocol(_) => "not HTTP".to_owned(),
            Self::NoStream { .. } => "no event stream".to_owned(),
            Self::Event { .. } => "malformed event".to_owned(),
            Self::TooLong(_) => "too long".to_owned(),
            Self::Reported(_) => "error event".to_owned(),
            Self::ClosedEarly(_) => "closed early".to_owned(),
            Self::NoToken => "no token".to_owned(),
        }
    }

    /// How long the server asks to wait.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// A connection that cannot be made.
    pub(super) fn connecting(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Unreachable(error.to_string()),
        }
    }

    /// An error of the connection `when` something was expected.
    pub(super) fn of_connection(error: &hyper::Error, when: &str) -> Self {
        let mut cause = std::error::Error::source(error);
        let io = std::iter::from_fn(|| {
            let this = cause?;
            cause = this.source();
            Some(this)
        })
        .find_map(|cause| cause.downcast_ref::<io::Error>());
        let is_malformed = io.is_some_and(|io| {
            matches!(
                io.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
            )
        });
        if error.is_parse() || is_malformed {
            return Self::Protocol(with_cause(error));
        }
        match error.is_incomplete_message() || error.is_closed() || io.is_some() {
            true => Self::ClosedEarly(format!("{when} ({})", with_cause(error))),
            false => Self::Protocol(with_cause(error)),
        }
    }
}

/// An error with its causes.
fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(own) = cause {
        text += &format!(": {own}");
        cause = own.source();
    }
    text
}

/// The beginning of a text that others sent, on one line.
pub(super) fn beginning(text: &[u8]) -> String {
    const MOST: usize = 160;
    let text = String::from_utf8_lossy(text);
    let is_odd = |c: char| c.is_control();
    let mut short: String = text.trim().chars().take(MOST).collect();
    short = short.replace(is_odd, " ");
    if text.trim().chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}
