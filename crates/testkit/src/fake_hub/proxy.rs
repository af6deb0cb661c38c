//! A forward proxy as companies have them: absolute-form requests for HTTP, `CONNECT` for HTTPS.
//!
//! To it every name is this machine, so that a test's server can have a name that nothing else knows: what reaches it
//! came through the proxy.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// One request as the proxy saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// `CONNECT`, `GET` or `HEAD`.
    pub method: String,
    /// The host and port that were asked for.
    pub target: String,
    /// The whole head, with its headers.
    pub head: String,
}

/// A running forward proxy; it stops when dropped.
#[derive(Debug)]
pub struct ForwardProxy {
    address: SocketAddr,
    passed: Arc<Mutex<Vec<Passed>>>,
    _running: DropGuard,
}

impl ForwardProxy {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When no port can be bound.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, stop, tasks) = (
            listener.local_addr()?,
            CancellationToken::new(),
            TaskTracker::new(),
        );
        let passed = Arc::new(Mutex::new(Vec::new()));
        let (log, ended, connections) = (Arc::clone(&passed), stop.clone(), tasks.clone());
        tasks.spawn(async move {
            let accept = async {
                while let Ok((client, _)) = listener.accept().await {
                    let (log, ended) = (Arc::clone(&log), ended.clone());
                    connections
                        .spawn(async move { ended.run_until_cancelled(pass(client, &log)).await });
                }
            };
            ended.run_until_cancelled(accept).await
        });
        Ok(Self {
            address,
            passed,
            _running: stop.drop_guard(),
        })
    }

    /// The value for `HTTP_PROXY` and `HTTPS_PROXY`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, oldest first.
    #[must_use]
    pub fn passed(&self) -> Vec<Passed> {
        self.passed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// One connection: a tunnel, or one request after which it is closed.
async fn pass(mut client: TcpStream, log: &Mutex<Vec<Passed>>) -> io::Result<()> {
    let head = head(&mut client).await?;
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let (line, headers) = head.split_once("\r\n").ok_or_else(malformed)?;
    let [method, target, _] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(malformed());
    };
    let (authority, path) = match target.strip_prefix("http://") {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => (target, ""),
    };
    let passed = Passed {
        method: method.to_owned(),
        target: authority.to_owned(),
        head: head.clone(),
    };
    log.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(passed);
    let port = authority
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok());
    let mut server = TcpStream::connect(("127.0.0.1", port.ok_or_else(malformed)?)).await?;
    if method == "CONNECT" {
        client
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .await?;
    } else {
        let forwarded = format!("{method} /{path} HTTP/1.1\r\nConnection: close\r\n{headers}");
        server.write_all(forwarded.as_bytes()).await?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut server)
        .await
        .map(drop)
}

/// What comes up to the empty line; a client sends nothing behind it before it is answered.
async fn head(client: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if bytes.len() >= MAX_HEAD_BYTES || client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    String::from_utf8(bytes).map_err(io::Error::other)
}
