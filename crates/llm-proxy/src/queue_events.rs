//! What a caller that waits for a slot is told, when it asked for it: comments in the stream, before the answer.
//!
//! The header goes out while the request still waits, so what goes wrong from then on is an event. docs/proxy.md
//! describes the comments.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt as _, unfold};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::admission::{Forecast, Watch};
use crate::relay::KEEP_ALIVE;

/// A caller is told of its place at most this often.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether these headers ask for the comments.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    headers.get("x-queue-events").is_some_and(|value| value.as_bytes() == b"1")
}

/// What the wait ends with: the events of the answer, or the one event of a failure.
pub(crate) type Opened = Result<BoxStream<'static, Bytes>, Bytes>;

enum State<F> {
    Waiting(Line, Pin<Box<F>>),
    Passing(BoxStream<'static, Bytes>),
    Over,
}

/// Comments on the place that `watch` sees until `opening` ends, and then what that came to.
pub(crate) fn stream<F>(
    watch: Watch,
    keep_alive: Duration,
    opening: F,
) -> impl Stream<Item = Bytes> + Send + 'static
where
    F: Future<Output = Opened> + Send + 'static,
{
    unfold(State::Waiting(Line::new(watch, keep_alive), Box::pin(opening)), async |mut state| {
        loop {
            state = match state {
                State::Waiting(mut line, mut opening) => tokio::select! {
                    biased;
                    opened = &mut opening => match opened {
                        Ok(events) => State::Passing(events),
                        Err(last) => return Some((last, State::Over)),
                    },
                    comment = line.comment() => return Some((comment, State::Waiting(line, opening))),
                },
                State::Passing(mut events) => return Some((events.next().await?, State::Passing(events))),
                State::Over => return None,
            };
        }
    })
}

/// The place of one caller, and what it was last told.
struct Line {
    watch: Watch,
    look: Interval,
    keep_alive: Duration,
    said: String,
    said_at: Instant,
}

impl Line {
    fn new(watch: Watch, keep_alive: Duration) -> Self {
        let mut look = tokio::time::interval(PAUSE.min(keep_alive));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { watch, look, keep_alive, said: String::new(), said_at: Instant::now() }
    }

    /// The next comment, as soon as there is something new to say, or nothing was said for long. Cancel-safe.
    async fn comment(&mut self) -> Bytes {
        loop {
            let now = self.look.tick().await;
            let new = self.watch.forecast().map(|forecast| place(&forecast)).filter(|new| *new != self.said);
            let comment = match new {
                Some(new) => {
                    self.said.clone_from(&new);
                    Bytes::from(new)
                }
                None if self.said_at + self.keep_alive <= now => Bytes::from_static(KEEP_ALIVE),
                None => continue,
            };
            self.said_at = now;
            return comment;
        }
    }
}

fn place(forecast: &Forecast) -> String {
    format!(": queue position={} wait={}\n\n", forecast.position, forecast.wait.as_secs_f64().ceil())
}
