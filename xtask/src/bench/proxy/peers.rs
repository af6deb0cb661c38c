//! The servers that are compared: how each is configured and started, when it is ready, and how to get one that is missing.
//! Their settings and logs are in `target/bench/proxy`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::super::mock::{ROOM, free, start_mock};
use super::answers;
use crate::call::{Call, Output, RunningCall, tail};
use crate::say;
use crate::settings::Settings;

/// The key of every server that knows keys.
pub(super) const KEY: &str = "llmk-bench-0123456789";
/// The name of the llm-proxy of `--before` in the tables.
pub(super) const BEFORE: &str = "llm-proxy before";
/// How long a server may take to start; LiteLLM loads for many seconds.
const BEGIN: Duration = Duration::from_secs(120);
/// The packages that are installed. Their versions are pinned, because two releases of LiteLLM were tampered with.
const ONWARDS: &str = "onwards@1.2.0";
const PYTHON: [(&str, &str); 2] = [
    ("smg", "smg==1.13.0"),
    ("litellm", "litellm[proxy]==1.106.2"),
];

/// A server, running or not.
pub(super) struct Server {
    /// Its name in the tables.
    pub(super) name: &'static str,
    /// The address that the load asks.
    pub(super) address: SocketAddr,
    /// The mock behind it.
    pub(super) upstream: SocketAddr,
    /// Why it is not measured.
    pub(super) why_not: Option<String>,
    version: String,
    process: Option<RunningCall>,
    mock: RunningCall,
}

impl Server {
    /// Its version, or what is wrong with it.
    pub(super) fn what(&self) -> &str {
        self.why_not.as_deref().unwrap_or(&self.version)
    }

    /// Its process; for the mock asked directly, the mock's.
    pub(super) fn pid(&self) -> Option<i32> {
        self.process
            .as_ref()
            .unwrap_or(&self.mock)
            .pid()
            .map(|pid| pid.as_raw_nonzero().get())
    }
}

/// The folders and programs of this run.
struct BenchPlace<'a> {
    settings: &'a Settings,
    /// Settings and logs of this run.
    folder: PathBuf,
    /// The older llm-proxy, if one was given.
    before: Option<&'a Path>,
    upstream: SocketAddr,
}

/// A server's version and call, or how to get it.
struct PeerCall {
    version: Result<String>,
    call: Call,
    address: SocketAddr,
}

/// Starts llm-proxy and the other servers that are installed, each in front of a mock of its own. A mock that still works for
/// another server would be busy for llm-proxy, which then would send nothing.
pub(super) async fn start(
    settings: &Settings,
    only: &[String],
    before: Option<&Path>,
) -> Result<Vec<Server>> {
    let folder = settings.target("bench/proxy");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let (upstream, mock) = start_mock(settings)?;
    let mut servers = vec![Server {
        name: "direct",
        address: upstream,
        upstream,
        why_not: None,
        version: "the mock of llama-server, asked without anything between".to_owned(),
        process: None,
        mock,
    }];
    type Find = fn(&BenchPlace<'_>) -> Result<PeerCall>;
    let ways: [(&str, Find); 6] = [
        ("nginx", nginx),
        ("llm-proxy", ours),
        (BEFORE, theirs_before),
        ("onwards", onwards),
        ("smg", smg),
        ("litellm", litellm),
    ];
    for (name, way) in ways {
        if !only.is_empty() && !only.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        if name == BEFORE && before.is_none() {
            continue;
        }
        let (upstream, mock) = start_mock(settings)?;
        let place = BenchPlace {
            settings,
            folder: folder.clone(),
            before,
            upstream,
        };
        let way = way(&place)?;
        let log = place.folder.join(format!("{name}.log"));
        let mut server = Server {
            name,
            address: way.address,
            upstream,
            why_not: None,
            version: String::new(),
            process: None,
            mock,
        };
        match way.version {
            Ok(version) => {
                server.version = version;
                server.process = Some(way.call.start(Output::Log(&log))?);
                if !begins(&mut server).await? {
                    let problem = format!(
                        "{name} does not answer; the end of its log:\n{}",
                        tail(&log)
                    );
                    if name == "llm-proxy" {
                        bail!(problem);
                    }
                    say::line(problem);
                    server.why_not = Some(format!("does not answer, see {}", log.display()));
                }
            }
            Err(advice) => server.why_not = Some(advice.to_string()),
        }
        servers.push(server);
    }
    Ok(servers)
}

/// Waits until it answers a chat.
async fn begins(server: &mut Server) -> Result<bool> {
    let begin = Instant::now();
    while begin.elapsed() < BEGIN {
        if answers(server.address) {
            return Ok(true);
        }
        let Some(process) = &mut server.process else {
            return Ok(false);
        };
        if tokio::time::timeout(Duration::from_millis(100), process.wait())
            .await
            .is_ok()
        {
            return Ok(false);
        }
    }
    Ok(false)
}

/// nginx buffers whole answers only: llama-server's own header forbids it for streams.
fn nginx(place: &BenchPlace<'_>) -> Result<PeerCall> {
    let address = free()?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| {
            let folder = path(place, &format!("nginx-{kind}"));
            format!("  {kind}_temp_path {folder};\n")
        })
        .collect();
    let text = format!(
        "daemon off;\nworker_processes auto;\nworker_rlimit_nofile 16384;\npid {pid};\nerror_log {errors} warn;\n\
         events {{ worker_connections 4096; }}\nhttp {{\n{temporary}  access_log {log} combined buffer=32k flush=1s;\n\
         \x20 tcp_nodelay on;\n  keepalive_requests 10000000;\n\
         \x20 upstream llama {{ server {upstream}; keepalive {ROOM}; keepalive_requests 10000000; }}\n\
         \x20 server {{\n    listen {address} backlog=1024;\n    location / {{\n      proxy_pass http://llama;\n\
         \x20     proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n\
         \x20     proxy_read_timeout 600s;\n    }}\n  }}\n}}\n",
        pid = path(place, "nginx.pid"),
        errors = path(place, "nginx-errors.log"),
        log = path(place, "nginx-access.log"),
        upstream = place.upstream,
    );
    let program = place
        .settings
        .which("nginx")
        .or_else(|| Some(PathBuf::from("/usr/sbin/nginx")).filter(|path| path.exists()));
    let version = match &program {
        Some(_) => Ok(format!(
            "{}, connections kept, streams unbuffered, an access log",
            package("nginx")
        )),
        None => Err(anyhow::anyhow!(
            "not installed (Debian: apt-get install nginx-light)"
        )),
    };
    let call = Call::new(program.unwrap_or_default()).args([
        "-e",
        "stderr",
        "-c",
        &file(place, "nginx.conf", &text)?,
    ]);
    Ok(PeerCall {
        version,
        call,
        address,
    })
}

fn ours(place: &BenchPlace<'_>) -> Result<PeerCall> {
    let program = place.settings.target("release/llm-proxy");
    llm_proxy(place, "now", program, "this workspace's release build")
}

/// The older binary, with the same settings.
fn theirs_before(place: &BenchPlace<'_>) -> Result<PeerCall> {
    let program = place
        .before
        .context("--before names no binary")?
        .to_path_buf();
    let shown = program.display().to_string();
    llm_proxy(place, "before", program, &shown)
}

/// llm-proxy with everything on: a hundred keys, the queue, deadlines, an audit to a file, the log, metrics.
fn llm_proxy(
    place: &BenchPlace<'_>,
    label: &str,
    program: PathBuf,
    what: &str,
) -> Result<PeerCall> {
    let address = free()?;
    let admin = free()?;
    let entries: String = (0..100).map(key_entry).collect();
    let keys = file(place, &format!("keys-{label}.toml"), &entries)?;
    let audit = file(place, &format!("audit-{label}.jsonl"), "")?;
    let call = Call::new(program).variables([
        ("PROXY_LISTEN", address.to_string().as_str()),
        ("PROXY_ADMIN_LISTEN", &admin.to_string()),
        ("PROXY_UPSTREAMS", &format!("http://{}", place.upstream)),
        ("PROXY_QUEUE_REQUESTS", ROOM),
        ("PROXY_KEYS_FILE", &keys),
        ("PROXY_AUDIT", &audit),
        ("PROXY_ROUTES", "chat,embeddings"),
        ("PROXY_UPSTREAM_API_KEY", "bench"),
        ("LLM_MODEL", "bench"),
        ("PROXY_MAX_TOKENS", "100000"),
    ]);
    let version = format!("{what}; a hundred keys, queue, deadlines, audit, log and metrics on");
    Ok(PeerCall {
        version: Ok(version),
        call,
        address,
    })
}

/// An entry of a keys file. The first has the key of the load.
fn key_entry(number: u32) -> String {
    let key = if number == 0 {
        KEY.to_owned()
    } else {
        format!("another-key-{number}")
    };
    let digest: String = Sha256::digest(key)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let scopes = r#"["chat", "embeddings"]"#;
    format!("[[key]]\nname = \"key-{number}\"\nsha256 = \"{digest}\"\nscopes = {scopes}\n")
}

fn onwards(place: &BenchPlace<'_>) -> Result<PeerCall> {
    let address = free()?;
    let metrics = free()?;
    let text = format!(
        r#"{{"targets":{{"bench":{{"url":"http://{}","keys":["{KEY}"]}}}},"http_pool":{{"max_idle_per_host":{ROOM},"idle_timeout_secs":90}}}}"#,
        place.upstream
    );
    let program = place.settings.target("bench/onwards/bin/onwards");
    let version = installed(&program, || ONWARDS.to_owned());
    let call = Call::new(program).variables([("RUST_LOG", "warn")]).args([
        "--targets",
        &file(place, "onwards.json", &text)?,
        "--port",
        &address.port().to_string(),
        "--metrics",
        "--metrics-port",
        &metrics.port().to_string(),
    ]);
    Ok(PeerCall {
        version,
        call,
        address,
    })
}

fn smg(place: &BenchPlace<'_>) -> Result<PeerCall> {
    let address = free()?;
    let metrics = free()?;
    let program = place.settings.target("bench/smg/bin/smg");
    let version = installed(&program, || format!("{}, one upstream", PYTHON[0].1));
    let call = Call::new(program).args([
        "launch",
        "--host",
        "127.0.0.1",
        "--port",
        &address.port().to_string(),
    ]);
    let upstream = format!("http://{}", place.upstream);
    let call = call.args([
        "--worker-urls",
        &upstream,
        "--backend",
        "openai",
        "--disable-tokenizer-autoload",
    ]);
    let call = call.args([
        "--prometheus-port",
        &metrics.port().to_string(),
        "--log-level",
        "warn",
    ]);
    Ok(PeerCall {
        version,
        call,
        address,
    })
}

fn litellm(place: &BenchPlace<'_>) -> Result<PeerCall> {
    let address = free()?;
    let text = format!(
        "model_list:\n  - model_name: bench\n    litellm_params:\n      model: openai/bench\n      \
         api_base: http://{}/v1\n      api_key: none\ngeneral_settings:\n  master_key: {KEY}\n",
        place.upstream
    );
    let program = place.settings.target("bench/litellm/bin/litellm");
    let version = installed(&program, || format!("{}, one worker", PYTHON[1].1));
    let call = Call::new(program).args([
        "--config",
        &file(place, "litellm.yaml", &text)?,
        "--host",
        "127.0.0.1",
    ]);
    let call = call.args(["--num_workers", "1", "--port", &address.port().to_string()]);
    // Without it, LiteLLM fetches a list of prices from the network when it starts.
    let call = call.variables([("LITELLM_LOCAL_MODEL_COST_MAP", "True")]);
    Ok(PeerCall {
        version,
        call,
        address,
    })
}

/// Installs the missing peers, each into a folder of its own.
pub(super) async fn install(settings: &Settings) -> Result<()> {
    let folder = settings.target("bench");
    if !folder.join("onwards/bin/onwards").exists() {
        let root = folder.join("onwards").display().to_string();
        Call::new("cargo")
            .args(["install", ONWARDS, "--locked", "--root", &root])
            .run()
            .await?;
    }
    for (name, requirement) in PYTHON {
        let home = folder.join(name);
        if !home.join("bin").join(name).exists() {
            Call::new("python3")
                .args(["-m", "venv", "--clear"])
                .args([&home])
                .run()
                .await?;
            let pip = Call::new(home.join("bin/python")).args([
                "-m",
                "pip",
                "--disable-pip-version-check",
                "-q",
            ]);
            pip.args(["install", requirement]).run().await?;
        }
    }
    Ok(())
}

fn installed(program: &Path, version: impl Fn() -> String) -> Result<String> {
    if program.exists() {
        Ok(version())
    } else {
        bail!("not installed (`cargo xtask bench proxy --install-peers`)")
    }
}

/// Name and version of a package of Debian's.
fn package(name: &str) -> String {
    let output = std::process::Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${Version}", name])
        .output();
    output.map_or_else(
        |_| name.to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

fn file(place: &BenchPlace<'_>, name: &str, text: &str) -> Result<String> {
    let path = path(place, name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {path}"))?;
    Ok(path)
}

fn path(place: &BenchPlace<'_>, name: &str) -> String {
    place.folder.join(name).display().to_string()
}
