//! A real `redis-server` on a free port that can be killed and started again: what several gateways share.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::tools;

/// The program; Valkey's speaks the same.
const PROGRAM: &str = "redis-server";
/// What it prints once it can be used.
const READY: &str = "Ready to accept connections";

/// A running server. It ends with this.
#[derive(Debug)]
pub struct ValkeyServer {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl ValkeyServer {
    /// Starts one that keeps nothing on disk. `None` where the program is missing: the test is counted as skipped, and
    /// returns at once.
    ///
    /// # Panics
    ///
    /// When the program is there and cannot be started.
    pub async fn start() -> Option<Self> {
        if !tools::needs(PROGRAM, &["--version"]) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder can be made");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a port is free")
            .port();
        let mut server = Self {
            folder,
            port,
            child: None,
        };
        server.start_again().await;
        Some(server)
    }

    /// Its address, as `GATEWAY_BUS` has it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it. Everything that it held is lost.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("a child can be killed");
        }
    }

    /// Starts it again at its address, empty.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn start_again(&mut self) {
        let child = self.launch().await;
        self.child = Some(child.expect("redis-server starts"));
    }

    async fn launch(&self) -> anyhow::Result<Child> {
        let port = self.port.to_string();
        let mut child = Command::new(PROGRAM)
            .args(["--port", &port, "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("redis-server cannot be run")?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if line.contains(READY) {
                drain(lines);
                return Ok(child);
            }
        }
        bail!("redis-server ended before it was ready")
    }
}

/// Reads on, because a full pipe would stop the server.
#[expect(
    clippy::disallowed_methods,
    reason = "the task ends with the server, and no shutdown waits for a test's peer"
)]
fn drain(mut lines: Lines<BufReader<ChildStdout>>) {
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
}
