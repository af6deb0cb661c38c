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
/// How often the store is asked for an answer that runs at another gateway and is not heard of.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

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
    /// What was written of the answer when its room lost it, in bytes.
    position: u64,
    /// When the store is asked for an answer that its room does not know.
    looks_at: Option<Instant>,
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
    let mut watcher = Watcher::new(room, Arc::clone(&bell), &[held]);
    let (mut writer, mut beginning) = PartWriter::new(answer);
    let mut looks_at = None;
    if !watcher.shows(answer) {
        let kept = gateway.store.answer(&guest.user.id, answer).await?;
        let kept = kept.ok_or_else(ApiProblem::not_found)?;
        for frame in stored(&kept.message, &kept.written, 0, 0) {
            writer.write(&frame, &mut beginning);
        }
        if writer.is_over() {
            return Ok((head(answer), beginning).into_response());
        }
        watcher.holds(answer, 0);
        looks_at = Some(Instant::now() + LOOK_INTERVAL);
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
        position: 0,
        looks_at,
        seat,
    };
    let bytes = unfold(live, async |mut live| {
        let bytes = live.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), live))
    });
    Ok((head(answer), Body::from_stream(bytes)).into_response())
}

impl LiveStream {
    /// The next bytes; none behind the end of the answer.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = self.beginning.take().unwrap_or_default();
        if !out.is_empty() {
            self.show(&mut out).await;
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
                () = self.bell.now.notified() => self.show(&mut out).await,
                () = self.bell.soon.notified(), if !gathers => gathers = true,
                () = sleep_until(self.written_at + interval), if gathers => {
                    gathers = false;
                    self.show(&mut out).await;
                }
                () = sleep_until(self.looks_at.unwrap_or(silent)), if self.looks_at.is_some() => {
                    self.looks_at = None;
                    self.show(&mut out).await;
                }
                () = sleep_until(silent) => {
                    self.written_at = Instant::now();
                    return Some(Bytes::from_static(KEEP_ALIVE));
                }
                // The drain waits for answers of this gateway only.
                () = self.gateway.shutdown.draining(), if !self.watcher.is_live_here() => {
                    // It may have ended a moment ago.
                    self.show(&mut out).await;
                    if !out.is_empty() {
                        continue;
                    }
                    let problem = AnswerProblem {
                        code: ErrorCode::ShuttingDown,
                        message: "this gateway stops, and the answer goes on at another one; read it again".to_owned(),
                    };
                    self.writer.fail(&problem, &mut out);
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
    async fn show(&mut self, out: &mut String) {
        for frame in self.watcher.frames() {
            self.writer.write(&frame, out);
        }
        let mut lost = self.watcher.left_behind().into_iter();
        if let Some(lost) = lost.find(|lost| lost.message == self.answer) {
            self.position = lost.position;
        }
        if self.watcher.shows(self.answer) {
            self.looks_at = None;
        } else if self.looks_at.is_none() && !self.writer.is_over() {
            self.look_up(out).await;
        }
        self.written_at = Instant::now();
    }

    /// Writes the end of an answer that its room does not know. An answer that runs at a gateway that is not heard of at
    /// present is looked up again.
    async fn look_up(&mut self, out: &mut String) {
        let user = &self.guest.user.id;
        match self.gateway.store.answer(user, self.answer).await {
            Ok(None) => self.writer.fail(&gone(), out),
            Ok(Some(kept)) => {
                for frame in stored(&kept.message, &kept.written, self.position, 0) {
                    self.writer.write(&frame, out);
                }
            }
            Err(error) => tracing::debug!(%error, "a streamed answer was not looked up"),
        }
        if !self.writer.is_over() {
            self.watcher.holds(self.answer, self.position);
            self.looks_at = Some(Instant::now() + LOOK_INTERVAL);
        }
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
