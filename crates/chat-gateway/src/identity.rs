//! Who may open a socket: for now, whose pages.
//!
//! A browser always says which page a socket belongs to and lets no page forge it, so the Origin keeps other sites'
//! pages away from this gateway. It says nothing about people, and clients that are no browsers send none.

use axum::http::{HeaderMap, header};
use url::Url;

/// The pages whose sockets are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Reads a list separated by commas; an empty one stands for the same origin only.
    ///
    /// # Errors
    ///
    /// When an entry is not what a browser would send, because it could then never match.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries
            .map(|entry| match Url::parse(entry) {
                Ok(url) if url.origin().ascii_serialization() == entry => Ok(entry.to_owned()),
                _ => Err("each must be like https://chat.example.com:8443, in lower case, without a path, a default \
                          port or a trailing slash"
                    .to_owned()),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether the page that sent these header fields may open a socket.
    ///
    /// `Host` is compared as it arrived: a proxy in front must pass it on. `X-Forwarded-Host` is anyone's to write.
    #[must_use]
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        if origins.next().is_some() {
            return false;
        }
        if self.0.is_empty() { is_same(origin, headers) } else { self.0.iter().any(|entry| entry == origin) }
    }
}

fn is_same(origin: &str, headers: &HeaderMap) -> bool {
    let Some(place) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => !place.is_empty() && host.as_bytes().eq_ignore_ascii_case(place.as_bytes()),
        _ => false,
    }
}
