//! One request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::Sender;
use std::time::Instant;

use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::spawn_blocking;

use super::activity::Activity;
use super::body::{AnswerBody, AnswerStream, Place};
use super::limits::HttpLimits;
use super::receive::Inlet;
use crate::serve::api::Served;
use crate::serve::api::answer::{Answer, failed};
use crate::serve::api::call::{Call, Kind};
use crate::serve::api::error::ApiError;
use crate::serve::job::{Event, Job};
use crate::serve::metrics::Metrics;

/// Most names of unknown fields that are counted apart.
const MOST_NAMES: usize = 64;

/// What all requests share.
pub struct Service {
    /// The model.
    pub served: Served,
    /// Limits.
    pub limits: HttpLimits,
    /// The hash of the key that clients must have.
    pub key: Option<[u8; 32]>,
    /// Whether requests are logged, with their prompts.
    pub logs: bool,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Where sequences go to run.
    pub jobs: Sender<Job>,
    /// Where bodies come in.
    pub inlet: Inlet,
    /// Places for requests.
    pub places: Arc<Semaphore>,
    /// Whether the server is stopping.
    pub stop: Arc<AtomicBool>,
    /// Unknown fields by name.
    pub ignored: Mutex<BTreeMap<String, u64>>,
}

/// The hash of a key, by which keys are compared.
pub fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

impl Service {
    /// Answers a request of a connection.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Arc<Activity>,
    ) -> Response<AnswerBody> {
        let method = request.method().clone();
        let answer = self.route(request, connection).await;
        answer.unwrap_or_else(|error| {
            match error.status {
                429 => Metrics::count(&self.metrics.requests_overloaded_total),
                400..500 => Metrics::count(&self.metrics.requests_invalid_total),
                _ => {}
            }
            let mut answer = json_answer(error.status, &error.body());
            if matches!(error.status, 429 | 503) {
                let headers = answer.headers_mut();
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            if error.status == 405 {
                let allowed = match method {
                    Method::GET | Method::HEAD => "POST",
                    _ => "GET, HEAD",
                };
                let headers = answer.headers_mut();
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
            }
            if error.status == 401 {
                let headers = answer.headers_mut();
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            answer
        })
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        connection: &Arc<Activity>,
    ) -> Result<Response<AnswerBody>, ApiError> {
        let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
        let path = path.into_owned();
        if path != "/health" {
            self.check_key(&request)?;
        }
        let kind = match path.as_str() {
            "/health" | "/metrics" | "/v1/models" => None,
            "/v1/completions" => Some(Kind::Completion),
            "/v1/chat/completions" => Some(Kind::Chat),
            path if path == format!("/v1/models/{}", self.served.name) => None,
            _ => {
                let message = format!("no {path:?} here; see /v1/models, /v1/completions");
                return Err(ApiError::new(404, message));
            }
        };
        let (is_taken, takes) = match kind {
            Some(_) => (request.method() == Method::POST, "POST"),
            None => (
                matches!(*request.method(), Method::GET | Method::HEAD),
                "GET",
            ),
        };
        if !is_taken {
            let message = format!("{path} takes {takes}; found {}", request.method());
            return Err(ApiError::new(405, message));
        }
        if let Some(kind) = kind {
            return self.run(kind, request, connection).await;
        }
        Ok(match path.as_str() {
            "/health" => json_answer(200, &json!({"status": "ok"})),
            "/metrics" => {
                let text = self.metrics.text();
                body_answer(200, "text/plain; version=0.0.4", text.into())
            }
            "/v1/models" => {
                let models = json!({"object": "list", "data": [self.model()]});
                json_answer(200, &models)
            }
            _ => json_answer(200, &self.model()),
        })
    }

    fn model(&self) -> Value {
        json!({
            "id": self.served.name,
            "object": "model",
            "created": 0,
            "owned_by": "mxlab",
            "max_model_len": self.served.longest,
        })
    }

    /// Keys are compared by hashes, byte by byte to the end, so the time tells nothing of the key.
    fn check_key(&self, request: &Request<Incoming>) -> Result<(), ApiError> {
        let Some(expected) = &self.key else {
            return Ok(());
        };
        let given = request.headers().get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"));
        let given = given.map(|(_, key)| key);
        let difference = hash(given.unwrap_or_default())
            .iter()
            .zip(expected)
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        if difference == 0 && given.is_some() {
            return Ok(());
        }
        let message = match given {
            Some(_) => "the API key is not this server's",
            None => "the API key is missing; expected `Authorization: Bearer KEY`",
        };
        Err(ApiError::new(401, message).with_code("invalid_api_key"))
    }

    /// A request for answers.
    async fn run(
        &self,
        kind: Kind,
        request: Request<Incoming>,
        connection: &Arc<Activity>,
    ) -> Result<Response<AnswerBody>, ApiError> {
        let arrival = Instant::now();
        if self.stop.load(Relaxed) {
            return Err(ApiError::new(
                503,
                "the server is stopping; ask another one",
            ));
        }
        let mut received = self.inlet.receive(request.into_body()).await?;
        let permit = Arc::clone(&self.places).try_acquire_owned();
        let permit = permit.map_err(|_| {
            let most = self.limits.requests;
            let message = format!("{most} requests are running or waiting; try again later");
            ApiError::new(429, message).with_code("rate_limit_exceeded")
        })?;
        let due = connection.begin();
        let place = Place { permit, due };
        if self.logs {
            eprintln!("{kind:?}: {}", String::from_utf8_lossy(&received.bytes));
        }
        let served = self.served;
        self.inlet.wait_for_turn(&mut received).await;
        // Long texts take long to become tokens; a panic in there ends this request alone.
        let call = spawn_blocking(move || {
            // Its room is free when it is parsed, also if the client is gone by then.
            let received = received;
            let call = Call::parse(kind, &received.bytes, &served)?;
            let answer = Answer::new(&call, served);
            Ok((call, answer))
        });
        let call = call.await.map_err(|error| {
            let message = format!("the request could not be read: {error}");
            ApiError::new(500, message)
        })?;
        let (call, mut answer) = call?;
        self.count_ignored(&call.ignored);
        Metrics::count(&self.metrics.requests_total);
        let (sender, mut events) = unbounded_channel();
        let times = [arrival, arrival + self.limits.answer];
        for job in call.jobs(&self.served, times, &sender) {
            let sent = self.jobs.send(job);
            sent.map_err(|_| ApiError::new(503, "the server has stopped"))?;
        }
        drop(sender);
        let stopped = || ApiError::new(503, "the server has stopped");
        if call.streams {
            let (index, first) = events.recv().await.ok_or_else(stopped)?;
            if let Event::Failed(failure) = first {
                return Err(failed(failure));
            }
            let stream = AnswerStream::new((index, first), events, answer, place);
            let mut answer = Response::new(AnswerBody::Stream(Box::new(stream)));
            let headers = answer.headers_mut();
            let kind = HeaderValue::from_static("text/event-stream");
            headers.insert(header::CONTENT_TYPE, kind);
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            return Ok(answer);
        }
        while !answer.is_complete() {
            let (index, event) = events.recv().await.ok_or_else(stopped)?;
            answer.take(index, event)?;
        }
        Ok(json_answer(200, &answer.whole()))
    }

    fn count_ignored(&self, names: &[String]) {
        let count: &AtomicU64 = &self.metrics.fields_ignored_total;
        count.fetch_add(names.len() as u64, Relaxed);
        let mut ignored = self
            .ignored
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        for name in names {
            let name: String = name.chars().take(64).collect();
            if ignored.len() >= MOST_NAMES && !ignored.contains_key(&name) {
                continue;
            }
            let times = ignored.entry(name).or_insert_with_key(|name| {
                eprintln!("ignored: the unknown field {name:?} of a request");
                0
            });
            *times += 1;
        }
    }

    /// Unknown fields by name, in one line; `None` if there were none.
    pub fn ignored(&self) -> Option<String> {
        let ignored = self
            .ignored
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        let each = ignored
            .iter()
            .map(|(name, times)| format!("{name:?} {times}"));
        let each: Vec<String> = each.collect();
        (!each.is_empty()).then(|| format!("ignored fields, and how often: {}", each.join(", ")))
    }
}

fn json_answer(status: u16, value: &Value) -> Response<AnswerBody> {
    body_answer(status, "application/json", value.to_string().into())
}

fn body_answer(status: u16, kind: &'static str, body: Bytes) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::Whole(Some(body)));
    *answer.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}
