//! Answers on their way.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;

use super::activity::Due;
use crate::serve::api::answer::Answer;
use crate::serve::job::Event;

/// The body of an answer.
pub enum AnswerBody {
    /// All of it, until it is sent.
    Whole(Option<Bytes>),
    /// Events as they come.
    Stream(Box<AnswerStream>),
}

/// An answer in server-sent events. Without it, nobody receives its sequences' events, which ends
/// them.
pub struct AnswerStream {
    /// An event that came before the stream began.
    first: Option<(usize, Event)>,
    events: UnboundedReceiver<(usize, Event)>,
    answer: Answer,
    has_ended: bool,
    _place: Place,
}

/// A place among the requests at a time, and the answer that is due.
pub struct Place {
    /// The place.
    pub permit: OwnedSemaphorePermit,
    /// The answer.
    pub due: Due,
}

impl AnswerStream {
    /// The stream of `answer`; `first` has come already.
    pub fn new(
        first: (usize, Event),
        events: UnboundedReceiver<(usize, Event)>,
        answer: Answer,
        place: Place,
    ) -> Self {
        Self {
            first: Some(first),
            events,
            answer,
            has_ended: false,
            _place: place,
        }
    }

    /// The text of an event; empty if there is nothing to tell.
    fn text_of(&mut self, index: usize, event: Event) -> String {
        let mut text = String::new();
        match self.answer.take(index, event) {
            Err(error) => {
                self.has_ended = true;
                text += &event_text(&error.body());
                text += DONE;
            }
            Ok(()) => {
                text.extend(self.answer.piece(index).iter().map(event_text));
                if self.answer.is_complete() {
                    self.has_ended = true;
                    text.extend(self.answer.last_piece().iter().map(event_text));
                    text += DONE;
                }
            }
        }
        text
    }
}

const DONE: &str = "data: [DONE]\n\n";

fn event_text(value: &Value) -> String {
    format!("data: {value}\n\n")
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let stream = match &mut *self {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Stream(stream) => stream,
        };
        // What has come by now leaves together.
        let mut text = String::new();
        while !stream.has_ended {
            let next = match stream.first.take() {
                Some(first) => Poll::Ready(Some(first)),
                None => stream.events.poll_recv(context),
            };
            match next {
                Poll::Ready(Some((index, event))) => text += &stream.text_of(index, event),
                // The worker is gone only when the program ends.
                Poll::Ready(None) => stream.has_ended = true,
                Poll::Pending if text.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if !text.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(text.into()))));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(stream) => stream.has_ended,
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(bytes) => {
                hyper::body::SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Self::Stream(_) => hyper::body::SizeHint::default(),
        }
    }
}
