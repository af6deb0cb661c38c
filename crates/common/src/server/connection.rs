//! One connection from its first byte to its last: hyper between two clocks, and a watch for the peer's going.
//!
//! Between requests the clocks run (a head must come whole, an idle peer must not stay). While a request is answered
//! nothing runs but hyper; only when hyper has stopped reading is the peer looked at every [`LOOK_EVERY`].

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::ServiceExt as _;

use super::Limits;
use super::refusal::{Refusal, Refusals};
use super::socket::{Phase, Shared, Socket};
use crate::shutdown::Shutdown;

/// Bytes of a connection's read buffer, and what may wait in it to be written.
const MAX_BUFFER_BYTES: usize = 32 * 1024;
/// Header fields in one request.
const MAX_FIELDS: usize = 64;
/// How often a peer is looked at that has sent more than its request; twice within what callers are promised.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long an idle connection is kept in a drain, for a request that is on its way. Its answer says that it is the last.
const DRAIN_IDLE: Duration = Duration::from_secs(1);
/// How long answers may take to leave once the drain is over.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// How long unread input is read and thrown away, so that a last answer arrives before the reset that ends it.
const LINGER: Duration = Duration::from_secs(1);
/// The most bytes that are thrown away so.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// A handler's hold on the connection of its request, among the request's extensions.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Shared>);

impl Connection {
    /// Ends the connection at `at` if its peer then takes nothing of this request's answer. While the peer does take, the
    /// answer's body is asked for more, and keeps its own deadlines.
    pub fn cut_at(&self, at: Instant) {
        self.0.cut_at(Some(at));
    }
}

/// How a connection came to its end.
enum End {
    /// hyper is done: closed, broken, or handed on to another protocol.
    Done(hyper::Result<()>),
    /// The last thing to say.
    Refused(Refusal),
    /// Nothing is owed.
    Close(&'static str),
}

/// Serves `tcp` until either side ends it. Dropping it closes the connection at once.
pub(super) async fn serve(
    tcp: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    refusals: Refusals,
    shutdown: Shutdown,
) {
    let shared = Arc::new(Shared::new(tcp));
    let end = drive(Arc::clone(&shared), peer, router, limits, &shutdown).await;
    // An upgraded socket belongs to its protocol.
    let Some(shared) = Arc::into_inner(shared) else {
        return;
    };
    let unread = shared.has_unread_input();
    let refusal = match end {
        End::Done(Ok(())) => {
            if unread {
                linger(&shared.tcp).await;
            }
            return;
        }
        End::Done(Err(error)) => {
            if shared.refusal().is_none() {
                tracing::debug!(%error, %peer, "a connection broke");
            }
            shared.refusal()
        }
        End::Refused(refusal) => Some(refusal),
        End::Close(reason) => {
            tracing::debug!(reason, %peer, "a connection was closed");
            None
        }
    };
    if let Some(refusal) = refusal {
        refusals.count(refusal);
        tell(&shared.tcp, &refusals.answer(refusal, peer)).await;
    }
}

/// Writes a last answer and closes. It is small and the socket's buffer empty, so that one write takes it.
pub(super) async fn tell(tcp: &TcpStream, answer: &[u8]) {
    if tcp.writable().await.is_ok() && tcp.try_write(answer).is_ok() {
        linger(tcp).await;
    }
}

/// Closes our side and reads on for a while.
async fn linger(tcp: &TcpStream) {
    let _already_closed = SockRef::from(tcp).shutdown(std::net::Shutdown::Write);
    let drain = async {
        // On the heap: an array would be part of every connection's task from its first byte on.
        let (mut n, mut scratch) = (0, vec![0; 4096]);
        while n < MAX_LINGER_BYTES && tcp.ready(Interest::READABLE).await.is_ok() {
            match tcp.try_read(&mut scratch) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
                Ok(more) => n += more,
            }
        }
    };
    let _closed_anyway = tokio::time::timeout(LINGER, drain).await;
}

async fn drive(
    shared: Arc<Shared>,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    shutdown: &Shutdown,
) -> End {
    let (handle, stop) = (Connection(Arc::clone(&shared)), shutdown.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        handle.0.begin_request();
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(handle.clone());
        answer(router.clone(), Arc::clone(&handle.0), request, stop.clone())
    });
    let socket = Socket::new(Arc::clone(&shared), limits.write_stall);
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(MAX_BUFFER_BYTES)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let (mut connection, mut clocks) = (pin!(connection), Clocks::new(limits));
    let (mut draining, mut closing) = (pin!(shutdown.draining()), pin!(shutdown.closing()));
    let mut listens = false;
    poll_fn(move |cx| {
        if !listens {
            // Polled once: both wake this task, whose waker stays the same.
            listens = true;
            let _later = (draining.as_mut().poll(cx), closing.as_mut().poll(cx));
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(End::Done(ended));
        }
        if shared.phase() == Phase::Waiting
            && let Some(refusal) = shared.refusal()
        {
            return Poll::Ready(End::Refused(refusal));
        }
        clocks.poll(cx, &shared, shutdown)
    })
    .await
}

/// One request through the router.
async fn answer(
    router: Router,
    shared: Arc<Shared>,
    request: Request<Incoming>,
    shutdown: Shutdown,
) -> Result<Response<Answer>, Infallible> {
    // Where such a request ends is not known to `Framing`, so that none may follow it.
    let last = request.headers().contains_key(TRANSFER_ENCODING)
        || request.headers().contains_key(UPGRADE);
    let mut response = router.oneshot(request.map(Body::new)).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        shared.enter(Phase::Upgraded);
    } else if last || shutdown.is_draining() {
        // Said, not only done: a peer that does not know it would send its next request into the closing.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Answer { body, shared }))
}

/// An answer's body, which says when it is over.
struct Answer {
    body: Body,
    shared: Arc<Shared>,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.shared.end_answer();
    }
}

/// What a connection waits for, which says how long it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The rest of a head, or any head at all on a new connection.
    Head,
    /// Another request.
    Next,
    /// The end of an answer.
    Answer,
}

struct Clocks {
    limits: Limits,
    wait: Wait,
    n_requests: usize,
    since: Instant,
    drain_began: Option<Instant>,
    close_began: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
}

impl Clocks {
    fn new(limits: Limits) -> Self {
        let now = Instant::now();
        let alarm = Box::pin(sleep_until(now + limits.header_timeout));
        Self {
            limits,
            wait: Wait::Head,
            n_requests: 0,
            since: now,
            drain_began: None,
            close_began: None,
            alarm,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared, shutdown: &Shutdown) -> Poll<End> {
        let (phase, closing) = (shared.phase(), shutdown.is_closing());
        let n_requests = shared.n_requests();
        let wait = match phase {
            Phase::Upgraded => return Poll::Pending,
            Phase::Busy | Phase::Flushing if shared.reads() && !closing => {
                self.wait = Wait::Answer;
                return Poll::Pending;
            }
            Phase::Busy | Phase::Flushing => Wait::Answer,
            Phase::Waiting if n_requests == 0 || shared.is_mid_head() => Wait::Head,
            Phase::Waiting => Wait::Next,
        };
        let now = Instant::now();
        if (wait, n_requests) != (self.wait, self.n_requests) {
            (self.wait, self.n_requests, self.since) = (wait, n_requests, now);
        }
        if shutdown.is_draining() {
            self.drain_began.get_or_insert(now);
        }
        if closing {
            self.close_began.get_or_insert(now);
            if wait != Wait::Answer {
                return Poll::Ready(End::Close("the service ends"));
            }
        }
        loop {
            let due = self.due(wait);
            if self.alarm.deadline() != due {
                self.alarm.as_mut().reset(due);
            }
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if wait != Wait::Answer {
                let half_a_head = shared.is_mid_head() && self.drain_began.is_none();
                return Poll::Ready(if half_a_head {
                    End::Refused(Refusal::HEADER_TIMEOUT)
                } else {
                    End::Close("idle")
                });
            }
            if shared.is_peer_gone() {
                return Poll::Ready(End::Close("the peer has gone"));
            }
            if self
                .close_began
                .is_some_and(|began| began + CLOSE_GRACE <= now)
            {
                return Poll::Ready(End::Close("the service ends"));
            }
            self.since = now;
        }
    }

    /// When this wait is over.
    fn due(&self, wait: Wait) -> Instant {
        let due = match wait {
            Wait::Head => self.since + self.limits.header_timeout,
            Wait::Next => self.since + self.limits.idle_timeout,
            Wait::Answer => return self.since + LOOK_EVERY,
        };
        self.drain_began
            .map_or(due, |began| due.min(began.max(self.since) + DRAIN_IDLE))
    }
}
