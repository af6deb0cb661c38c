//! What a caller that waits for a slot sees, if it asked for it: comments in the stream, before the answer.
//!
//! docs/proxy.md describes the comments.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use admission::{Admission, Forecast, QueuePlace};
use axum::http::HeaderMap;
use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::answer::KEEP_ALIVE;

/// A caller sees its place at most this often.
const PAUSE: Duration = Duration::from_secs(1);
/// And as much less often as its place is a multiple of this, because finding it takes time by those before it.
const NEAR: usize = 128;

/// Whether these headers ask for the comments.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    headers
        .get("x-queue-events")
        .is_some_and(|value| value.as_bytes() == b"1")
}

/// The place of one caller, and the last comment on it.
pub(crate) struct QueueLine {
    admission: Admission,
    place: QueuePlace,
    keep_alive: Duration,
    next: Pin<Box<Sleep>>,
    said: String,
    said_at: Instant,
}

impl QueueLine {
    pub(crate) fn new(admission: Admission, place: QueuePlace, keep_alive: Duration) -> Self {
        let now = Instant::now();
        Self {
            admission,
            place,
            keep_alive,
            next: Box::pin(tokio::time::sleep_until(now)),
            said: String::new(),
            said_at: now,
        }
    }

    /// The next comment, when the place has changed or nothing was said for long.
    pub(crate) fn poll_comment(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        loop {
            ready!(self.next.as_mut().poll(context));
            let now = Instant::now();
            let forecast = self.admission.forecast(self.place);
            let n_pauses = forecast.map_or(1, |forecast| forecast.position.div_ceil(NEAR));
            let pause = PAUSE * u32::try_from(n_pauses).unwrap_or(u32::MAX);
            let new = forecast
                .map(|forecast| comment(&forecast))
                .filter(|new| *new != self.said);
            let silent_until = self.said_at + self.keep_alive;
            if new.is_none() && now < silent_until {
                self.next.as_mut().reset((now + pause).min(silent_until));
                continue;
            }
            self.said_at = now;
            self.next.as_mut().reset(now + pause.min(self.keep_alive));
            let Some(new) = new else {
                return Poll::Ready(Bytes::from_static(KEEP_ALIVE));
            };
            self.said.clone_from(&new);
            return Poll::Ready(new.into());
        }
    }
}

fn comment(forecast: &Forecast) -> String {
    format!(
        ": queue position={} wait={}\n\n",
        forecast.position,
        forecast.wait.as_secs_f64().ceil()
    )
}
