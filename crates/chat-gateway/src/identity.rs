//! Who may open a socket: for now, whose pages.
//!
//! A browser always says which page a socket belongs to and lets no page forge it, so the Origin keeps other sites'
//! pages away from this gateway. It says nothing about people, and clients that are no browsers send none.

use axum::http::{HeaderMap, header};
use url::{Host, Url};

/// The pages whose sockets are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

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
            .map(Self)
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
        let listed = self.0.iter().any(|entry| entry == origin);
        let same = self.0.is_empty() && is_same(origin, headers);
        if origins.next().is_some() || !(listed || same) {
            return Err(Stranger::OtherOrigin);
        }
        if listed || is_private(origin) {
            Ok(())
        } else {
            Err(Stranger::PublicName)
        }
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

fn is_same(origin: &str, headers: &HeaderMap) -> bool {
    let Some(place) = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
    else {
        return false;
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            !place.is_empty() && host.as_bytes().eq_ignore_ascii_case(place.as_bytes())
        }
        _ => false,
    }
}

/// Whether only this network says where `origin` is. A public name's owner can point it here after its page has loaded
/// (DNS rebinding), and the browser then takes page and gateway for the same origin.
fn is_private(origin: &str) -> bool {
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
            !name.contains('.') || PRIVATE.iter().any(|end| name.ends_with(end))
        }
        None => false,
    }
}
