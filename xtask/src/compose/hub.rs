//! testkit's fake-hub on this machine. Containers reach it as `host.docker.internal`.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::model::DEV_REPO;
use crate::say;

/// The program of a Hub, the model that it serves, and its address. It does not run yet.
pub(super) struct HubPlace {
    program: PathBuf,
    model: PathBuf,
    address: IpAddr,
    port: u16,
}

/// A running ServedHub; dropping it ends it.
pub(super) struct ServedHub(Child);

impl HubPlace {
    /// A free port where the engine's containers reach this machine: the gateway of its default network (Linux), or
    /// loopback (Docker Desktop, which forwards to it).
    ///
    /// # Errors
    ///
    /// When there is no free port.
    pub(super) fn new(program: PathBuf, model: PathBuf, gateway: &str) -> Result<Self> {
        let gateway = gateway.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let listener = TcpListener::bind((gateway, 0))
            .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let listen = listener.local_addr()?;
        Ok(Self {
            program,
            model,
            address: listen.ip(),
            port: listen.port(),
        })
    }

    /// `HF_ENDPOINT` for containers.
    pub(super) fn endpoint(&self) -> String {
        format!("http://host.docker.internal:{}", self.port)
    }

    /// The Hub's address on this machine.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    /// Serves the development model as `file` in its own repository.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub(super) fn serve(&self, file: &str) -> Result<ServedHub> {
        self.start(file, &["--file".as_ref(), self.model.as_os_str()])
    }

    /// Serves what has the header of a model, and nothing that llama-server loads.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub(super) fn serve_broken(&self, file: &str) -> Result<ServedHub> {
        self.start(file, &["--synthetic".as_ref(), "1048576".as_ref()])
    }

    fn start(&self, file: &str, source: &[&OsStr]) -> Result<ServedHub> {
        let mut command = Command::new(&self.program);
        command.args([
            "--repo",
            DEV_REPO,
            "--name",
            file,
            "--listen",
            &self.address(),
        ]);
        command
            .args(source)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        say::command(format_args!(
            "fake-hub --repo {DEV_REPO} --name {file} --listen {}",
            self.address()
        ));
        let mut hub = ServedHub(
            command
                .spawn()
                .with_context(|| format!("cannot start {}", self.program.display()))?,
        );
        let mut announcement = String::new();
        if let Some(output) = hub.0.stdout.take() {
            BufReader::new(output).read_line(&mut announcement)?;
        }
        ensure!(
            announcement.contains("\"hub\""),
            "fake-hub does not serve {file} on {}",
            self.address()
        );
        Ok(hub)
    }
}

impl Drop for ServedHub {
    fn drop(&mut self) {
        // It may have gone already.
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}
