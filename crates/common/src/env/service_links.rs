//! The variables that Kubernetes puts into every container for each service of its namespace.
//!
//! A service named `proxy` makes `PROXY_PORT=tcp://10.0.0.1:8081` and half a dozen more, which look like settings of ours.
//! The form of their values tells them from a misspelt setting.

use std::net::{IpAddr, SocketAddr};

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Whether Kubernetes made this variable.
pub(super) fn is_one(name: &str, value: &str) -> bool {
    let is_port = value.parse::<u16>().is_ok();
    let is_address = value.parse::<IpAddr>().is_ok();
    let words: Vec<&str> = name.split('_').collect();
    match words.as_slice() {
        [_, .., "SERVICE", "HOST"] => is_address,
        [_, .., "SERVICE", "PORT"] => is_port,
        [_, .., "PORT", number, protocol, part] if is_published(number, protocol) => match *part {
            "PROTO" => PROTOCOLS.contains(&value),
            "PORT" => is_port,
            "ADDR" => is_address,
            _ => false,
        },
        [_, .., "PORT", number, protocol] if is_published(number, protocol) => is_url(value),
        [_, .., "PORT"] => is_url(value),
        // The port's own name follows, which may have several words.
        _ => name.contains("_SERVICE_PORT_") && is_port,
    }
}

fn is_published(number: &str, protocol: &str) -> bool {
    number.parse::<u16>().is_ok() && PROTOCOLS.contains(&&*protocol.to_ascii_lowercase())
}

fn is_url(value: &str) -> bool {
    value.split_once("://").is_some_and(|(protocol, address)| {
        PROTOCOLS.contains(&protocol) && address.parse::<SocketAddr>().is_ok()
    })
}
