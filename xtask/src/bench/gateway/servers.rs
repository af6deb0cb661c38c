//! The gateways that are compared: how each is started, when it is ready, and what its processes are. Their data and logs are
//! in `target/bench/gateway`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::super::mock::{ROOM, free, start_mock};
use crate::call::{Call, Output, RunningCall, tail};
use crate::python::Python;
use crate::settings::Settings;

/// The key between a gateway and what is behind it.
const KEY: &str = "llmk-bench-0123456789";
/// How long a gateway may take to start; FastAPI loads for seconds.
const BEGIN: Duration = Duration::from_secs(60);
/// Sockets that a gateway lets in at most.
const MAX_SOCKETS: &str = "20000";
/// The bounds of single users and addresses. The load is a few of both.
const NO_BOUNDS: [&str; 4] = [
    "GATEWAY_SOCKETS_PER_USER",
    "GATEWAY_SOCKETS_PER_ADDRESS",
    "GATEWAY_MESSAGES_PER_MINUTE",
    "GATEWAY_ANSWERS_PER_USER",
];

/// Which gateway, what it speaks, and what is between it and the mock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contestant {
    /// chat-gateway in front of the mock.
    Ours(&'static str),
    /// chat-gateway in front of llm-proxy in front of the mock.
    Chain(&'static str),
    /// The least gateway, in Python, in front of the mock.
    FastApi,
}

impl Contestant {
    pub(super) const ALL: [Self; 5] = [
        Self::Ours("v1"),
        Self::Chain("v1"),
        Self::Ours("v2"),
        Self::Chain("v2"),
        Self::FastApi,
    ];

    /// Its name in the tables.
    pub(super) fn name(self) -> String {
        match self {
            Self::Ours(dialect) => format!("chat-gateway {dialect}, mock"),
            Self::Chain(dialect) => format!("chat-gateway {dialect}, llm-proxy, mock"),
            Self::FastApi => "FastAPI v1, mock".to_owned(),
        }
    }

    /// The version that it speaks.
    pub(super) const fn dialect(self) -> &'static str {
        match self {
            Self::Ours(dialect) | Self::Chain(dialect) => dialect,
            Self::FastApi => "v1",
        }
    }
}

/// A running gateway and what is behind it.
pub(super) struct GatewayUnderLoad {
    pub(super) contestant: Contestant,
    /// Where sockets are opened.
    pub(super) address: SocketAddr,
    /// The mock behind it.
    pub(super) upstream: SocketAddr,
    gateway: RunningCall,
    proxy: Option<RunningCall>,
    mock: RunningCall,
}

impl GatewayUnderLoad {
    /// Its processes as the load wants them: name and id, the gateway first.
    pub(super) fn processes(&self) -> Vec<String> {
        let proxy = self.proxy.as_ref().map(|proxy| ("proxy", proxy));
        let all = [("gateway", &self.gateway)]
            .into_iter()
            .chain(proxy)
            .chain([("mock", &self.mock)]);
        all.filter_map(|(name, call)| {
            let pid = call.pid()?.as_raw_nonzero();
            Some(format!("{name}={pid}"))
        })
        .collect()
    }
}

/// Installs what the gateway in Python needs, once.
pub(super) async fn install(settings: &Settings) -> Result<()> {
    let requirements = settings.root().join("bench/peers/requirements.txt");
    python(settings).install_all(&requirements).await
}

fn python(settings: &Settings) -> Python {
    Python::named(settings, "venv-bench-gateway")
}

/// Starts one, with a mock of its own, and waits until it answers.
pub(super) async fn start(settings: &Settings, contestant: Contestant) -> Result<GatewayUnderLoad> {
    let folder = settings.target("bench/gateway");
    let name = contestant.name().replace([' ', ','], "-");
    let (upstream, mock) = start_mock(settings)?;
    let mut proxy = None;
    let mut behind = upstream;
    if let Contestant::Chain(_) = contestant {
        let log = folder.join(format!("{name}-proxy.log"));
        let (address, running) = start_proxy(settings, upstream, &log).await?;
        proxy = Some(running);
        behind = address;
    }
    let log = folder.join(format!("{name}.log"));
    let (address, gateway) = match contestant {
        Contestant::FastApi => start_fastapi(settings, behind, &log).await?,
        Contestant::Ours(_) | Contestant::Chain(_) => {
            let data = folder.join(format!("{name}-data"));
            empty(&data)?;
            start_ours(settings, behind, &data, &log, &[]).await?
        }
    };
    Ok(GatewayUnderLoad {
        contestant,
        address,
        upstream,
        gateway,
        proxy,
        mock,
    })
}

async fn start_proxy(
    settings: &Settings,
    upstream: SocketAddr,
    log: &Path,
) -> Result<(SocketAddr, RunningCall)> {
    let address = free()?;
    let admin = free()?;
    let call = Call::new(settings.target("release/llm-proxy")).variables([
        ("PROXY_LISTEN", address.to_string().as_str()),
        ("PROXY_ADMIN_LISTEN", &admin.to_string()),
        ("PROXY_UPSTREAMS", &format!("http://{upstream}")),
        ("PROXY_UPSTREAM_API_KEY", "bench"),
        ("PROXY_QUEUE_REQUESTS", ROOM),
        ("PROXY_MAX_TOKENS", "100000"),
        ("LLM_API_KEY", KEY),
        ("LLM_MODEL", "bench"),
    ]);
    let running = ready(&call, admin, "/readyz", log).await?;
    Ok((address, running))
}

/// Makes an empty folder, whatever was there.
pub(in crate::bench) fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// Starts chat-gateway in front of `behind` with the folder `data`, and with `more` settings.
pub(in crate::bench) async fn start_ours(
    settings: &Settings,
    behind: SocketAddr,
    data: &Path,
    log: &Path,
    more: &[(&str, &str)],
) -> Result<(SocketAddr, RunningCall)> {
    let address = free()?;
    let admin = free()?;
    let data = data.display().to_string();
    let page: PathBuf = settings.root().join("web");
    let call = Call::new(settings.target("release/chat-gateway")).variables([
        ("GATEWAY_LISTEN", address.to_string().as_str()),
        ("GATEWAY_ADMIN_LISTEN", &admin.to_string()),
        ("GATEWAY_DATA", &data),
        ("GATEWAY_WEB_DIR", &page.display().to_string()),
        ("GATEWAY_MAX_CONNECTIONS", MAX_SOCKETS),
        ("LLM_BASE_URL", &format!("http://{behind}/v1")),
        ("LLM_API_KEY", KEY),
        ("LLM_MODEL", "bench"),
    ]);
    let call = call.variables(NO_BOUNDS.map(|name| (name, "0")));
    let call = call.variables(more.iter().copied());
    let running = ready(&call, admin, "/readyz", log).await?;
    Ok((address, running))
}

async fn start_fastapi(
    settings: &Settings,
    behind: SocketAddr,
    log: &Path,
) -> Result<(SocketAddr, RunningCall)> {
    let address = free()?;
    let program = settings.root().join("bench/peers/fastapi_gateway.py");
    let call = Call::new(python(settings).interpreter()).args([Path::new("-B"), &program]);
    let call = call.variables([
        ("LISTEN", address.to_string().as_str()),
        ("LLM_BASE_URL", &format!("http://{behind}/v1")),
        ("LLM_API_KEY", KEY),
        ("LLM_MODEL", "bench"),
    ]);
    let running = ready(&call, address, "/openapi.json", log).await?;
    Ok((address, running))
}

/// Starts `call` and waits until `path` at `address` is answered with 200.
async fn ready(call: &Call, address: SocketAddr, path: &str, log: &Path) -> Result<RunningCall> {
    let mut running = call.start(Output::Log(log))?;
    let begin = Instant::now();
    while begin.elapsed() < BEGIN {
        if answers(address, path).unwrap_or(false) {
            return Ok(running);
        }
        let pause = tokio::time::timeout(Duration::from_millis(50), running.wait());
        if pause.await.is_ok() {
            bail!("it ended at once; the end of its log:\n{}", tail(log));
        }
    }
    bail!("it does not answer; the end of its log:\n{}", tail(log))
}

fn answers(address: SocketAddr, path: &str) -> Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    ensure!(status.starts_with(b"HTTP/1.1"), "not HTTP");
    Ok(status.ends_with(b"200"))
}
