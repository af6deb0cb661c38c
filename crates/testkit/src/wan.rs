//! Hosts that are far apart, on one machine: network namespaces, and between them packets that take a while or are lost.
//!
//! The kernel does everything but the way between two hosts: its TCP retransmits, its sockets hang in a network that says
//! nothing. It needs root, `ip`, and Python.

use std::net::Ipv4Addr;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::tools::needs;

/// What carries the packets.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/wan.py");
/// Where `ip` may be.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How packets travel.
#[derive(Clone, Copy, Debug)]
pub struct WanWay {
    /// How long a packet takes from one host to another, in milliseconds.
    pub delay_ms: u32,
    /// How many of them are lost, from 0 to 1.
    pub loss: f64,
}

/// Some hosts and the network between them, until this is dropped. Host 0 is where the test itself is.
#[derive(Debug)]
pub struct Wan {
    namespaces: Vec<String>,
    network: [u8; 3],
    switch: Child,
    orders: ChildStdin,
    replies: Lines<BufReader<ChildStdout>>,
}

impl Wan {
    /// Makes so many hosts beside the test's own. `None` where that is not possible: the test is then counted as skipped,
    /// and returns at once.
    ///
    /// # Panics
    ///
    /// When the tools are there and it cannot be made.
    pub async fn start(hosts: usize, way: WanWay) -> Option<Self> {
        let is_possible = needs("unshare", &["-n", "ip", "link", "set", "lo", "up"])
            && needs("python3", &["-c", "open('/dev/net/tun', 'rb')"]);
        if !is_possible {
            return None;
        }
        let wan = Self::make(hosts, way).await;
        Some(wan.expect("hosts are made"))
    }

    async fn make(hosts: usize, way: WanWay) -> anyhow::Result<Self> {
        let id = std::process::id();
        let [.., high, low] = id.to_be_bytes();
        let network = [10, high | 64, low];
        let mut namespaces = Vec::new();
        let mut named = vec![format!(".={}", at(network, 0))];
        for host in 1..=hosts {
            let namespace = format!("corral-{id}-{host}");
            ip(&["netns", "add", &namespace]).await?;
            named.push(format!("{namespace}={}", at(network, host)));
            namespaces.push(namespace);
        }
        let mut switch = Command::new("python3")
            .args([PROGRAM, "net", &way.delay_ms.to_string()])
            .arg(way.loss.to_string())
            .args(named)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let orders = switch.stdin.take().context("its input is a pipe")?;
        let replies = switch.stdout.take().context("its output is a pipe")?;
        let mut wan = Self {
            namespaces,
            network,
            switch,
            orders,
            replies: BufReader::new(replies).lines(),
        };
        wan.ready().await?;
        Ok(wan)
    }

    /// The address of a host.
    #[must_use]
    pub fn address(&self, host: usize) -> Ipv4Addr {
        at(self.network, host)
    }

    /// A program that runs on a host, without the environment of the test.
    #[must_use]
    pub fn command(&self, host: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command
            .env_clear()
            .env("PATH", PATH)
            .args(["netns", "exec", &self.namespaces[host - 1], program])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Gives a Unix socket an address on a host, until what is returned is dropped.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    pub async fn relay(&self, host: usize, port: u16, socket: &str) -> Child {
        let address = self.address(host).to_string();
        let mut relay = self
            .command(host, "python3")
            .args([PROGRAM, "relay", &address, &port.to_string(), socket])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a relay starts");
        let mut lines = BufReader::new(relay.stdout.take().expect("a pipe")).lines();
        let line = lines.next_line().await.expect("a relay speaks");
        assert_eq!(line.as_deref(), Some("ready"));
        relay
    }

    /// Lets nothing pass between two hosts from now on. Neither is told.
    ///
    /// # Panics
    ///
    /// When the network has ended.
    pub async fn cut(&mut self, one: usize, other: usize) {
        self.order("cut", one, other).await.expect("a network");
    }

    /// Lets everything pass between two hosts again.
    ///
    /// # Panics
    ///
    /// As [`Wan::cut`].
    pub async fn join(&mut self, one: usize, other: usize) {
        self.order("join", one, other).await.expect("a network");
    }

    async fn order(&mut self, verb: &str, one: usize, other: usize) -> anyhow::Result<()> {
        let line = format!("{verb} {} {}\n", self.address(one), self.address(other));
        self.orders.write_all(line.as_bytes()).await?;
        self.ready().await
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let line = self.replies.next_line().await?;
        ensure!(
            line.as_deref() == Some("ready"),
            "the network says {line:?}"
        );
        Ok(())
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.switch.start_kill().ok();
        for namespace in &self.namespaces {
            let removed = std::process::Command::new("ip")
                .args(["netns", "del", namespace])
                .status();
            drop(removed);
        }
    }
}

fn at([a, b, c]: [u8; 3], host: usize) -> Ipv4Addr {
    let last = u8::try_from(host + 1).expect("a few hosts");
    Ipv4Addr::new(a, b, c, last)
}

async fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("ip").args(arguments).status().await?;
    ensure!(status.success(), "ip {} failed", arguments.join(" "));
    Ok(())
}
