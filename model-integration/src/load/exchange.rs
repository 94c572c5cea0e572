//! One request and its answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::answer::{Answer, reported};
use super::connection::{Connection, Connections};
use super::endpoint::Endpoint;
use super::failure::{Failure, Stage, beginning};

/// Longest body of an answer that is no stream.
const MOST_BYTES: usize = 1 << 20;
/// How long the end of an answer may take after its last event.
const END: Duration = Duration::from_secs(1);

/// An answer that is no stream.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

impl Whole {
    /// The body of status 200.
    fn good(self) -> Result<Vec<u8>, Failure> {
        match self.status {
            200 => Ok(self.body),
            status => Err(Failure::Status {
                status,
                message: reported(&self.body).unwrap_or_else(|| beginning(&self.body)),
                retry_after: None,
            }),
        }
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

    /// The whole answer to a request for `name` below the base, whatever its status.
    ///
    /// # Errors
    /// [`Failure`] if there is none.
    pub async fn whole(&self, method: Method, name: &str, body: Bytes) -> Result<Whole, Failure> {
        self.whole_at(method, &self.endpoint.path(name), body).await
    }

    async fn whole_at(&self, method: Method, path: &str, body: Bytes) -> Result<Whole, Failure> {
        let exchange = async {
            let (connection, response) = self.send(method, path, body, &mut || {}).await?;
            let status = response.status().as_u16();
            let body = body_of(response.into_body()).await?;
            self.connections.give_back(connection);
            Ok(Whole { status, body })
        };
        let timed = timeout(self.timeout, exchange).await;
        timed.unwrap_or(Err(Failure::Timeout(Stage::FirstToken)))
    }

    /// The JSON of `name` below the base.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get(&self, name: &str) -> Result<Value, Failure> {
        let answer = self.whole(Method::GET, name, Bytes::new()).await?;
        let body = answer.good()?;
        serde_json::from_slice(&body).map_err(|error| Failure::Event {
            reason: format!("not JSON ({error})"),
            start: beginning(&body),
        })
    }

    /// The text at a path of the server.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn text(&self, path: &str) -> Result<String, Failure> {
        let answer = self.whole_at(Method::GET, path, Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&answer.good()?).into_owned())
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
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

    /// Sends a request, and waits for the head of its answer. A server may close a kept connection
    /// at any time, so what fails on one is sent again on a new one.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        connected: &mut (dyn FnMut() + Send),
    ) -> Result<(Connection, Response<Incoming>), Failure> {
        let request = || self.request(method.clone(), path, body.clone());
        if let Some(mut kept) = self.connections.kept() {
            connected();
            if let Ok(response) = kept.send_request(request()).await {
                return Ok((kept, response));
            }
        }
        let mut connection = self.connections.connect().await?;
        connected();
        let response = connection.send_request(request()).await;
        let response =
            response.map_err(|error| Failure::of_connection(&error, "before an answer"))?;
        Ok((connection, response))
    }

    async fn exchange(&self, name: &str, body: Bytes, answer: &mut Answer) -> Result<(), Failure> {
        let path = self.endpoint.path(name);
        let mut connected = || answer.stage = Some(Stage::FirstToken);
        let sent = self.send(Method::POST, &path, body, &mut connected).await;
        let (connection, response) = sent?;
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
}
