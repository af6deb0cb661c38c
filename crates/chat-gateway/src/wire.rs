//! One WebSocket as frames in and frames out, with the clocks that say when its peer is gone.
//!
//! Writing never keeps it from reading: what cannot be written yet waits in a bounded outbox, so a close is noticed at
//! once, also in the middle of an answer. Frames that come together leave in one write. It knows nothing of what the
//! frames mean.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite;

use crate::protocol::close::Close;
use crate::protocol::v2::ServerFrame;

#[cfg(test)]
mod autobahn;

/// The largest frame, and the largest message of several frames, in bytes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 128 * 1024;
/// The read buffer of one socket, in bytes: most of what an idle socket costs. A larger frame gets room when its head is
/// read. The library's own default is 128 KiB.
const READ_BUFFER_BYTES: usize = 512;
/// Bytes that may gather before they are written; a flush follows every batch anyway.
const WRITE_BUFFER_BYTES: usize = 4 * 1024;
/// The most that the library holds of what the peer does not take, in bytes: our largest frame, which is the snapshot of an
/// answer of 1 MiB, where one byte may become six in JSON.
const MAX_WRITE_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// The time between pings.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(25);
/// How long any frame may take to come after a ping.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the peer may take nothing of what is to be written.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Frames in the outbox from which on the answer waits.
const FULL: usize = 64;
/// Frames in the outbox below which the answer goes on.
const LOW: usize = FULL / 2;
/// Frames in the outbox from which on nothing is read: a peer that asks and asks and takes no reply.
const FLOODED: usize = 2 * FULL;
/// How long the last frames may take to be written at a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the peer's own close is waited for. Closing earlier would turn what is unread into a reset, and a reset may
/// overtake the close frame.
const LINGER: Duration = Duration::from_millis(500);

/// What happened on the socket.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A text frame.
    Text(Utf8Bytes),
    /// There is room in the outbox again, or it is empty again.
    Room,
    /// The peer broke a rule; this close tells it which.
    Broken(Close),
    /// The peer took nothing for too long.
    Stalled,
    /// The peer did not answer a ping.
    Silent,
    /// The peer closed, or is gone.
    Gone(&'static str),
}

/// Sets the bounds of a socket that is about to be opened.
pub(crate) fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
}

/// An open socket.
#[derive(Debug)]
pub(crate) struct Wire {
    /// On the heap, because a task holds several places for whatever is moved through it.
    socket: Box<WebSocket>,
    outbox: VecDeque<Message>,
    full: bool,
    /// Frames of watchers were put into the outbox; the next ones are made when it is empty.
    shown: bool,
    /// Nothing is read for now.
    paused: bool,
    last_heard: Instant,
    last_ping: Instant,
    stalled_since: Option<Instant>,
    /// Rings when a clock may have run out. A timer of its own for each frame would cost more than the frame.
    alarm: Pin<Box<Sleep>>,
}

impl Wire {
    pub(crate) fn new(socket: WebSocket) -> Self {
        let now = Instant::now();
        let outbox = VecDeque::new();
        Self {
            socket: Box::new(socket),
            outbox,
            full: false,
            shown: false,
            paused: false,
            last_heard: now,
            last_ping: now,
            stalled_since: None,
            alarm: Box::pin(sleep_until(now + PING_INTERVAL)),
        }
    }

    /// Puts a text frame into the outbox; it is written while [`Wire::next`] is polled.
    pub(crate) fn send(&mut self, text: String) {
        self.outbox.push_back(Message::Text(text.into()));
        self.full |= self.outbox.len() >= FULL;
    }

    /// Puts a frame of version 2 into the outbox. [`Heard::Room`] says when all of it is written.
    pub(crate) fn send_frame(&mut self, frame: &ServerFrame) {
        let text = serde_json::to_string(frame).expect("frames have text keys only");
        self.send(text);
        self.shown = true;
    }

    /// Reads nothing more, or reads again. What the peer sends meanwhile waits in the network.
    pub(crate) const fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether the peer has taken all there was.
    pub(crate) fn is_clear(&self) -> bool {
        self.outbox.is_empty() && self.stalled_since.is_none()
    }

    /// Whether an answer may go on. Once it may not, [`Heard::Room`] says when it may again.
    pub(crate) const fn has_room(&self) -> bool {
        !self.full
    }

    /// Writes what waits and returns what happens next. Cancel-safe: nothing is lost between two calls.
    pub(crate) async fn next(&mut self) -> Heard {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        loop {
            if let Poll::Ready(heard) = self.poll(cx) {
                return Poll::Ready(heard);
            }
            let due = self.due();
            if due < self.alarm.deadline() {
                self.alarm.as_mut().reset(due);
            }
            ready!(self.alarm.as_mut().poll(cx));
            if let Some(heard) = self.ring() {
                return Poll::Ready(heard);
            }
            let due = self.due();
            self.alarm.as_mut().reset(due);
        }
    }

    /// Looks at the clocks: the peer may be gone, or is to be asked whether it is there.
    fn ring(&mut self) -> Option<Heard> {
        let now = Instant::now();
        if self
            .stalled_since
            .is_some_and(|since| now >= since + STALL_TIMEOUT)
        {
            return Some(Heard::Stalled);
        }
        if self.awaits_pong() {
            if now >= self.last_ping + PONG_TIMEOUT {
                return Some(Heard::Silent);
            }
        } else if now >= self.last_ping + PING_INTERVAL {
            self.last_ping = now;
            self.outbox
                .push_back(Message::Ping(axum::body::Bytes::new()));
        }
        None
    }

    /// When the next clock runs out.
    fn due(&self) -> Instant {
        let heartbeat = if self.awaits_pong() {
            PONG_TIMEOUT
        } else {
            PING_INTERVAL
        };
        let stalled = self.stalled_since.map(|since| since + STALL_TIMEOUT);
        stalled
            .into_iter()
            .fold(self.last_ping + heartbeat, Instant::min)
    }

    /// Whether nothing was heard since the last ping. A peer that we do not read cannot be blamed for its silence.
    fn awaits_pong(&self) -> bool {
        self.last_heard < self.last_ping && !self.paused && self.outbox.len() < FLOODED
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Heard> {
        match self.poll_write(cx) {
            Poll::Ready(Err(_)) => return Poll::Ready(Heard::Gone("reset")),
            Poll::Ready(Ok(())) => self.stalled_since = None,
            Poll::Pending => {
                self.stalled_since.get_or_insert_with(Instant::now);
            }
        }
        if self.shown && self.is_clear() {
            self.shown = false;
            self.full = false;
            return Poll::Ready(Heard::Room);
        }
        if self.full && self.outbox.len() < LOW {
            self.full = false;
            return Poll::Ready(Heard::Room);
        }
        if self.paused || self.outbox.len() >= FLOODED {
            return Poll::Pending;
        }
        loop {
            let frame = ready!(self.socket.poll_next_unpin(cx));
            self.last_heard = Instant::now();
            return Poll::Ready(match frame {
                Some(Ok(Message::Text(text))) => Heard::Text(text),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Binary(_))) => Heard::Broken(Close::Binary),
                Some(Ok(Message::Close(_))) | None => Heard::Gone("closed"),
                Some(Err(error)) => broken(error),
            });
        }
    }

    /// Hands the outbox to the socket as fast as it takes it, and flushes. An answer of version 1 has a frame for each
    /// token, and more may come before this task's next turn, so these are flushed only then: each flush is a system call.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        let mut has_news = false;
        while !self.outbox.is_empty() {
            ready!(self.socket.poll_ready_unpin(cx))?;
            if let Some(message) = self.outbox.pop_front() {
                self.socket.start_send_unpin(message)?;
                self.stalled_since = None;
                has_news = true;
            }
        }
        if has_news && !self.shown {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_flush_unpin(cx)
    }

    /// Writes what waits, then closes with a code, and waits a moment for the peer to do the same.
    pub(crate) async fn close(mut self, close: Close) {
        let frame = CloseFrame {
            code: close.code(),
            reason: Utf8Bytes::from_static(close.reason()),
        };
        self.outbox.push_back(Message::Close(Some(frame)));
        let written = timeout(CLOSE_TIMEOUT, async {
            poll_fn(|cx| self.poll_write(cx)).await?;
            self.socket.flush().await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return;
        }
        let end = Instant::now() + LINGER;
        let closed = timeout_at(end, async {
            while let Some(frame) = self.socket.next().await {
                if frame.is_err() {
                    return false;
                }
            }
            !matches!(
                close,
                Close::ProtocolError | Close::NotUtf8 | Close::TooLarge
            )
        });
        // After a protocol error the library reads no more, and the peer may still be writing.
        if let Ok(false) = closed.await {
            tokio::time::sleep_until(end).await;
        }
    }

    /// Answers the peer's close.
    pub(crate) async fn answer_close(mut self) {
        let _a_peer_that_left_needs_no_answer = timeout(CLOSE_TIMEOUT, self.socket.flush()).await;
    }
}

/// Which rule was broken. axum itself would drop the connection without a word, which browsers report as 1006.
fn broken(error: axum::Error) -> Heard {
    let error = error.into_inner();
    match error.downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(_)) => Heard::Broken(Close::TooLarge),
        Some(tungstenite::Error::Utf8(_)) => Heard::Broken(Close::NotUtf8),
        Some(tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        )) => Heard::Gone("reset"),
        Some(tungstenite::Error::Protocol(_)) => Heard::Broken(Close::ProtocolError),
        _ => Heard::Gone("reset"),
    }
}
