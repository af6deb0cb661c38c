//! A llama-server's address as an operator writes it.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;

/// A llama-server's address, `http://HOST:PORT`, or the name of several, `dns+http://NAME:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    authority: Authority,
    is_name: bool,
}

/// The text is no address of an upstream.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "every upstream must look like http://HOST:PORT or dns+http://NAME:PORT, without a path or a password"
)]
pub struct InvalidUpstream;

impl Upstream {
    /// The llama-server at an address.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        let authority = address
            .to_string()
            .parse()
            .expect("an address and a port are an authority");
        Self {
            authority,
            is_name: false,
        }
    }

    /// `HOST:PORT`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Whether each address behind the name is an upstream of its own.
    #[must_use]
    pub fn is_name(&self) -> bool {
        self.is_name
    }

    /// Whether a server that listens there would ask itself.
    #[must_use]
    pub fn is_served_by(&self, listen: SocketAddr) -> bool {
        let host = self.authority.host().trim_matches(['[', ']']);
        let is_here = match host.parse::<IpAddr>() {
            Ok(ip) => ip == listen.ip() || (listen.ip().is_unspecified() && ip.is_loopback()),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        };
        self.authority.port_u16().unwrap_or(80) == listen.port() && is_here
    }
}

impl FromStr for Upstream {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        let (is_name, url) = match text.strip_prefix("dns+") {
            Some(url) => (true, url),
            None => (false, text),
        };
        let uri: Uri = url.parse().map_err(|_| InvalidUpstream)?;
        let authority = uri.authority().ok_or(InvalidUpstream)?.clone();
        let is_plain =
            uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none();
        let has_port = authority.port_u16().is_some_and(|port| port > 0);
        if is_plain && !authority.as_str().contains('@') && (has_port || !is_name) {
            Ok(Self { authority, is_name })
        } else {
            Err(InvalidUpstream)
        }
    }
}
