//! The address that a request comes from, as far as the proxies in front are believed, and an opaque name for it.
//!
//! llm-proxy lets the names of anonymous visitors take turns, so that many sockets of one visitor do not hold up the
//! others. A name is a hash with a key of this process, or of all gateways that share a database: nobody can turn it back
//! into an address without that key.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const REQUEST_ID: &str = "x-request-id";
/// One subscriber has at least this much of IPv6.
const IPV6_PREFIX_BITS: u32 = 64;

/// The proxies whose header fields are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses and networks, separated by commas.
    ///
    /// # Errors
    ///
    /// When an entry is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim);
        let entries = entries.filter(|entry| !entry.is_empty());
        let networks = entries.map(|entry| {
            let address = entry.parse().map(|address: IpAddr| address.into());
            address.or_else(|_| entry.parse()).map_err(|_| {
                "each must be an address or a network, as in 10.0.0.1 or 10.0.0.0/8".to_owned()
            })
        });
        networks.collect::<Result<_, _>>().map(Self)
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `peer` is one of them.
    #[must_use]
    pub fn trust(&self, peer: IpAddr) -> bool {
        self.contains(peer.to_canonical())
    }

    /// Whether the browser's own connection is encrypted, as far as a trusted proxy says so.
    #[must_use]
    pub fn is_https(&self, headers: &HeaderMap, peer: IpAddr) -> bool {
        // The first proxy in line saw the browser; each may append its own word.
        let first = headers.get(FORWARDED_PROTO).map(HeaderValue::to_str);
        let first = first
            .and_then(Result::ok)
            .unwrap_or_default()
            .split(',')
            .next();
        self.trust(peer) && first.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
    }

    /// The id that a trusted proxy gave the request, or a new one. Only a UUID is taken over, with or without dashes: a
    /// log must not hold what strangers write.
    #[must_use]
    pub fn request_id(&self, headers: &HeaderMap, peer: IpAddr) -> Arc<str> {
        let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let given = given.filter(|id| self.trust(peer) && Uuid::try_parse(id).is_ok());
        given.map_or_else(|| Uuid::now_v7().to_string().into(), Arc::from)
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whom `peer` connects for: the last address before the trusted proxies, or `peer` itself.
    #[must_use]
    pub fn address(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
            return peer;
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        let mut visitor = peer;
        for hop in hops {
            let Ok(address) = hop.trim().parse::<IpAddr>() else {
                break;
            };
            visitor = address.to_canonical();
            if !self.contains(visitor) {
                break;
            }
        }
        visitor
    }
}

/// What counts as one visitor: an address, or the network that one subscriber of IPv6 has.
pub(super) fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> IPV6_PREFIX_BITS << IPV6_PREFIX_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        IpAddr::V4(_) => address,
    }
}

/// Gives visitors their names: the same ones as whoever has the same key.
#[derive(Debug)]
pub(super) struct VisitorNames([u8; 32]);

impl VisitorNames {
    pub(super) const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The name of whoever is at `address`.
    pub(super) fn name(&self, address: IpAddr) -> Arc<str> {
        let subscriber = subscriber(address).to_string();
        let keyed = Sha256::new().chain_update(self.0).chain_update(subscriber);
        let hash: [u8; 32] = keyed.finalize().into();
        let (name, _) = hash.split_first_chunk().unwrap_or((&[0; 8], &[]));
        format!("v-{:016x}", u64::from_be_bytes(*name)).into()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use axum::http::{HeaderMap, HeaderValue};

    use super::{FORWARDED_FOR, TrustedProxies, VisitorNames};

    fn headers(lines: &[&str]) -> HeaderMap {
        let lines = lines.iter().map(|line| {
            let value = HeaderValue::from_str(line).unwrap();
            (FORWARDED_FOR.parse().unwrap(), value)
        });
        lines.collect()
    }

    fn visitor(peer: &str, lines: &[&str]) -> String {
        let proxies = TrustedProxies::parse("10.0.0.0/8, 192.168.1.1,fd00::/8").unwrap();
        let peer: IpAddr = peer.parse().unwrap();
        proxies.address(&headers(lines), peer).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_says_for_whom_it_connects() {
        assert_eq!(visitor("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(visitor("10.1.2.3", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            visitor("::ffff:10.1.2.3", &["::ffff:198.51.100.1"]),
            "198.51.100.1"
        );
        // Anybody can write what comes before the last untrusted address.
        assert_eq!(
            visitor("10.1.2.3", &["1.1.1.1, 198.51.100.1, 192.168.1.1"]),
            "198.51.100.1"
        );
        assert_eq!(
            visitor("10.1.2.3", &["1.1.1.1", "198.51.100.1"]),
            "198.51.100.1"
        );
        assert_eq!(visitor("fd00::1", &["2001:db8::1"]), "2001:db8::1");
        for nonsense in [&[][..], &["nobody"], &["198.51.100.1, nobody"]] {
            assert_eq!(visitor("10.1.2.3", nonsense), "10.1.2.3", "{nonsense:?}");
        }
    }

    #[test]
    fn a_name_is_that_of_one_address_and_tells_nothing_of_it() {
        let names = VisitorNames::new([1; 32]);
        let name = |peer: &str| names.name(peer.parse().unwrap());
        assert_eq!(name("203.0.113.9"), name("203.0.113.9"));
        assert_ne!(name("203.0.113.9"), name("203.0.113.10"));
        assert_eq!(name("2001:db8::1"), name("2001:db8::ffff:1"));
        assert_ne!(name("2001:db8::1"), name("2001:db8:0:1::1"));
        assert_eq!(name("203.0.113.9").len(), 18);
        assert_ne!(
            name("203.0.113.9"),
            VisitorNames::new([2; 32]).name("203.0.113.9".parse().unwrap())
        );
    }

    #[test]
    fn what_is_no_address_and_no_network_is_refused() {
        for text in ["localhost", "10.0.0.0/33", "10.0.0", "*"] {
            assert!(TrustedProxies::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            TrustedProxies::parse(" , ").unwrap(),
            TrustedProxies::default()
        );
    }
}
