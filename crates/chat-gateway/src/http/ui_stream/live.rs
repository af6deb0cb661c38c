//! One answer as a stream over HTTP, for as long as somebody reads it. The answer runs on without them.
//!
//! It is a watcher like a socket's: it holds a position and nothing else, and a slow reader gets fewer and larger pieces.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::parts::PartWriter;
use crate::conversation::room::{Bell, Room};
use crate::conversation::watcher::{Watcher, stored};
use crate::http::entry::Guest;
use crate::http::problem::ApiProblem;
use crate::identity::SocketSeat;
use crate::protocol::record::{AnswerProblem, ErrorCode};
use crate::protocol::v2::HeldAnswer;
use crate::state::Gateway;

/// How long a stream may be silent.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// A comment, which every reader passes over.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// A stream that is being read.
struct LiveStream {
    gateway: Arc<Gateway>,
    guest: Guest,
    watcher: Watcher,
    bell: Arc<Bell>,
    answer: Uuid,
    writer: PartWriter,
    /// What is to be written first.
    beginning: Option<String>,
    written_at: Instant,
    #[expect(dead_code, reason = "it is held, not read")]
    seat: SocketSeat,
}

/// The place of one more reader.
pub(super) fn seat(gateway: &Gateway, guest: &Guest) -> Result<SocketSeat, ApiProblem> {
    let seat = gateway.limits.seat(&guest.user, guest.address);
    seat.map_err(|_| {
        let message = "you have too many chats open; close a tab and try again";
        ApiProblem::new(ErrorCode::RateLimited, message)
    })
}

/// The answer from its beginning on, as it is written. `room` is its conversation's.
pub(super) async fn stream(
    gateway: &Arc<Gateway>,
    guest: Guest,
    seat: SocketSeat,
    room: Arc<Room>,
    answer: Uuid,
) -> Result<Response, ApiProblem> {
    let bell = Arc::<Bell>::default();
    let held = HeldAnswer {
        message: answer,
        position: 0,
    };
    let watcher = Watcher::new(room, Arc::clone(&bell), &[held]);
    let (writer, beginning) = PartWriter::new(answer);
    if !watcher.shows(answer) {
        return whole(gateway, &guest, answer, writer, beginning).await;
    }
    let live = LiveStream {
        gateway: Arc::clone(gateway),
        guest,
        watcher,
        bell,
        answer,
        writer,
        beginning: Some(beginning),
        written_at: Instant::now(),
        seat,
    };
    let bytes = unfold(live, async |mut live| {
        let bytes = live.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), live))
    });
    Ok((head(answer), Body::from_stream(bytes)).into_response())
}

/// An answer that ended long ago.
async fn whole(
    gateway: &Gateway,
    guest: &Guest,
    answer: Uuid,
    mut writer: PartWriter,
    mut out: String,
) -> Result<Response, ApiProblem> {
    let kept = gateway.store.answer(&guest.user.id, answer).await?;
    let kept = kept.ok_or_else(ApiProblem::not_found)?;
    for frame in stored(&kept.message, &kept.written, 0, 0) {
        writer.write(&frame, &mut out);
    }
    if !writer.is_over() {
        writer.fail(&gone(), &mut out);
    }
    Ok((head(answer), out).into_response())
}

impl LiveStream {
    /// The next bytes; none behind the end of the answer.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = self.beginning.take().unwrap_or_default();
        if !out.is_empty() {
            self.show(&mut out);
            return Some(out.into());
        }
        if self.writer.is_over() {
            return None;
        }
        let interval = self.gateway.config.delta_interval;
        let silent = self.written_at + KEEP_ALIVE_INTERVAL;
        let mut gathers = false;
        while out.is_empty() {
            tokio::select! {
                () = self.bell.now.notified() => self.show(&mut out),
                () = self.bell.soon.notified(), if !gathers => gathers = true,
                () = sleep_until(self.written_at + interval), if gathers => {
                    gathers = false;
                    self.show(&mut out);
                }
                () = sleep_until(silent) => {
                    self.written_at = Instant::now();
                    return Some(Bytes::from_static(KEEP_ALIVE));
                }
                _ = self.gateway.identity.ended(&self.guest.user) => {
                    let problem = AnswerProblem {
                        code: ErrorCode::Unauthenticated,
                        message: "you are signed out; sign in again".to_owned(),
                    };
                    self.writer.fail(&problem, &mut out);
                }
            }
        }
        Some(out.into())
    }

    /// Writes what the reader lacks.
    fn show(&mut self, out: &mut String) {
        for frame in self.watcher.frames() {
            self.writer.write(&frame, out);
        }
        if !self.writer.is_over() && !self.watcher.shows(self.answer) {
            self.writer.fail(&gone(), out);
        }
        self.written_at = Instant::now();
    }
}

fn gone() -> AnswerProblem {
    AnswerProblem {
        code: ErrorCode::NotFound,
        message: "the answer was deleted".to_owned(),
    }
}

fn head(answer: Uuid) -> HeaderMap {
    let fields = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (
            HeaderName::from_static("x-vercel-ai-ui-message-stream"),
            "v1",
        ),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let fields = fields.map(|(name, value)| (name, HeaderValue::from_static(value)));
    let mut head = HeaderMap::from_iter(fields);
    if let Ok(id) = HeaderValue::try_from(answer.to_string()) {
        head.insert(HeaderName::from_static("x-resumable-stream-id"), id);
    }
    head
}
