//! Bodies on their way in.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::limits::HttpLimits;
use crate::serve::api::error::ApiError;

/// Bytes of a body that take no room and wait for no turn.
const SMALL: usize = 64 << 10;
/// Room for the other bytes, in bodies of the greatest size.
const ROOM: usize = 16;
/// The server reads a body that is too large for so long, and so many bytes of it. Most clients
/// read an answer only when they have sent everything.
const DROPPING: Duration = Duration::from_secs(1);
const DROPPED_BYTES: usize = 64 << 20;

/// Receives bodies in bounded time and memory.
pub struct Inlet {
    most: usize,
    time: Duration,
    /// A permit for each byte.
    room: Arc<Semaphore>,
    /// Bodies that are not small are parsed one at a time, so small ones need not wait for them.
    turn: Arc<Semaphore>,
}

/// A body, and the room that it takes.
pub struct Received {
    /// The body.
    pub bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Inlet {
    /// For bodies within `limits`.
    pub fn new(limits: &HttpLimits) -> Self {
        let room = limits.body_bytes.saturating_mul(ROOM);
        Self {
            most: limits.body_bytes,
            time: limits.client,
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// The whole of a body.
    ///
    /// # Errors
    /// If it is too large or broken, takes too long, or there is no room for it.
    pub async fn receive(&self, mut body: Incoming) -> Result<Received, ApiError> {
        let received = timeout(self.time, self.collect(&mut body)).await;
        received.unwrap_or_else(|_| {
            let message = format!("the body did not come within {} s", self.time.as_secs());
            Err(ApiError::new(408, message))
        })
    }

    async fn collect(&self, body: &mut Incoming) -> Result<Received, ApiError> {
        let most = self.most;
        let said = body.size_hint().lower();
        if said > most as u64 {
            drop_rest(body).await;
            let message = format!("the body has {said} bytes; expected at most {most}");
            return Err(ApiError::new(413, message));
        }
        let mut received = Received {
            bytes: Vec::with_capacity(SMALL.min(said as usize)),
            room: None,
            turn: None,
        };
        while let Some(frame) = body.frame().await {
            let broken = |error| ApiError::new(400, format!("the body is broken: {error}"));
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            let before = received.bytes.len();
            let after = before + data.len();
            if after > most {
                drop_rest(body).await;
                let message = format!("the body has more than {most} bytes, the most allowed");
                return Err(ApiError::new(413, message));
            }
            let more = after.saturating_sub(before.max(SMALL));
            if more > 0 {
                self.take_room(&mut received, more)?;
            }
            received.bytes.extend_from_slice(&data);
        }
        Ok(received)
    }

    fn take_room(&self, received: &mut Received, bytes: usize) -> Result<(), ApiError> {
        let full = || {
            let message = "too many large bodies are on their way; try again later";
            ApiError::new(429, message).with_code("rate_limit_exceeded")
        };
        let bytes = u32::try_from(bytes).map_err(|_| full())?;
        let more = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        let more = more.map_err(|_| full())?;
        match &mut received.room {
            Some(room) => room.merge(more),
            None => received.room = Some(more),
        }
        Ok(())
    }

    /// Waits until a body may be parsed.
    pub async fn wait_for_turn(&self, received: &mut Received) {
        if received.room.is_some() {
            received.turn = Arc::clone(&self.turn).acquire_owned().await.ok();
        }
    }
}

/// Reads the rest of a body and drops it.
async fn drop_rest(body: &mut Incoming) {
    let drop_rest = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, |data| data.len());
            if bytes > DROPPED_BYTES {
                break;
            }
        }
    };
    // The answer is the same however much has come.
    let _ = timeout(DROPPING, drop_rest).await;
}
