//! Whose pages may open a socket.
//!
//! A browser always says which page a request comes from and lets no page forge it, so the Origin keeps other sites'
//! pages away from this gateway. It says nothing about people, and clients that are no browsers send none.

use std::collections::HashSet;
use std::mem;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use tokio::time::Instant;
use url::{Host, Url};

/// How often a refused origin is told.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Refused origins that are told in that time.
const MAX_TOLD: usize = 16;
/// The most of an origin that is told.
const MAX_ORIGIN_BYTES: usize = 200;

/// The port that `http://` means without one.
const HTTP_PORT: &str = "80";
/// The port that `https://` means without one.
const HTTPS_PORT: &str = "443";
/// Digits of the largest port.
const MAX_PORT_DIGITS: usize = 5;

/// The pages whose sockets are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    listed: Vec<String>,
    /// The public name under which people open this gateway's own page.
    name: Option<String>,
}

impl Origins {
    /// Reads a list separated by commas; an empty one stands for the same origin only, under an address or a private name.
    ///
    /// # Errors
    ///
    /// When an entry is not what a browser would send, because it could then never match.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        entries
            .map(|entry| match Url::parse(entry) {
                Ok(url) if url.origin().ascii_serialization() == entry => Ok(entry.to_owned()),
                _ => Err("each must be like https://chat.example.com:8443, in lower case, without a path, a default \
                          port or a trailing slash"
                    .to_owned()),
            })
            .collect::<Result<_, _>>()
            .map(|listed| Self { listed, name: None })
    }

    /// These pages, and this gateway's own page under `name`, at any port.
    #[must_use]
    pub fn with_name(self, name: Option<String>) -> Self {
        Self { name, ..self }
    }

    /// The origin of the page that sent these header fields, if the list names it.
    pub(crate) fn listed<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let origin = origins.next()?;
        let is_listed = self.listed.iter().any(|entry| entry == origin);
        (is_listed && origins.next().is_none()).then_some(origin)
    }

    /// Whether the page that sent these header fields may open a socket.
    ///
    /// `Host` is compared as it arrived: a proxy in front must pass it on. `X-Forwarded-Host` is anyone's to write.
    ///
    /// # Errors
    ///
    /// With what keeps the page out.
    pub fn admit(&self, headers: &HeaderMap) -> Result<(), Stranger> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Ok(());
        };
        let origin = origin.to_str().map_err(|_| Stranger::OtherOrigin)?;
        let listed = self.listed.iter().any(|entry| entry == origin);
        let own = self.is_own(origin) && is_same(origin, headers);
        let same = self.listed.is_empty() && is_same(origin, headers);
        if origins.next().is_some() || !(listed || own || same) {
            return Err(Stranger::OtherOrigin);
        }
        if listed || own || is_private(origin) {
            Ok(())
        } else {
            Err(Stranger::PublicName)
        }
    }

    /// Whether `origin` has the public name of this gateway.
    fn is_own(&self, origin: &str) -> bool {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let host = authority.and_then(|authority| place(authority, HTTPS_PORT));
        host.is_some_and(|(host, _)| self.name.as_ref() == Some(&host))
    }
}

/// Reads the public name of the gateway's page: a host's name alone. Empty: none.
///
/// # Errors
///
/// When it is more or something else, because no page could then match.
pub(crate) fn public_name(text: &str) -> Result<Option<String>, String> {
    let name = text.trim();
    if name.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(&format!("https://{name}/"));
    match url.as_ref().map(Url::host_str) {
        Ok(Some(host)) if host == name => Ok(Some(name.to_owned())),
        _ => Err(
            "must be a name alone, as in chat.example.com: in lower case, without https://, port or path".to_owned(),
        ),
    }
}

/// Tells the operator which origins are refused: each once a minute, and no more of them than a log can bear.
#[derive(Debug, Default)]
pub(crate) struct RefusedOrigins(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    since: Option<Instant>,
    origins: HashSet<Box<str>>,
    /// Refusals that were not told.
    n_silent: u64,
}

impl RefusedOrigins {
    /// Notes that a page is kept out, and may write a line about it. `address` is the browser's own.
    pub(crate) fn refused(
        &self,
        stranger: Stranger,
        headers: &HeaderMap,
        address: IpAddr,
        request_id: &str,
    ) {
        let origin = headers.get(header::ORIGIN).map(HeaderValue::to_str);
        let origin = origin.and_then(Result::ok).unwrap_or_default();
        let origin = origin.get(..MAX_ORIGIN_BYTES).unwrap_or(origin);
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.since.is_none_or(|since| since.elapsed() >= TELL_EVERY) {
            told.since = Some(Instant::now());
            told.origins.clear();
        }
        if told.origins.len() >= MAX_TOLD || !told.origins.insert(origin.into()) {
            told.n_silent += 1;
            return;
        }
        let not_told = mem::take(&mut told.n_silent);
        drop(told);
        tracing::warn!(
            request_id,
            %address,
            origin,
            reason = stranger.label(),
            not_told,
            "socket refused: if this page is yours, set GATEWAY_ALLOWED_ORIGINS to its origin"
        );
    }
}

/// What keeps a page out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It came from elsewhere, and the list does not name its origin.
    OtherOrigin,
    /// It came from this host under a name that anyone may own, and there is no list that names it.
    PublicName,
}

impl Stranger {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::OtherOrigin => "origin",
            Self::PublicName => "public_name",
        }
    }
}

/// Whether the page's address is the one in `Host`. A scheme's default port is equal to none, and so is the dot that may
/// end a host's name.
fn is_same(origin: &str, headers: &HeaderMap) -> bool {
    let (authority, default_port) = match origin.split_once("://") {
        Some(("http", authority)) => (authority, HTTP_PORT),
        Some(("https", authority)) => (authority, HTTPS_PORT),
        _ => return false,
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let page = place(authority, default_port);
    page.is_some()
        && page
            == host
                .to_str()
                .ok()
                .and_then(|host| place(host, default_port))
}

/// Host and port of `HOST` or `HOST:PORT`, so that equal places are equal.
fn place(authority: &str, default_port: &str) -> Option<(String, String)> {
    let colon = authority
        .rfind(':')
        .filter(|at| !authority[*at..].contains(']'));
    let (host, port) = match colon {
        Some(at) => (&authority[..at], &authority[at + 1..]),
        None => (authority, default_port),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_port = (1..=MAX_PORT_DIGITS).contains(&port.len())
        && port.bytes().all(|digit| digit.is_ascii_digit());
    (is_port && !host.is_empty()).then(|| (host.to_ascii_lowercase(), port.to_owned()))
}

/// Whether only this network says where `origin` is. A public name's owner can point it here after its page has loaded
/// (DNS rebinding), and the browser then takes page and gateway for the same origin.
pub(super) fn is_private(origin: &str) -> bool {
    /// Names that no registry gives away, and what home routers make up.
    const PRIVATE: [&str; 6] = [
        ".localhost",
        ".local",
        ".internal",
        ".home.arpa",
        ".lan",
        ".test",
    ];
    match Url::parse(origin).ok().as_ref().and_then(Url::host) {
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            !name.contains('.') || PRIVATE.iter().any(|end| name.ends_with(end))
        }
        None => false,
    }
}
