//! The accept loop of every listener. `axum::serve` has no header timeout, no connection cap and a graceful shutdown
//! that a single open stream blocks for ever; this one has the first two and leaves the deadline to [`Shutdown`].
//!
//! HTTP/1.1 only, with upgrades for WebSocket. A handler's future is dropped as soon as its client is gone, and a client
//! that has closed its sending side is gone. A head that is not acceptable is answered in the OpenAI error shape.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use listenfd::ListenFd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

mod connection;
mod framing;
mod refusal;
mod socket;

pub use connection::Connection;
pub use refusal::Refusals;

use crate::shutdown::Shutdown;
use refusal::Refusal;

/// How long the accept loop rests after `accept` failed (out of descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel keeps for us while we accept others; it takes its own bound where that is smaller. A burst
/// beyond it waits a second or more, for its second try.
const BACKLOG: i32 = 4096;
/// Connections beyond the cap that are told so at once; further ones are closed without a word.
const MAX_REFUSALS: usize = 64;
/// Descriptors for everything but connections: listeners, logs, the runtime, probes, refusals.
const SPARE_DESCRIPTORS: usize = 128;
/// Silence after which the kernel asks a peer whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
/// Between two such questions.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// Questions without an answer after which the peer has gone.
const KEEPALIVE_RETRIES: u32 = 3;

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first byte of a request's head, or from the opening of the connection, to the end of that head.
    pub header_timeout: Duration,
    /// From the end of an answer to the first byte of the next request.
    pub idle_timeout: Duration,
    /// Connections open at once, fewer where descriptors are scarce; further ones are answered 503 and closed.
    pub max_connections: usize,
    /// How long a peer may take nothing of what is written to it, in its program or in its kernel.
    pub write_stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_connections: 10_000,
            write_stall: Duration::from_secs(60),
        }
    }
}

/// Binds `address`.
///
/// # Errors
///
/// With a sentence that names the variable and what to do: the port is taken, or the address is not this machine's.
pub async fn bind(variable: &str, address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!(
                "{variable}: {address} is taken by another process; stop it or set {variable} to a free port"
            )
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("{variable}: this user may not listen on {address}; choose a port above 1023")
        }
        _ => format!("{variable}: cannot listen on {address}: {error}"),
    })
}

/// Listening sockets that the starter of this process handed over, as systemd's socket units do (`LISTEN_FDS`): they
/// outlive the process, so that one that is started anew keeps no caller out.
pub struct Inherited {
    sockets: ListenFd,
    n_taken: usize,
}

impl Inherited {
    /// What there is; nothing, as a rule.
    #[must_use]
    pub fn take() -> Self {
        Self {
            sockets: ListenFd::from_env(),
            n_taken: 0,
        }
    }

    /// The next socket that was handed over, or a new one bound to `address`.
    ///
    /// # Errors
    ///
    /// As [`bind`], or when what was handed over is no listening TCP socket.
    pub async fn listener(
        &mut self,
        variable: &str,
        address: SocketAddr,
    ) -> Result<TcpListener, String> {
        let place = self.n_taken;
        self.n_taken += 1;
        let inherited = self.sockets.take_tcp_listener(place).and_then(|socket| {
            let listener = socket.map(|socket| {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)
            });
            listener.transpose()
        });
        match inherited {
            Ok(Some(listener)) => Ok(listener),
            Ok(None) => bind(variable, address).await,
            Err(error) => Err(format!(
                "{variable}: socket {place} of LISTEN_FDS cannot be used: {error}"
            )),
        }
    }
}

/// Serves `router` on `listener` until the drain begins; connections then finish their current answer.
/// Handlers find the peer as `ConnectInfo<SocketAddr>` and their [`Connection`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    refusals: Refusals,
    shutdown: Shutdown,
) {
    if let Err(error) = prepare(&listener, &limits) {
        tracing::warn!(%error, "peers that vanish will be noticed late: the socket's options cannot be set");
    }
    let n_connections = limits.max_connections.min(affordable(descriptors()));
    let (room, told) = (
        Arc::new(Semaphore::new(n_connections)),
        Arc::new(Semaphore::new(MAX_REFUSALS)),
    );
    let admit = |stream: TcpStream, peer: SocketAddr| {
        if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
            let (router, refusals) = (router.clone(), refusals.clone());
            let connection =
                connection::serve(stream, peer, router, limits, refusals, shutdown.clone());
            shutdown.spawn(async move {
                connection.await;
                drop(permit);
            });
            return;
        }
        refusals.count(Refusal::NO_ROOM);
        if let Ok(permit) = Arc::clone(&told).try_acquire_owned() {
            let answer = refusals.answer(Refusal::NO_ROOM, peer);
            shutdown.spawn(async move {
                connection::tell(&stream, &answer).await;
                drop(permit);
            });
        }
    };
    loop {
        let accepted = tokio::select! {
            () = shutdown.draining() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Whoever the kernel has already let in is served; closing the listener would reset them.
    for _ in 0..BACKLOG {
        let next = std::future::poll_fn(|cx| Poll::Ready(listener.poll_accept(cx)));
        // A task that tokio holds to its share is told after 128 that there are no more.
        let Poll::Ready(Ok((stream, peer))) = tokio::task::unconstrained(next).await else {
            break;
        };
        admit(stream, peer);
    }
}

/// How many descriptors this process may have, after asking for as many as it may ask for.
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _what_there_is_must_do = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    let current = getrlimit(Resource::Nofile).current;
    current
        .and_then(|current| current.try_into().ok())
        .unwrap_or(usize::MAX)
}

/// How many connections may be open with so many descriptors: each may need a second one to answer, towards the next
/// service, and running out of them must not look like that one's failure.
fn affordable(n_descriptors: usize) -> usize {
    (n_descriptors.saturating_sub(SPARE_DESCRIPTORS) / 2).max(1)
}

/// Sets the backlog, and what every accepted socket inherits: no waiting for full packets, and questions to peers that fall silent.
fn prepare(listener: &TcpListener, limits: &Limits) -> std::io::Result<()> {
    let socket = SockRef::from(listener);
    socket.listen(BACKLOG)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_RETRIES))?;
    // Also bounds the questions, and the wait of a peer whose window stays shut.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(limits.write_stall))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use socket2::SockRef;
    use tokio::net::{TcpListener, TcpStream};

    use super::{Limits, affordable, prepare};

    #[test]
    fn a_process_with_few_descriptors_takes_few_connections() {
        assert_eq!(
            [0, 128, 256, 1024, 20_128].map(affordable),
            [1, 1, 64, 448, 10_000]
        );
    }

    #[tokio::test]
    async fn an_accepted_socket_asks_a_silent_peer_and_gives_it_up_after_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        prepare(&listener, &Limits::default()).unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(15)
        );
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(5)
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(60))
        );
    }
}
