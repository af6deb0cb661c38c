//! One accepted socket, as hyper reads and writes it, and what its connection must know of it meanwhile.
//!
//! It sees to three things hyper does not: heads that must be refused ([`Framing`]), a peer that takes nothing of what is
//! written, and where the connection stands between two requests. The token path costs it two relaxed loads a write.

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

use super::framing::{Framing, InputPlace};
use super::refusal::Refusal;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No request is being answered.
    Waiting = 0,
    /// A handler runs, or its answer's body is passed on.
    Busy = 1,
    /// The answer's last bytes are on their way out.
    Flushing = 2,
    /// It is no HTTP any more.
    Upgraded = 3,
}

/// What the connection, its handlers and its [`Socket`] share. One task uses it, so that relaxed loads suffice.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tcp: TcpStream,
    phase: AtomicU8,
    place: AtomicU8,
    n_requests: AtomicUsize,
    /// hyper waits for bytes, and so will see the peer go.
    reads: AtomicBool,
    peer_closed: AtomicBool,
    refusal: OnceLock<Refusal>,
    cut_at: Mutex<Option<Instant>>,
}

impl Shared {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            phase: AtomicU8::new(Phase::Waiting as u8),
            place: AtomicU8::new(InputPlace::Between as u8),
            n_requests: AtomicUsize::new(0),
            reads: AtomicBool::new(false),
            peer_closed: AtomicBool::new(false),
            refusal: OnceLock::new(),
            cut_at: Mutex::new(None),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        const PHASES: [Phase; 4] = [
            Phase::Waiting,
            Phase::Busy,
            Phase::Flushing,
            Phase::Upgraded,
        ];
        PHASES[usize::from(self.phase.load(Relaxed))]
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// A request's head is complete.
    pub(super) fn begin_request(&self) {
        self.n_requests.fetch_add(1, Relaxed);
        self.cut_at(None);
        self.enter(Phase::Busy);
    }

    /// The answer's body is at its end.
    pub(super) fn end_answer(&self) {
        if self.phase() == Phase::Busy {
            self.enter(Phase::Flushing);
        }
    }

    pub(super) fn n_requests(&self) -> usize {
        self.n_requests.load(Relaxed)
    }

    pub(super) fn is_mid_head(&self) -> bool {
        self.place.load(Relaxed) == InputPlace::Head as u8
    }

    /// Whether the peer may still be sending what nobody will read. Closing then would reset the connection, and a
    /// reset overtakes the answer.
    pub(super) fn has_unread_input(&self) -> bool {
        !self.peer_closed.load(Relaxed) && self.place.load(Relaxed) != InputPlace::Between as u8
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get().copied()
    }

    /// Whether hyper will notice by itself when the peer goes.
    pub(super) fn reads(&self) -> bool {
        self.reads.load(Relaxed)
    }

    /// Whether the peer has closed its side, though bytes of it may still lie unread.
    pub(super) fn is_peer_gone(&self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let ready = std::pin::pin!(self.tcp.ready(Interest::READABLE)).poll(&mut context);
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
            || matches!(ready, Poll::Ready(Err(_)))
    }

    /// From when on a peer that takes nothing is cut off at once.
    pub(super) fn cut_at(&self, at: Option<Instant>) {
        *self.cut_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Socket {
    shared: Arc<Shared>,
    framing: Framing,
    /// How long the peer may take nothing.
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(super) fn new(shared: Arc<Shared>, limit: Duration) -> Self {
        Self {
            shared,
            framing: Framing::default(),
            limit,
            stalled: None,
        }
    }

    /// Takes note of new input; `false` when it must not reach hyper.
    fn inspect(&mut self, input: &[u8]) -> bool {
        if input.is_empty() {
            self.shared.peer_closed.store(true, Relaxed);
            return true;
        }
        if self.shared.phase() == Phase::Upgraded {
            return true;
        }
        let judged = self.framing.push(input);
        self.shared.place.store(self.framing.place() as u8, Relaxed);
        if let Err(fault) = judged {
            let _the_first_fault_counts = self.shared.refusal.set(fault.into());
        }
        judged.is_ok()
    }

    /// Writes what hyper gives, unless it is hyper's own answer to a head it cannot read.
    fn write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        if self.shared.phase() == Phase::Waiting {
            let first = parts.first().map_or(&[][..], |part| part);
            let _the_first_fault_counts = self.shared.refusal.set(Refusal::instead_of(first));
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        let tcp = &self.shared.tcp;
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
                .shared
                .cut_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let limit = Instant::now() + self.limit;
            Box::pin(sleep_until(
                cut_at.map_or(limit, |cut_at| cut_at.min(limit)),
            ))
        });
        ready!(stalled.as_mut().poll(cx));
        // What the kernel still holds would wait for the peer as long as the peer likes.
        let _best_effort = self.shared.tcp.set_zero_linger();
        Poll::Ready(Err(Error::new(
            ErrorKind::TimedOut,
            "the peer takes nothing",
        )))
    }
}

/// Reads once. A short read says that there is no more for now, as tokio's own sockets take it.
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

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        self.shared.reads.store(false, Relaxed);
        let before = buf.filled().len();
        while self.shared.refusal.get().is_none() {
            if self.shared.tcp.poll_read_ready(cx)?.is_pending() {
                self.shared.reads.store(true, Relaxed);
                break;
            }
            match receive(&self.shared.tcp, buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) if self.inspect(&buf.filled()[before..]) => return Poll::Ready(Ok(())),
                // The connection sees the refusal as soon as hyper has nothing else to do.
                Ok(()) => buf.set_filled(before),
            }
        }
        Poll::Pending
    }
}

impl AsyncWrite for Socket {
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

    /// Called once everything is written.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.shared.phase() == Phase::Flushing {
            self.shared.enter(Phase::Waiting);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<()>> {
        // A refusal is still to be written.
        Poll::Ready(match self.shared.refusal.get() {
            Some(_) => Ok(()),
            None => SockRef::from(&self.shared.tcp).shutdown(std::net::Shutdown::Write),
        })
    }
}
