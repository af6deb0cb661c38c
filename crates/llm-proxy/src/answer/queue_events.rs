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
use tokio::time::Instant;

use crate::answer::relay::KEEP_ALIVE;
use admission::{Forecast, Watch};

/// A caller is told of its place at most this often.
const PAUSE: Duration = Duration::from_secs(1);
/// And as much less often as its place is a multiple of this: finding it takes time by those who stand before.
const NEAR: usize = 128;

/// Whether these headers ask for the comments.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    headers
        .get("x-queue-events")
        .is_some_and(|value| value.as_bytes() == b"1")
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
    unfold(
        State::Waiting(Line::new(watch, keep_alive), Box::pin(opening)),
        async |mut state| {
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
                    State::Passing(mut events) => {
                        return Some((events.next().await?, State::Passing(events)));
                    }
                    State::Over => return None,
                };
            }
        },
    )
}

/// The place of one caller, and what it was last told.
struct Line {
    watch: Watch,
    look_at: Instant,
    keep_alive: Duration,
    said: String,
    said_at: Instant,
}

impl Line {
    fn new(watch: Watch, keep_alive: Duration) -> Self {
        let now = Instant::now();
        Self {
            watch,
            look_at: now,
            keep_alive,
            said: String::new(),
            said_at: now,
        }
    }

    /// The next comment, as soon as there is something new to say, or nothing was said for long. Cancel-safe.
    async fn comment(&mut self) -> Bytes {
        loop {
            tokio::time::sleep_until(self.look_at).await;
            let (now, forecast) = (Instant::now(), self.watch.forecast());
            let n_pauses = forecast.map_or(1, |forecast| forecast.position.div_ceil(NEAR));
            let pause = PAUSE * u32::try_from(n_pauses).unwrap_or(u32::MAX);
            let new = forecast
                .map(|forecast| place(&forecast))
                .filter(|new| *new != self.said);
            let silent_until = self.said_at + self.keep_alive;
            if new.is_none() && now < silent_until {
                self.look_at = (now + pause).min(silent_until);
                continue;
            }
            (self.said_at, self.look_at) = (now, now + pause.min(self.keep_alive));
            let Some(new) = new else {
                return Bytes::from_static(KEEP_ALIVE);
            };
            self.said.clone_from(&new);
            return new.into();
        }
    }
}

fn place(forecast: &Forecast) -> String {
    format!(
        ": queue position={} wait={}\n\n",
        forecast.position,
        forecast.wait.as_secs_f64().ceil()
    )
}
