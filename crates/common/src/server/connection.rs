//! One connection from its first byte to its last: hyper, two clocks, and a watch for a peer that leaves.
//!
//! The clocks run between requests: a head must arrive whole, and an idle peer must not stay. While a request is answered
//! hyper notices a peer that leaves. Only when hyper has stopped reading is the peer probed, every [`PROBE_EVERY`].

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

use super::ListenerLimits;
use super::refusal::{HeadRefusal, Refusals};
use super::socket::{ConnectionPhase, ConnectionState, WatchedSocket};
use crate::shutdown::Shutdown;

/// Bytes of a connection's read buffer, and what may wait in it to be written.
const MAX_BUFFER_BYTES: usize = 32 * 1024;
/// Header fields in one request.
const MAX_FIELDS: usize = 64;
/// How often a peer is probed that has sent more than its request. Callers are promised that leaving frees their slot
/// within 50 ms.
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// How long an idle connection is kept in a drain, for a request on its way. The answer says that it is the last.
const DRAIN_IDLE: Duration = Duration::from_secs(1);
/// How long answers may take to leave once the drain is over.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// How long unread input is read and dropped. Closing with input unread resets the connection, and a reset overtakes the
/// last answer.
const LINGER: Duration = Duration::from_secs(1);
/// The most bytes that are dropped in that time.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// The connection of a request, for its handler; it is one of the request's extensions.
#[derive(Clone, Debug)]
pub struct ClientConnection(Arc<ConnectionState>);

impl ClientConnection {
    /// Ends the connection at `at` if the peer takes nothing of this request's answer then. A peer that does take keeps the
    /// answer's body busy, which has deadlines of its own.
    pub fn cut_at(&self, at: Instant) {
        self.0.cut_at(Some(at));
    }
}

/// How a connection ended.
enum ConnectionEnd {
    /// hyper is done: the connection is closed, broken, or handed to another protocol.
    Done(hyper::Result<()>),
    /// A refusal is still to be written.
    Refused(HeadRefusal),
    /// The peer is owed nothing. The reason is for the log.
    Close(&'static str),
}

/// Serves `tcp` until either side ends it. Dropping the future closes the connection at once.
pub(super) async fn serve(
    tcp: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: ListenerLimits,
    refusals: Refusals,
    shutdown: Shutdown,
) {
    let state = Arc::new(ConnectionState::new(tcp));
    let end = drive(Arc::clone(&state), peer, router, limits, &shutdown).await;
    // An upgraded socket belongs to its protocol.
    let Some(state) = Arc::into_inner(state) else {
        return;
    };
    let unread = state.has_unread_input();
    let refusal = match end {
        ConnectionEnd::Done(Ok(())) => {
            if unread {
                linger(&state.tcp).await;
            }
            return;
        }
        ConnectionEnd::Done(Err(error)) => {
            if state.refusal().is_none() {
                tracing::debug!(%error, %peer, "a connection broke");
            }
            state.refusal()
        }
        ConnectionEnd::Refused(refusal) => Some(refusal),
        ConnectionEnd::Close(reason) => {
            tracing::debug!(reason, %peer, "a connection was closed");
            None
        }
    };
    if let Some(refusal) = refusal {
        refusals.count(refusal);
        tell(&state.tcp, &refusals.answer(refusal, peer)).await;
    }
}

/// Writes a last answer and closes. The answer is small and the socket's buffer empty: one write takes it.
pub(super) async fn tell(tcp: &TcpStream, answer: &[u8]) {
    if tcp.writable().await.is_ok() && tcp.try_write(answer).is_ok() {
        linger(tcp).await;
    }
}

/// Closes our side and reads on for a while, see [`LINGER`].
async fn linger(tcp: &TcpStream) {
    // It fails when the peer has closed already.
    drop(SockRef::from(tcp).shutdown(std::net::Shutdown::Write));
    let drain = async {
        let mut n = 0;
        // On the heap, because an array would make the task of every connection larger.
        let mut scratch = vec![0; 4096];
        while n < MAX_LINGER_BYTES && tcp.ready(Interest::READABLE).await.is_ok() {
            match tcp.try_read(&mut scratch) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
                Ok(more) => n += more,
            }
        }
    };
    // The connection is closed after this time in any case.
    drop(tokio::time::timeout(LINGER, drain).await);
}

async fn drive(
    state: Arc<ConnectionState>,
    peer: SocketAddr,
    router: Router,
    limits: ListenerLimits,
    shutdown: &Shutdown,
) -> ConnectionEnd {
    let handle = ClientConnection(Arc::clone(&state));
    let stop = shutdown.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        handle.0.begin_request();
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(handle.clone());
        answer(router.clone(), Arc::clone(&handle.0), request, stop.clone())
    });
    let socket = WatchedSocket::new(Arc::clone(&state), limits.write_stall);
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(MAX_BUFFER_BYTES)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut clocks = Clocks::new(limits);
    let mut draining = pin!(shutdown.draining());
    let mut closing = pin!(shutdown.closing());
    let mut is_told_of_shutdown = false;
    poll_fn(move |cx| {
        if !is_told_of_shutdown {
            // One poll is enough for both to wake this task, because its waker stays the same. The clocks ask what came.
            is_told_of_shutdown = true;
            let _ = (draining.as_mut().poll(cx), closing.as_mut().poll(cx));
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ConnectionEnd::Done(ended));
        }
        if state.phase() == ConnectionPhase::Waiting
            && let Some(refusal) = state.refusal()
        {
            return Poll::Ready(ConnectionEnd::Refused(refusal));
        }
        clocks.poll(cx, &state, shutdown)
    })
    .await
}

/// One request through the router.
async fn answer(
    router: Router,
    state: Arc<ConnectionState>,
    request: Request<Incoming>,
    shutdown: Shutdown,
) -> Result<Response<AnswerBody>, Infallible> {
    // Only hyper knows where such a request ends, so the next head would go unchecked: none may follow.
    let last = request.headers().contains_key(TRANSFER_ENCODING)
        || request.headers().contains_key(UPGRADE);
    let mut response = router.oneshot(request.map(Body::new)).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        state.enter(ConnectionPhase::Upgraded);
    } else if last || shutdown.is_draining() {
        // A peer that is not told would send its next request into the closing connection.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| AnswerBody { body, state }))
}

/// An answer's body, which tells the connection when it is over.
struct AnswerBody {
    body: Body,
    state: Arc<ConnectionState>,
}

impl hyper::body::Body for AnswerBody {
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

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.state.end_answer();
    }
}

/// What a connection waits for. Each has a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AwaitedInput {
    /// The rest of a head, or any head at all on a new connection.
    Head,
    /// Another request.
    Next,
    /// The end of an answer.
    Answer,
}

struct Clocks {
    limits: ListenerLimits,
    wait: AwaitedInput,
    n_requests: usize,
    since: Instant,
    drain_began: Option<Instant>,
    close_began: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
}

impl Clocks {
    fn new(limits: ListenerLimits) -> Self {
        let now = Instant::now();
        let alarm = Box::pin(sleep_until(now + limits.header_timeout));
        Self {
            limits,
            wait: AwaitedInput::Head,
            n_requests: 0,
            since: now,
            drain_began: None,
            close_began: None,
            alarm,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        state: &ConnectionState,
        shutdown: &Shutdown,
    ) -> Poll<ConnectionEnd> {
        let phase = state.phase();
        let closing = shutdown.is_closing();
        let n_requests = state.n_requests();
        let wait = match phase {
            ConnectionPhase::Upgraded => return Poll::Pending,
            ConnectionPhase::Busy | ConnectionPhase::Flushing if state.reads() && !closing => {
                self.wait = AwaitedInput::Answer;
                return Poll::Pending;
            }
            ConnectionPhase::Busy | ConnectionPhase::Flushing => AwaitedInput::Answer,
            ConnectionPhase::Waiting if n_requests == 0 || state.is_mid_head() => {
                AwaitedInput::Head
            }
            ConnectionPhase::Waiting => AwaitedInput::Next,
        };
        let now = Instant::now();
        if (wait, n_requests) != (self.wait, self.n_requests) {
            self.wait = wait;
            self.n_requests = n_requests;
            self.since = now;
        }
        if shutdown.is_draining() {
            self.drain_began.get_or_insert(now);
        }
        if closing {
            self.close_began.get_or_insert(now);
            if wait != AwaitedInput::Answer {
                return Poll::Ready(ConnectionEnd::Close("the service ends"));
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
            if wait != AwaitedInput::Answer {
                let half_a_head = state.is_mid_head() && self.drain_began.is_none();
                return Poll::Ready(if half_a_head {
                    ConnectionEnd::Refused(HeadRefusal::HEADER_TIMEOUT)
                } else {
                    ConnectionEnd::Close("idle")
                });
            }
            if state.is_peer_gone() {
                return Poll::Ready(ConnectionEnd::Close("the peer has gone"));
            }
            if self
                .close_began
                .is_some_and(|began| began + CLOSE_GRACE <= now)
            {
                return Poll::Ready(ConnectionEnd::Close("the service ends"));
            }
            self.since = now;
        }
    }

    /// When this wait is over.
    fn due(&self, wait: AwaitedInput) -> Instant {
        let due = match wait {
            AwaitedInput::Head => self.since + self.limits.header_timeout,
            AwaitedInput::Next => self.since + self.limits.idle_timeout,
            AwaitedInput::Answer => return self.since + PROBE_EVERY,
        };
        self.drain_began
            .map_or(due, |began| due.min(began.max(self.since) + DRAIN_IDLE))
    }
}
