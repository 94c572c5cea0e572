//! One request and its stream of events, with the time of each token.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::connection::{Connection, Connections};
use super::endpoint::Endpoint;
use super::events::Events;
use super::failure::{Failure, Stage, beginning};

/// Longest body of an answer that is no stream.
const MOST_BYTES: usize = 1 << 20;
/// Most tokens of an answer, far beyond any model's length.
const MOST_EVENTS: usize = 1 << 22;
/// How long the end of an answer may take after its last event.
const END: Duration = Duration::from_secs(1);

/// What is known of an answer, whole or not.
#[derive(Debug, Default)]
pub struct Answer {
    /// When each event with a token came.
    pub tokens: Vec<Instant>,
    /// When its finish reason came, or without one `[DONE]`; `None` if it is not whole.
    pub end: Option<Instant>,
    /// The tokens of the prompt and of the answer, as the server counts them.
    pub usage: Option<Usage>,
    /// Where the times of tokens of all answers are collected.
    log: Option<Arc<TokenLog>>,
    stage: Option<Stage>,
    /// When the finish reason came.
    finished: Option<Instant>,
}

/// The times of tokens of many answers, those that are not whole among them.
#[derive(Debug, Default)]
pub struct TokenLog(Mutex<Vec<Instant>>);

impl TokenLog {
    fn push(&self, time: Instant) {
        self.times().push(time);
    }

    /// The number of tokens from `begin` up to `end`.
    pub fn within(&self, begin: Instant, end: Instant) -> usize {
        let is_within = |time: &&Instant| (begin..=end).contains(*time);
        self.times().iter().filter(is_within).count()
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server's counts of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    #[serde(default)]
    pub completion_tokens: u64,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
}

impl Choice {
    /// Whether the event stands for a token. Its text may be empty, where characters span tokens;
    /// the role that begins a chat and the end of an answer are no tokens.
    fn has_token(&self) -> bool {
        let (text, is_role) = match &self.delta {
            None => (self.text.as_ref(), false),
            Some(delta) => (
                delta.content.as_ref().or(delta.reasoning_content.as_ref()),
                delta.role.is_some(),
            ),
        };
        text.is_some_and(|text| !text.is_empty() || (!is_role && self.finish_reason.is_none()))
    }
}

/// Sends requests to an endpoint.
pub struct Client {
    endpoint: Arc<Endpoint>,
    connections: Connections,
    /// Most time of a request.
    timeout: Duration,
}

impl Client {
    /// A client without connections.
    pub fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        let endpoint = Arc::new(endpoint);
        Self {
            connections: Connections::new(endpoint.clone()),
            endpoint,
            timeout,
        }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Posts `body` to `name` below the base, and reads the stream of its answer. What came before
    /// a failure is in `answer`.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn stream(
        &self,
        name: &str,
        body: Bytes,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        answer.stage = Some(Stage::Connecting);
        let exchange = self.exchange(name, body, answer);
        match timeout(self.timeout, exchange).await {
            Ok(done) => done,
            Err(_) => {
                let stage = answer.stage.unwrap_or(Stage::Connecting);
                Err(Failure::Timeout(stage))
            }
        }
    }

    /// The JSON of `name` below the base.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get(&self, name: &str) -> Result<Value, Failure> {
        let get = async {
            let mut connection = self.connections.take().await?;
            let request = self.request(Method::GET, name, Bytes::new());
            let response = send(&mut connection, request).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = body_of(response.into_body()).await?;
            if status != StatusCode::OK {
                return Err(refused(status, &headers, &body));
            }
            self.connections.give_back(connection);
            serde_json::from_slice(&body).map_err(|error| Failure::Event {
                reason: format!("not JSON ({error})"),
                start: beginning(&body),
            })
        };
        let timed = timeout(self.timeout, get).await;
        timed.unwrap_or(Err(Failure::Timeout(Stage::FirstToken)))
    }

    fn request(&self, method: Method, name: &str, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        let path = self.endpoint.path(name);
        *request.uri_mut() = path.parse().expect("the path of a URL");
        let headers = request.headers_mut();
        headers.insert(HOST, self.endpoint.authority.clone());
        let mut fixed =
            |name, value: &'static str| headers.insert(name, value.parse().expect(value));
        fixed(CONTENT_TYPE, "application/json");
        fixed(ACCEPT, "text/event-stream, application/json");
        fixed(USER_AGENT, concat!("mxlab/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.endpoint.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }

    async fn exchange(&self, name: &str, body: Bytes, answer: &mut Answer) -> Result<(), Failure> {
        let mut connection = self.connections.take().await?;
        answer.stage = Some(Stage::FirstToken);
        let request = self.request(Method::POST, name, body);
        let response = send(&mut connection, request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = response.into_body();
        if status != StatusCode::OK {
            let body = body_of(body).await?;
            let failure = refused(status, &headers, &body);
            self.connections.give_back(connection);
            return Err(failure);
        }
        let kind = headers.get(CONTENT_TYPE);
        let kind = kind.map_or("", |kind| kind.to_str().unwrap_or("not ASCII"));
        if !kind.to_ascii_lowercase().starts_with("text/event-stream") {
            let body = body_of(body).await?;
            return Err(match reported(&body) {
                Some(message) => Failure::Reported(message),
                None => Failure::NoStream {
                    found: beginning(kind.as_bytes()),
                    start: beginning(&body),
                },
            });
        }
        answer.read(&mut body).await?;
        if matches!(timeout(END, rest(&mut body)).await, Ok(true)) {
            self.connections.give_back(connection);
        }
        match answer.tokens.is_empty() {
            true => Err(Failure::NoToken),
            false => Ok(()),
        }
    }
}

async fn send(
    connection: &mut Connection,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Failure> {
    let sent = connection.send_request(request).await;
    sent.map_err(|error| Failure::of_connection(&error, "before an answer"))
}

impl Answer {
    /// An answer whose tokens are logged.
    pub fn logged(log: Arc<TokenLog>) -> Self {
        Self {
            log: Some(log),
            ..Self::default()
        }
    }

    /// Reads events up to `[DONE]`, or the end of the body after a finish reason.
    async fn read(&mut self, body: &mut Incoming) -> Result<(), Failure> {
        let mut events = Events::default();
        let mut is_done = false;
        while let (false, Some(frame)) = (is_done, body.frame().await) {
            let frame = frame
                .map_err(|error| Failure::of_connection(&error, "before the stream was whole"))?;
            let Some(bytes) = frame.data_ref() else {
                continue;
            };
            let now = Instant::now();
            for data in events.push(bytes)? {
                is_done |= self.take(&data, now)?;
            }
        }
        let now = Instant::now();
        if let Some(data) = events.finish() {
            is_done |= self.take(&data, now)?;
        }
        if !is_done && self.finished.is_none() {
            let when = "without a finish reason or `[DONE]`".to_owned();
            return Err(Failure::ClosedEarly(when));
        }
        // The text of all tokens may be empty.
        let counted = self.usage.is_some_and(|usage| usage.completion_tokens > 0);
        if let (true, true, Some(finished)) = (self.tokens.is_empty(), counted, self.finished) {
            self.add_token(finished);
        }
        Ok(())
    }

    fn add_token(&mut self, time: Instant) {
        self.tokens.push(time);
        if let Some(log) = &self.log {
            log.push(time);
        }
    }

    /// Takes an event; whether it is the last one.
    fn take(&mut self, data: &[u8], now: Instant) -> Result<bool, Failure> {
        if data.trim_ascii() == b"[DONE]" {
            self.end = self.end.or(Some(now));
            return Ok(true);
        }
        let chunk: Chunk = serde_json::from_slice(data).map_err(|error| Failure::Event {
            reason: format!("not a chunk of a completion ({error})"),
            start: beginning(data),
        })?;
        if chunk.error.is_some() {
            let message = reported(data);
            return Err(Failure::Reported(
                message.unwrap_or_else(|| beginning(data)),
            ));
        }
        if chunk.choices.iter().any(Choice::has_token) {
            if self.tokens.len() == MOST_EVENTS {
                return Err(Failure::TooLong("4,194,304 tokens in an answer"));
            }
            self.add_token(now);
            self.stage = Some(Stage::NextToken);
        }
        if chunk
            .choices
            .iter()
            .any(|choice| choice.finish_reason.is_some())
        {
            self.finished = Some(now);
            self.end = Some(now);
        }
        self.usage = chunk.usage.or(self.usage);
        Ok(false)
    }
}

/// The body of an answer that is no stream, up to [`MOST_BYTES`].
async fn body_of(mut body: Incoming) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::of_connection(&error, "within the answer"))?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
        if bytes.len() > MOST_BYTES {
            return Err(Failure::TooLong("1 MiB in an answer that is no stream"));
        }
    }
    Ok(bytes)
}

/// Reads what follows the last event; whether the body ends without more.
async fn rest(body: &mut Incoming) -> bool {
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame)
                if frame
                    .data_ref()
                    .is_none_or(|data| data.trim_ascii().is_empty()) => {}
            _ => return false,
        }
    }
    true
}

fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let after = headers.get(RETRY_AFTER);
    let after = after.and_then(|value| value.to_str().ok());
    Failure::Status {
        status: status.as_u16(),
        message: reported(body).unwrap_or_else(|| beginning(body)),
        retry_after: after.and_then(|value| wait_of(value, SystemTime::now())),
    }
}

/// The wait that `Retry-After` asks for: seconds, or a date.
fn wait_of(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(value).ok()?;
    let date = u64::try_from(date.timestamp()).ok()?;
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(date);
    Some(date.duration_since(now).unwrap_or_default())
}

/// The message of an error in OpenAI's form.
fn reported(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let error = value.get("error")?;
    let message = error.get("message").unwrap_or(error);
    let text = message
        .as_str()
        .map_or_else(|| message.to_string(), str::to_owned);
    Some(beginning(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_470);
        let of = |value| wait_of(value, now);
        assert_eq!(of(" 3 "), Some(Duration::from_secs(3)));
        let date = "Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(of(date), Some(Duration::from_secs(10)));
        assert_eq!(of("Tue, 20 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
        assert_eq!(of("-1"), None);
    }

    #[test]
    fn events_that_are_tokens() {
        let has_token = |json: &str| {
            let chunk: Chunk = serde_json::from_str(json).expect("a chunk");
            chunk.choices.iter().any(Choice::has_token)
        };
        for token in [
            r#"{"choices": [{"text": "a"}]}"#,
            r#"{"choices": [{"text": "", "finish_reason": null}]}"#,
            r#"{"choices": [{"text": "z", "finish_reason": "length"}]}"#,
            r#"{"choices": [{"delta": {"role": "assistant", "content": "a"}}]}"#,
            r#"{"choices": [{"delta": {"reasoning_content": "a"}}]}"#,
        ] {
            assert!(has_token(token), "{token}");
        }
        for other in [
            r#"{"choices": [], "usage": {"prompt_tokens": 1}}"#,
            r#"{"choices": [{"text": "", "finish_reason": "stop"}]}"#,
            r#"{"choices": [{"delta": {"role": "assistant", "content": ""}}]}"#,
            r#"{"choices": [{"delta": {}, "finish_reason": "stop"}]}"#,
        ] {
            assert!(!has_token(other), "{other}");
        }
    }
}
