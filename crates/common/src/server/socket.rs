//! One accepted socket as hyper reads and writes it, and the state that it shares with its connection.
//!
//! It does three things that hyper does not: it refuses heads ([`InputFraming`]), gives up a peer that takes nothing of
//! what is written, and knows the connection's phase. A write of a token costs two relaxed loads more.

use std::future::Future as _;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::framing::{InputFraming, InputPlace};
use super::refusal::HeadRefusal;

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionPhase {
    /// No request is being answered.
    Waiting = 0,
    /// A handler runs, or its answer's body is written.
    Busy = 1,
    /// The answer's last bytes are on their way out.
    Flushing = 2,
    /// Another protocol has taken over.
    Upgraded = 3,
}

/// What the connection, its handlers and its [`WatchedSocket`] share. One task uses it, so relaxed loads suffice.
#[derive(Debug)]
pub(super) struct ConnectionState {
    pub(super) tcp: TcpStream,
    phase: AtomicU8,
    place: AtomicU8,
    n_requests: AtomicUsize,
    /// hyper waits for bytes, so it will notice when the peer leaves.
    reads: AtomicBool,
    peer_closed: AtomicBool,
    refusal: OnceLock<HeadRefusal>,
    cut_at: Mutex<Option<Instant>>,
}

impl ConnectionState {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            phase: AtomicU8::new(ConnectionPhase::Waiting as u8),
            place: AtomicU8::new(InputPlace::Between as u8),
            n_requests: AtomicUsize::new(0),
            reads: AtomicBool::new(false),
            peer_closed: AtomicBool::new(false),
            refusal: OnceLock::new(),
            cut_at: Mutex::new(None),
        }
    }

    pub(super) fn phase(&self) -> ConnectionPhase {
        const PHASES: [ConnectionPhase; 4] = [
            ConnectionPhase::Waiting,
            ConnectionPhase::Busy,
            ConnectionPhase::Flushing,
            ConnectionPhase::Upgraded,
        ];
        PHASES[usize::from(self.phase.load(Relaxed))]
    }

    pub(super) fn enter(&self, phase: ConnectionPhase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// A request's head is complete.
    pub(super) fn begin_request(&self) {
        self.n_requests.fetch_add(1, Relaxed);
        self.cut_at(None);
        self.enter(ConnectionPhase::Busy);
    }

    /// The answer's body has ended.
    pub(super) fn end_answer(&self) {
        if self.phase() == ConnectionPhase::Busy {
            self.enter(ConnectionPhase::Flushing);
        }
    }

    pub(super) fn n_requests(&self) -> usize {
        self.n_requests.load(Relaxed)
    }

    pub(super) fn is_mid_head(&self) -> bool {
        self.place.load(Relaxed) == InputPlace::Head as u8
    }

    /// Whether the peer may still be sending what nobody will read.
    pub(super) fn has_unread_input(&self) -> bool {
        !self.peer_closed.load(Relaxed) && self.place.load(Relaxed) != InputPlace::Between as u8
    }

    pub(super) fn refusal(&self) -> Option<HeadRefusal> {
        self.refusal.get().copied()
    }

    /// Whether hyper will notice by itself when the peer leaves.
    pub(super) fn reads(&self) -> bool {
        self.reads.load(Relaxed)
    }

    /// Whether the peer has closed its side. Bytes that it sent before may still be unread.
    pub(super) fn is_peer_gone(&self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let ready = std::pin::pin!(self.tcp.ready(Interest::READABLE)).poll(&mut context);
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
            || matches!(ready, Poll::Ready(Err(_)))
    }

    /// Sets when a peer that takes nothing is cut off at once.
    pub(super) fn cut_at(&self, at: Option<Instant>) {
        *self.cut_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// An accepted socket, see the module.
#[derive(Debug)]
pub(super) struct WatchedSocket {
    state: Arc<ConnectionState>,
    framing: InputFraming,
    /// How long the peer may take nothing.
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl WatchedSocket {
    pub(super) fn new(state: Arc<ConnectionState>, limit: Duration) -> Self {
        Self {
            state,
            framing: InputFraming::default(),
            limit,
            stalled: None,
        }
    }

    /// Follows new input. Returns `false` when the input must not reach hyper.
    fn inspect(&mut self, input: &[u8]) -> bool {
        if input.is_empty() {
            self.state.peer_closed.store(true, Relaxed);
            return true;
        }
        if self.state.phase() == ConnectionPhase::Upgraded {
            return true;
        }
        let judged = self.framing.push(input);
        self.state.place.store(self.framing.place() as u8, Relaxed);
        if let Err(fault) = judged {
            // The first fault counts.
            self.state.refusal.set(fault.into()).ok();
        }
        judged.is_ok()
    }

    /// Writes what hyper gives, unless it is hyper's own answer to a head it cannot read.
    fn write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        if self.state.phase() == ConnectionPhase::Waiting {
            let first = parts.first().map_or(&[][..], |part| part);
            // The first fault counts.
            self.state.refusal.set(HeadRefusal::instead_of(first)).ok();
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        let tcp = &self.state.tcp;
        while tcp.poll_write_ready(cx)?.is_ready() {
            match tcp.try_write_vectored(parts) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => {
                    self.stalled = None;
                    return Poll::Ready(written);
                }
            }
        }
        let stalled = self.stalled.get_or_insert_with(|| {
            let cut_at = *self
                .state
                .cut_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let limit = Instant::now() + self.limit;
            Box::pin(sleep_until(
                cut_at.map_or(limit, |cut_at| cut_at.min(limit)),
            ))
        });
        ready!(stalled.as_mut().poll(cx));
        // Otherwise the kernel would keep what is unsent for as long as the peer likes. Without it the close is just slower.
        self.state.tcp.set_zero_linger().ok();
        Poll::Ready(Err(Error::new(
            ErrorKind::TimedOut,
            "the peer takes nothing",
        )))
    }
}

/// Reads once. As in tokio's own sockets, a short read means that there is no more for now.
fn receive(tcp: &TcpStream, buf: &mut ReadBuf<'_>) -> Result<()> {
    let mut read = Ok(0);
    let room = buf.remaining();
    let drained = tcp.try_io(Interest::READABLE, || {
        read = tcp.try_read_buf(buf);
        match read {
            Ok(n) if 0 < n && n < room => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    });
    match drained {
        Err(error) if matches!(read, Ok(0)) => Err(error),
        Ok(()) | Err(_) => read.map(drop),
    }
}

impl AsyncRead for WatchedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        self.state.reads.store(false, Relaxed);
        let before = buf.filled().len();
        while self.state.refusal.get().is_none() {
            if self.state.tcp.poll_read_ready(cx)?.is_pending() {
                self.state.reads.store(true, Relaxed);
                break;
            }
            match receive(&self.state.tcp, buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) if self.inspect(&buf.filled()[before..]) => return Poll::Ready(Ok(())),
                // The connection finds the refusal as soon as hyper has nothing else to do.
                Ok(()) => buf.set_filled(before),
            }
        }
        Poll::Pending
    }
}

impl AsyncWrite for WatchedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        self.write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.write(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper calls this once everything is written.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        if self.state.phase() == ConnectionPhase::Flushing {
            self.state.enter(ConnectionPhase::Waiting);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        // A refusal is still to be written.
        Poll::Ready(match self.state.refusal.get() {
            Some(_) => Ok(()),
            None => SockRef::from(&self.state.tcp).shutdown(std::net::Shutdown::Write),
        })
    }
}
