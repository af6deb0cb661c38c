//! A scripted Hugging Face Hub: two origins (the Hub and its CDN), real headers and error codes, faults on demand.
//!
//! A file's bytes come from memory or from disk, never copied whole. Every request is recorded, so that a test can say
//! what was asked, of whom, and with which credentials. Nothing is in Xet storage until [`FakeHub::attach_xet`].

mod body;
mod proxy;
mod routes;
mod script;
mod tls;
mod xet;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use proxy::{ForwardProxy, Passed};
pub use script::{Fault, On};
pub use tls::Authority;
pub use xet::XetFiles;

/// Where a file's bytes are.
#[derive(Clone, Debug)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// On disk; read as it is served.
    Path(PathBuf),
}

/// One file of the repository.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path in the repository.
    pub name: String,
    /// Its bytes.
    pub content: Content,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, as 64 hexadecimal digits.
    pub sha256: String,
    /// Whether it is stored by LFS: large, behind a redirect to the CDN, with its digest in the headers.
    pub lfs: bool,
}

impl File {
    /// A large file (LFS) from memory.
    #[must_use]
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Self {
        let (size, sha256) = (bytes.len() as u64, body::sha256(&bytes));
        Self {
            name: name.to_owned(),
            content: Content::Bytes(bytes.into()),
            size,
            sha256,
            lfs: true,
        }
    }

    /// A large file (LFS) from disk; it is read once now, for its digest.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn from_path(name: &str, path: PathBuf) -> std::io::Result<Self> {
        let (size, sha256) = body::sha256_of_file(&path)?;
        Ok(Self {
            name: name.to_owned(),
            content: Content::Path(path),
            size,
            sha256,
            lfs: true,
        })
    }
}

/// The one repository of a [`FakeHub`].
#[derive(Clone, Debug)]
pub struct Repository {
    /// `owner/name`.
    pub id: String,
    /// What `main` points to, as 40 hexadecimal digits.
    pub commit: String,
    /// Whether downloads need a token whose owner accepted the licence.
    pub gated: bool,
    /// Its files.
    pub files: Vec<File>,
}

/// A token that the Hub knows; every other one is answered with 401.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token's text.
    pub text: String,
    /// Whether its owner accepted the licence of the gated repository.
    pub accepted: bool,
}

/// Which of the origins a request reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The Hub itself: the only one that may see a token.
    Hub,
    /// The store of bytes that the Hub redirects to.
    Cdn,
    /// The Xet storage.
    Cas,
}

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which origin it reached.
    pub origin: Origin,
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path without the query, as sent.
    pub path: String,
    /// Whether it carried an `Authorization` header.
    pub authorization: bool,
    /// Whether one of its headers held a token of the Hub.
    pub token: bool,
    /// Its `Range` header.
    pub range: Option<String>,
}

/// What the origins share.
#[derive(Debug)]
struct Shared {
    repository: Repository,
    tokens: Vec<Token>,
    scheme: &'static str,
    cdn_port: u16,
    advertised_host: Option<String>,
    requests: watch::Sender<Vec<Request>>,
    served: watch::Sender<u64>,
    xorbs_served: watch::Sender<u64>,
    xet: Mutex<Option<xet::Xet>>,
    sent: Mutex<Vec<Range<u64>>>,
    script: Mutex<script::Script>,
    log_requests: bool,
}

impl Shared {
    fn script(&self) -> std::sync::MutexGuard<'_, script::Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self) -> std::sync::MutexGuard<'_, Vec<Range<u64>>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a new body that begins at `start` of its file; the returned number names it.
    fn begin_sending(&self, start: u64) -> usize {
        let mut sent = self.sent();
        sent.push(start..start);
        sent.len() - 1
    }

    /// Notes that the body was sent up to `end` of its file.
    fn note_sent(&self, body: usize, end: u64) {
        self.sent()[body].end = end;
    }
}

/// How a [`FakeHub`] listens, where the defaults of [`FakeHub::start`] do not do.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The Hub's address.
    pub hub: SocketAddr,
    /// The CDN's address.
    pub cdn: SocketAddr,
    /// The host in redirects to the CDN; by default the host that the request named.
    pub advertised_host: Option<String>,
    /// Whether each request is printed on standard error, as one JSON line.
    pub log_requests: bool,
    /// Who vouches for both origins; then they speak HTTPS only.
    pub tls: Option<Authority>,
}

impl Default for Listening {
    fn default() -> Self {
        let any = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0);
        Self {
            hub: any,
            cdn: any,
            advertised_host: None,
            log_requests: false,
            tls: None,
        }
    }
}

/// A running Hub; it stops when dropped.
#[derive(Debug)]
pub struct FakeHub {
    hub: SocketAddr,
    cdn: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    _running: DropGuard,
}

impl FakeHub {
    /// Serves `repository` on two free ports of 127.0.0.1, to anyone, or to the `tokens` when it is gated.
    ///
    /// # Errors
    ///
    /// When no port can be bound.
    pub async fn start(repository: Repository, tokens: Vec<Token>) -> std::io::Result<Self> {
        Self::start_on(repository, tokens, Listening::default()).await
    }

    /// As [`FakeHub::start`], listening as told.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound.
    pub async fn start_on(
        repository: Repository,
        tokens: Vec<Token>,
        listening: Listening,
    ) -> std::io::Result<Self> {
        let hub_listener = TcpListener::bind(listening.hub).await?;
        let cdn_listener = TcpListener::bind(listening.cdn).await?;
        let (hub, cdn) = (hub_listener.local_addr()?, cdn_listener.local_addr()?);
        let shared = Arc::new(Shared {
            repository,
            tokens,
            scheme: if listening.tls.is_some() {
                "https"
            } else {
                "http"
            },
            cdn_port: cdn.port(),
            advertised_host: listening.advertised_host,
            requests: watch::Sender::default(),
            served: watch::Sender::default(),
            xorbs_served: watch::Sender::default(),
            xet: Mutex::default(),
            sent: Mutex::default(),
            script: Mutex::default(),
            log_requests: listening.log_requests,
        });
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let servers = [
            (
                hub_listener,
                Router::new()
                    .fallback(routes::hub)
                    .with_state(Arc::clone(&shared)),
            ),
            (
                cdn_listener,
                Router::new()
                    .fallback(routes::cdn)
                    .with_state(Arc::clone(&shared)),
            ),
        ];
        for (listener, router) in servers {
            let (stop, tls) = (
                stop.clone(),
                listening.tls.as_ref().map(Authority::acceptor),
            );
            tasks.spawn(async move {
                let serve = async {
                    match tls {
                        None => axum::serve(listener, router).await,
                        Some(acceptor) => {
                            axum::serve(tls::Listener::new(listener, acceptor), router).await
                        }
                    }
                };
                tokio::select! {
                    _ = serve => {}
                    () = stop.cancelled() => {}
                }
            });
        }
        Ok(Self {
            hub,
            cdn,
            shared,
            stop: stop.clone(),
            _running: stop.drop_guard(),
        })
    }

    /// From now on the files of `storage` are also in Xet storage, as most large files of the real Hub are.
    ///
    /// # Errors
    ///
    /// When no port can be bound.
    pub async fn attach_xet(&self, storage: XetFiles) -> std::io::Result<()> {
        let listener = TcpListener::bind(SocketAddr::new(self.hub.ip(), 0)).await?;
        let front = listener.local_addr()?;
        let router = Router::new()
            .fallback(xet::cas)
            .with_state(Arc::clone(&self.shared));
        let mut place = self
            .shared
            .xet
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Some(xet::Xet::new(storage, front));
        let stop = self.stop.clone();
        TaskTracker::new().spawn(stop.run_until_cancelled_owned(async move {
            axum::serve(listener, router).await.ok();
        }));
        Ok(())
    }

    /// The value for `HF_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.shared.scheme, self.hub)
    }

    /// The Hub's address.
    #[must_use]
    pub fn hub_address(&self) -> SocketAddr {
        self.hub
    }

    /// The CDN's address.
    #[must_use]
    pub fn cdn_address(&self) -> SocketAddr {
        self.cdn
    }

    /// The repository as it is served.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.shared.repository
    }

    /// The next requests of that kind meet these faults, one each.
    pub fn next(&self, on: On, faults: impl IntoIterator<Item = Fault>) {
        self.shared.script().push(on, faults);
    }

    /// Every request of that kind meets this fault, on top of what [`FakeHub::next`] scripted.
    pub fn always(&self, on: On, fault: Fault) {
        self.shared.script().always(on, fault);
    }

    /// Ends all scripted faults.
    pub fn behave(&self) {
        self.shared.script().clear();
    }

    /// Every request so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.borrow().clone()
    }

    /// Bytes of xorbs sent so far by the Xet storage. [`FakeHub::bytes_served`] counts them too.
    #[must_use]
    pub fn xorb_bytes_served(&self) -> u64 {
        *self.shared.xorbs_served.borrow()
    }

    /// Bytes of files sent so far, over all origins.
    #[must_use]
    pub fn bytes_served(&self) -> u64 {
        *self.shared.served.borrow()
    }

    /// What was sent of each body so far, as ranges of its file, oldest first. Bodies of whole files and of ranges alike, over
    /// plain HTTPS.
    #[must_use]
    pub fn sent(&self) -> Vec<Range<u64>> {
        self.shared.sent().clone()
    }

    /// Waits until that many bytes of files were sent. Cancel-safe.
    pub async fn until_served(&self, n_bytes: u64) {
        let mut served = self.shared.served.subscribe();
        // The Hub keeps the sender, so the wait ends with the number.
        served.wait_for(|served| *served >= n_bytes).await.ok();
    }

    /// Waits until the Xet storage sent that many bytes of xorbs. Cancel-safe.
    pub async fn until_xorbs_served(&self, n_bytes: u64) {
        let mut served = self.shared.xorbs_served.subscribe();
        // The Hub keeps the sender, so the wait ends with the number.
        served.wait_for(|served| *served >= n_bytes).await.ok();
    }

    /// Waits until that many requests arrived. Cancel-safe.
    pub async fn until_requests(&self, n_requests: usize) {
        let mut requests = self.shared.requests.subscribe();
        // The Hub keeps the sender, so the wait ends with the number.
        requests
            .wait_for(|requests| requests.len() >= n_requests)
            .await
            .ok();
    }
}
