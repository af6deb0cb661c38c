//! Runs one of Corral's built binaries as a child process on free ports, for tests that cross services.
//!
//! The binaries are in the folder above the test's own `deps`: `cargo nextest run --workspace` builds them first. A
//! child dies with its [`Service`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// A running binary and the addresses it listens on.
#[derive(Debug)]
pub struct Service {
    child: Child,
    addresses: HashMap<String, SocketAddr>,
    /// What it keeps, unless a setting names another folder.
    #[expect(dead_code, reason = "it is deleted with the service")]
    data: TempDir,
}

impl Service {
    /// Starts `name` with exactly `settings` as its environment and waits until both its listeners are bound.
    ///
    /// # Errors
    ///
    /// When the binary is not built, or ends before it listens.
    pub async fn start(name: &str, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut command = Command::new(binary(name)?);
        command.stdin(Stdio::null());
        Self::launch(name, command, settings).await
    }

    /// As [`Service::start`], on a socket that outlives it: handed over as systemd hands one over.
    ///
    /// # Errors
    ///
    /// As [`Service::start`], or when the socket cannot be handed over.
    pub async fn start_on(
        name: &str,
        public: &std::net::TcpListener,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        let hand_over = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" 3<&0 0</dev/null";
        shell.args(["-c", hand_over]).arg(binary(name)?);
        shell.stdin(OwnedFd::from(public.try_clone()?));
        Self::launch(name, shell, settings).await
    }

    /// As [`Service::start`], with `folder` as a disk of its own of 4 MB. Only the service sees it; others reach it as
    /// [`Service::inside`].
    ///
    /// # Errors
    ///
    /// As [`Service::start`], or when this machine lets nobody mount a disk (`unshare -rm`).
    pub async fn start_on_a_small_disk(
        name: &str,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut unshare = Command::new("unshare");
        let mount = "mount -t tmpfs -o size=4m,mode=700 tmpfs \"$1\" && exec \"$2\"";
        unshare.args(["-rm", "sh", "-c", mount, "sh"]);
        unshare.arg(folder).arg(binary(name)?).stdin(Stdio::null());
        Self::launch(name, unshare, settings).await
    }

    /// Where a path of the service's own file system is for this process.
    #[must_use]
    pub fn inside(&self, path: &Path) -> PathBuf {
        let root = format!("/proc/{}/root", self.pid().unwrap_or_default());
        let below = path.strip_prefix("/").unwrap_or(path);
        Path::new(&root).join(below)
    }

    async fn launch(
        name: &str,
        mut command: Command,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        command.env_clear();
        if name == "chat-gateway" {
            command.env("GATEWAY_DATA", data.path());
        }
        let mut child = command
            .env("LOG_FORMAT", "json")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let mut addresses = HashMap::new();
        while addresses.len() < 2 {
            let Some(line) = lines.next_line().await? else {
                bail!("{name} ended before it listened: {}", child.wait().await?);
            };
            let event: Value =
                serde_json::from_str(&line).with_context(|| format!("not a log line: {line}"))?;
            if event["message"] == "listening" {
                let listener = event["listener"].as_str().context(line.clone())?;
                let address = event["address"].as_str().context(line.clone())?;
                addresses.insert(listener.to_owned(), address.parse()?);
            }
        }
        drain(lines);
        Ok(Self {
            child,
            addresses,
            data,
        })
    }

    /// `http://` and the address of the listener that callers use.
    ///
    /// # Panics
    ///
    /// When the service did not name a public listener.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addresses["public"])
    }

    /// `http://` and the address of the admin listener.
    ///
    /// # Panics
    ///
    /// When the service did not name an admin listener.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.addresses["admin"])
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    ///
    /// When the process ends instead.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let url = format!("{}/readyz", self.admin_url());
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended before it was ready: {status}");
            }
            match reqwest::get(&url).await {
                Ok(response) if response.status().is_success() => return Ok(()),
                _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    }

    /// The process's id, for signals.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the process to end by itself and returns its exit code.
    ///
    /// # Errors
    ///
    /// When the process cannot be waited for.
    pub async fn exit_code(&mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.child.wait().await?.code())
    }
}

/// The path of a built binary of this workspace.
///
/// # Errors
///
/// When it is not built.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let own = program.parent().context("a program is in a folder")?;
    // A test is in target/*/deps, a bench is where the binaries are.
    let folder = if own.ends_with("deps") {
        own.parent().context("a test is in target/*/deps")?
    } else {
        own
    };
    let path = folder.join(name);
    if !path.exists() {
        bail!(
            "{} is missing: run `cargo build --workspace --bins` first",
            path.display()
        );
    }
    Ok(path)
}

/// Keeps the pipe empty, so that the child never blocks on its own log.
fn drain(mut lines: tokio::io::Lines<BufReader<ChildStdout>>) {
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the child, and a test has no shutdown"
    )]
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
}
