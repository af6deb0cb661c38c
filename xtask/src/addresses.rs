//! Where the native chain listens: on loopback, at the well-known ports, unless a variable says otherwise.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Result, anyhow, bail};

use crate::settings::Settings;

/// The gateway's port unless `GATEWAY_LISTEN` says otherwise.
const USUAL_GATEWAY_PORT: u16 = 8000;

/// One address per listener, each with the variable that moves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// llama-server, `LLAMA_LISTEN`.
    pub(crate) llama: SocketAddr,
    /// llm-proxy, `PROXY_LISTEN`.
    pub(crate) proxy: SocketAddr,
    /// llm-proxy's admin listener, `PROXY_ADMIN_LISTEN`.
    pub(crate) proxy_admin: SocketAddr,
    /// chat-gateway, `GATEWAY_LISTEN`.
    pub(crate) gateway: SocketAddr,
    /// chat-gateway's admin listener, `GATEWAY_ADMIN_LISTEN`.
    pub(crate) gateway_admin: SocketAddr,
}

impl Addresses {
    /// What the variables say, or 127.0.0.1 and the well-known ports.
    ///
    /// # Errors
    ///
    /// When a variable is not `ADDRESS:PORT`.
    pub(crate) fn of(settings: &Settings) -> Result<Self> {
        Ok(Self {
            llama: read(settings, "LLAMA_LISTEN", 8080)?,
            proxy: read(settings, "PROXY_LISTEN", 8081)?,
            proxy_admin: read(settings, "PROXY_ADMIN_LISTEN", 9081)?,
            gateway: read(settings, "GATEWAY_LISTEN", USUAL_GATEWAY_PORT)?,
            gateway_admin: read(settings, "GATEWAY_ADMIN_LISTEN", 9000)?,
        })
    }

    /// Five free ports.
    ///
    /// # Errors
    ///
    /// When the kernel has no free port.
    pub(crate) fn free() -> Result<Self> {
        let listeners: Vec<_> =
            std::iter::repeat_with(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
                .take(5)
                .collect::<Result<_, _>>()?;
        let addresses: Vec<_> = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<_, _>>()?;
        let &[llama, proxy, proxy_admin, gateway, gateway_admin] = addresses.as_slice() else {
            bail!("five listeners have five addresses");
        };
        Ok(Self {
            llama,
            proxy,
            proxy_admin,
            gateway,
            gateway_admin,
        })
    }

    /// The variables that put every service where this says, and point each at the next.
    pub(crate) fn variables(&self) -> [(&'static str, String); 7] {
        [
            ("LLAMA_LISTEN", self.llama.to_string()),
            ("PROXY_LISTEN", self.proxy.to_string()),
            ("PROXY_ADMIN_LISTEN", self.proxy_admin.to_string()),
            ("GATEWAY_LISTEN", self.gateway.to_string()),
            ("GATEWAY_ADMIN_LISTEN", self.gateway_admin.to_string()),
            ("PROXY_UPSTREAMS", format!("http://{}", self.llama)),
            ("LLM_BASE_URL", format!("http://{}/v1", self.proxy)),
        ]
    }

    /// The variables that tell testkit's `chain` where each service is.
    pub(crate) fn variables_of_tests(&self) -> Vec<(&'static str, String)> {
        vec![
            ("CORRAL_GATEWAY_URL", format!("http://{}", self.gateway)),
            (
                "CORRAL_GATEWAY_ADMIN_URL",
                format!("http://{}", self.gateway_admin),
            ),
            ("CORRAL_PROXY_URL", format!("http://{}", self.proxy)),
            (
                "CORRAL_PROXY_ADMIN_URL",
                format!("http://{}", self.proxy_admin),
            ),
            ("CORRAL_ENGINE_URL", format!("http://{}", self.llama)),
            ("CORRAL_PAGE_URL", format!("http://{}/", self.gateway)),
        ]
    }

    /// Whether the gateway is where `cargo xtask chat` looks by default.
    pub(crate) fn is_usual_gateway(&self) -> bool {
        self.gateway == SocketAddr::from((Ipv4Addr::LOCALHOST, USUAL_GATEWAY_PORT))
    }

    /// Each address by who listens there and which variable moves it.
    pub(crate) const fn named(&self) -> [(&'static str, &'static str, SocketAddr); 5] {
        [
            ("llama-server", "LLAMA_LISTEN", self.llama),
            ("llm-proxy", "PROXY_LISTEN", self.proxy),
            ("llm-proxy (admin)", "PROXY_ADMIN_LISTEN", self.proxy_admin),
            ("chat-gateway", "GATEWAY_LISTEN", self.gateway),
            (
                "chat-gateway (admin)",
                "GATEWAY_ADMIN_LISTEN",
                self.gateway_admin,
            ),
        ]
    }

    /// Checks that every address can be listened on.
    ///
    /// # Errors
    ///
    /// With a line per address that cannot (who wants it, who has it), and the command that uses other ports.
    pub(crate) fn check(&self) -> Result<()> {
        let mut problems = Vec::new();
        let mut moves = Vec::new();
        for (service, variable, address) in self.named() {
            let mut free = address;
            if let Err(error) = TcpListener::bind(address) {
                problems.push(problem(service, address, &error));
                free = free_beside(address);
            }
            moves.push(format!("{variable}={free} "));
        }
        if problems.is_empty() {
            return Ok(());
        }
        bail!(
            "nothing was started:\n  {}\nStop what is there, or use other ports:\n  {}cargo xtask up",
            problems.join("\n  "),
            moves.concat()
        )
    }
}

/// The address that `variable` names, or `port` on loopback.
fn read(settings: &Settings, variable: &str, port: u16) -> Result<SocketAddr> {
    match settings.get(variable) {
        Some(text) => text
            .parse()
            .map_err(|_| anyhow!("{variable} must be ADDRESS:PORT, as in 127.0.0.1:{port}")),
        None => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
    }
}

fn problem(service: &str, address: SocketAddr, error: &std::io::Error) -> String {
    if error.kind() != std::io::ErrorKind::AddrInUse {
        return format!("{service} cannot listen on {address}: {error}");
    }
    // Without rights, only this user's own processes have names.
    let holder = listeners::get_process_by_port(address.port(), listeners::Protocol::TCP)
        .map_or_else(
            |_| "another process".to_owned(),
            |holder| format!("`{}`, process {}", holder.name, holder.pid),
        );
    format!("{service} needs {address}, which is taken by {holder}")
}

/// A free address, some hundreds of ports above `taken` if possible. It is on loopback when `taken` is no address of this
/// machine.
fn free_beside(taken: SocketAddr) -> SocketAddr {
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let ports = (taken.port()..=u16::MAX).step_by(100).skip(1).chain([0]);
    [taken.ip(), loopback]
        .into_iter()
        .flat_map(|ip| ports.clone().map(move |port| (ip, port)))
        .find_map(|address| TcpListener::bind(address).ok()?.local_addr().ok())
        .unwrap_or(SocketAddr::new(loopback, 0))
}

#[cfg(test)]
mod tests {
    use super::{Addresses, free_beside};

    #[test]
    fn an_address_of_another_machine_is_moved_to_loopback() {
        let other = free_beside("192.0.2.1:65500".parse().unwrap());
        assert_eq!(other.ip().to_string(), "127.0.0.1");
        assert_ne!(other.port(), 0);
    }

    #[test]
    fn a_taken_port_is_reported_with_its_variable_before_anything_starts() {
        let mut addresses = Addresses::free().unwrap();
        addresses.check().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        addresses.proxy = taken.local_addr().unwrap();
        let message = addresses.check().unwrap_err().to_string();
        let (problem, other) = message.split_once("\nStop what is there").unwrap();
        let proxy = addresses.proxy;
        let wanted = format!("nothing was started:\n  llm-proxy needs {proxy}, which is taken by ");
        let holder = format!(", process {}", std::process::id());
        assert!(
            problem.starts_with(&wanted) && problem.ends_with(&holder),
            "{message}"
        );
        assert!(
            other.starts_with(", or use other ports:\n  LLAMA_LISTEN=127.0.0.1:")
                && other.ends_with(" cargo xtask up"),
            "{message}"
        );
    }
}
