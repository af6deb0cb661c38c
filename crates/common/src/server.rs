//! The accept loop of every listener. `axum::serve` has no header timeout and no connection cap, and one open stream blocks
//! its graceful shutdown for ever. This loop has both, and leaves the deadline to [`Shutdown`].
//!
//! It speaks HTTP/1.1 only, with upgrades for WebSocket. A handler's future is dropped as soon as its client leaves; a
//! client that has closed its sending side counts as gone. A bad head is answered in the OpenAI error shape.

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

pub use connection::ClientConnection;
pub use refusal::Refusals;

use crate::shutdown::Shutdown;
use refusal::HeadRefusal;

/// How long the accept loop rests after `accept` failed (out of descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel keeps until we accept them, or its own bound where that is smaller. A client beyond it tries
/// again after a second.
const BACKLOG: i32 = 4096;
/// Connections beyond the cap that get an answer at the same time; further ones are only closed.
const MAX_REFUSALS: usize = 64;
/// Descriptors for all but connections: listeners, logs, the runtime, probes, refusals.
const SPARE_DESCRIPTORS: usize = 128;
/// How long a peer may be silent before the kernel probes it.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
/// The time between two such probes.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// The probes without an answer after which the peer counts as gone.
const KEEPALIVE_RETRIES: u32 = 3;

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenerLimits {
    /// From the first byte of a request's head, or from the start of the connection, to the end of that head.
    pub header_timeout: Duration,
    /// From the end of an answer to the first byte of the next request.
    pub idle_timeout: Duration,
    /// Connections open at once, fewer where descriptors are scarce. Further ones are answered 503 and closed.
    pub max_connections: usize,
    /// How long a peer, its program or its kernel, may take nothing of what is written to it.
    pub write_stall: Duration,
}

impl Default for ListenerLimits {
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

/// Listening sockets that whoever started this process handed over, as systemd's socket units do (`LISTEN_FDS`). They
/// outlive the process, so a restart turns no caller away.
pub struct Inherited {
    sockets: ListenFd,
    n_taken: usize,
}

impl Inherited {
    /// Takes the sockets; usually there are none.
    #[must_use]
    pub fn take() -> Self {
        Self {
            sockets: ListenFd::from_env(),
            n_taken: 0,
        }
    }

    /// Returns the next socket that was handed over, or a new one bound to `address`.
    ///
    /// # Errors
    ///
    /// As [`bind`], or when the socket that was handed over is no listening TCP socket.
    pub async fn listener(
        &mut self,
        variable: &str,
        address: SocketAddr,
    ) -> Result<TcpListener, String> {
        let number = self.n_taken;
        self.n_taken += 1;
        let inherited = self.sockets.take_tcp_listener(number).and_then(|socket| {
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
                "{variable}: socket {number} of LISTEN_FDS cannot be used: {error}"
            )),
        }
    }
}

/// Serves `router` on `listener` until the drain begins; connections then finish their current answer.
/// Handlers find the peer as `ConnectInfo<SocketAddr>` and their [`ClientConnection`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ListenerLimits,
    refusals: Refusals,
    shutdown: Shutdown,
) {
    if let Err(error) = prepare(&listener, &limits) {
        tracing::warn!(%error, "cannot set the socket's options: peers that vanish will be noticed late");
    }
    let n_connections = limits.max_connections.min(affordable(descriptors()));
    let door = Door {
        connections: Arc::new(Semaphore::new(n_connections)),
        refused: Arc::new(Semaphore::new(MAX_REFUSALS)),
        router,
        limits,
        refusals,
        shutdown,
    };
    loop {
        let accepted = tokio::select! {
            () = door.shutdown.draining() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => door.admit(stream, peer),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // The kernel has already accepted these; closing the listener would reset them.
    for _ in 0..BACKLOG {
        let next = std::future::poll_fn(|cx| Poll::Ready(listener.poll_accept(cx)));
        // Otherwise tokio's budget for a task would end this after 128 connections.
        let Poll::Ready(Ok((stream, peer))) = tokio::task::unconstrained(next).await else {
            break;
        };
        door.admit(stream, peer);
    }
}

/// Lets connections in while there is room.
struct Door {
    connections: Arc<Semaphore>,
    /// Connections beyond the cap that are being answered.
    refused: Arc<Semaphore>,
    router: Router,
    limits: ListenerLimits,
    refusals: Refusals,
    shutdown: Shutdown,
}

impl Door {
    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        if let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() {
            let connection = connection::serve(
                stream,
                peer,
                self.router.clone(),
                self.limits,
                self.refusals.clone(),
                self.shutdown.clone(),
            );
            self.shutdown.spawn(async move {
                connection.await;
                drop(permit);
            });
            return;
        }
        self.refusals.count(HeadRefusal::NO_ROOM);
        if let Ok(permit) = Arc::clone(&self.refused).try_acquire_owned() {
            let answer = self.refusals.answer(HeadRefusal::NO_ROOM, peer);
            self.shutdown.spawn(async move {
                connection::tell(&stream, &answer).await;
                drop(permit);
            });
        }
    }
}

/// Raises the limit of descriptors as far as this process may, and returns it.
fn descriptors() -> usize {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // Where it cannot be raised, the old limit is read below.
    setrlimit(Resource::Nofile, raised).ok();
    let current = getrlimit(Resource::Nofile).current;
    current
        .and_then(|current| current.try_into().ok())
        .unwrap_or(usize::MAX)
}

/// How many connections may be open with so many descriptors. Each may need a second one, for the next service, and running
/// out of descriptors must not look like that service's failure.
fn affordable(n_descriptors: usize) -> usize {
    (n_descriptors.saturating_sub(SPARE_DESCRIPTORS) / 2).max(1)
}

/// Sets the backlog, and what accepted sockets inherit: no waiting for full packets, and probes of silent peers.
fn prepare(listener: &TcpListener, limits: &ListenerLimits) -> std::io::Result<()> {
    let socket = SockRef::from(listener);
    socket.listen(BACKLOG)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_RETRIES))?;
    // Also bounds the time of the probes, and of a peer that keeps its window shut.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(limits.write_stall))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use socket2::SockRef;
    use tokio::net::{TcpListener, TcpStream};

    use super::{ListenerLimits, affordable, prepare};

    #[test]
    fn a_process_with_few_descriptors_takes_few_connections() {
        assert_eq!(
            [0, 128, 256, 1024, 20_128].map(affordable),
            [1, 1, 64, 448, 10_000]
        );
    }

    #[tokio::test]
    async fn a_silent_peer_is_probed_and_given_up_after_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        prepare(&listener, &ListenerLimits::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let peer = TcpStream::connect(address).await.unwrap();
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
        drop(peer);
    }
}
