//! Who sends a message, as far as the queue needs to know: an opaque name for each address.
//!
//! llm-proxy lets the names take turns, so that many sockets of one visitor do not hold up the others. A name is a hash
//! with a key of this process: nobody can turn it back into an address, and it changes with each start.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// One subscriber has at least this much of IPv6.
const IPV6_PREFIX_BITS: u32 = 64;

/// The proxies whose `X-Forwarded-For` is believed.
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

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whom `peer` connects for: the last address before the trusted proxies, or `peer` itself.
    fn visitor(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
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

/// Gives visitors their names.
#[derive(Debug, Default)]
pub(crate) struct VisitorNames(RandomState);

impl VisitorNames {
    /// The name of whoever is behind `peer`.
    pub(crate) fn name(
        &self,
        proxies: &TrustedProxies,
        peer: IpAddr,
        headers: &HeaderMap,
    ) -> String {
        let visitor = match proxies.visitor(peer, headers) {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> IPV6_PREFIX_BITS << IPV6_PREFIX_BITS;
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            address @ IpAddr::V4(_) => address,
        };
        format!("v-{:016x}", self.0.hash_one(visitor))
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
        proxies.visitor(peer, &headers(lines)).to_string()
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
        let names = VisitorNames::default();
        let proxies = TrustedProxies::default();
        let name = |peer: &str| names.name(&proxies, peer.parse().unwrap(), &HeaderMap::new());
        assert_eq!(name("203.0.113.9"), name("203.0.113.9"));
        assert_ne!(name("203.0.113.9"), name("203.0.113.10"));
        assert_eq!(name("2001:db8::1"), name("2001:db8::ffff:1"));
        assert_ne!(name("2001:db8::1"), name("2001:db8:0:1::1"));
        assert_eq!(name("203.0.113.9").len(), 18);
        assert_ne!(
            name("203.0.113.9"),
            VisitorNames::default().name(
                &proxies,
                "203.0.113.9".parse().unwrap(),
                &HeaderMap::new()
            )
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
