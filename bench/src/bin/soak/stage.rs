//! What is soaked: llm-proxy as built, before three mocks of llama-server, each a process that can be stopped and killed.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use testkit::service::{Service, binary};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// Keys of the callers. The last is taken out of the file and put back.
pub(crate) const KEYS: [&str; 4] = [
    "soak-key-alpha",
    "soak-key-beta",
    "soak-key-gamma",
    "soak-key-delta",
];
/// Slots of each upstream.
const SLOTS: usize = 24;
/// How long anything may take to come back.
const BACK: Duration = Duration::from_secs(20);

/// Everything that runs.
pub(crate) struct SoakStage {
    pub(crate) upstreams: Vec<MockUpstream>,
    pub(crate) proxy: Service,
    pub(crate) public: SocketAddr,
    admin: SocketAddr,
    folder: PathBuf,
}

/// One mock.
pub(crate) struct MockUpstream {
    pub(crate) address: SocketAddr,
    process: Child,
}

impl SoakStage {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("corral-soak-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let mut upstreams = Vec::new();
        for _ in 0..3 {
            upstreams.push(MockUpstream::start(free()?)?);
        }
        let public = free()?;
        let admin = free()?;
        write_keys(&folder, KEYS.len())?;
        let proxy = start_proxy(&upstreams, public, admin, &folder).await?;
        let mut stage = Self {
            upstreams,
            proxy,
            public,
            admin,
            folder,
        };
        stage.proxy.ready().await?;
        stage.all_up().await?;
        Ok(stage)
    }

    /// SIGTERM, the end of all running answers, and a new process at the same address.
    pub(crate) async fn restart_proxy(&mut self) -> anyhow::Result<()> {
        signal("-TERM", self.pid()?).await?;
        if self.proxy.exit_code().await? != Some(0) {
            bail!("llm-proxy did not end with 0");
        }
        self.proxy = start_proxy(&self.upstreams, self.public, self.admin, &self.folder).await?;
        self.proxy.ready().await?;
        self.all_up().await
    }

    /// Another llm-proxy, before a mock of its own that was given `arguments`.
    pub(crate) async fn beside(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Beside> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        write_keys(&folder, KEYS.len())?;
        let upstream = MockUpstream::start_with(free()?, arguments)?;
        let public = free()?;
        let admin = free()?;
        let mut proxy =
            start_proxy(std::slice::from_ref(&upstream), public, admin, &folder).await?;
        proxy.ready().await?;
        Ok(Beside {
            public,
            admin,
            proxy: Process::Read(proxy),
            _mock: upstream,
        })
    }

    /// As [`SoakStage::beside`], but nobody reads what it logs.
    pub(crate) async fn with_unread_log(&self) -> anyhow::Result<Beside> {
        let folder = self.folder.join("unread");
        std::fs::create_dir_all(&folder)?;
        write_keys(&folder, KEYS.len())?;
        let upstream = MockUpstream::start(free()?)?;
        let public = free()?;
        let admin = free()?;
        let proxy = Command::new(binary("llm-proxy")?)
            .env_clear()
            .env("LOG_FORMAT", "json")
            .envs(settings(
                std::slice::from_ref(&upstream),
                public,
                admin,
                &folder,
            ))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let beside = Beside {
            public,
            admin,
            proxy: Process::Unread(proxy),
            _mock: upstream,
        };
        self.until("it to be ready", async || {
            beside.gauge("llm_proxy_slots").await == Some(SLOTS as f64)
        })
        .await?;
        Ok(beside)
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.proxy.pid().context("llm-proxy has ended")
    }

    /// The first `n` keys, in the file.
    pub(crate) fn keys(&self, n: usize) -> anyhow::Result<()> {
        write_keys(&self.folder, n)
    }

    /// Waits until every upstream counts as one that answers.
    pub(crate) async fn all_up(&self) -> anyhow::Result<()> {
        let slots = (SLOTS * self.upstreams.len()) as f64;
        self.until("all upstreams to be back", async || {
            self.gauge("llm_proxy_slots").await == Some(slots)
        })
        .await
    }

    /// A value of `/metrics`, all its series added up.
    pub(crate) async fn gauge(&self, name: &str) -> Option<f64> {
        gauge(self.admin, name).await
    }

    /// Requests that the mocks still work on.
    pub(crate) async fn running(&self) -> anyhow::Result<u64> {
        let mut running = 0;
        for upstream in &self.upstreams {
            let counts: Value = reqwest::get(format!("http://{}/bench", upstream.address))
                .await?
                .json()
                .await?;
            running += counts["running"]
                .as_u64()
                .context("the mock does not count")?;
        }
        Ok(running)
    }

    pub(crate) async fn until(
        &self,
        what: &str,
        is_so: impl AsyncFn() -> bool,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !is_so().await {
            if begin.elapsed() > BACK {
                bail!("waited {} s for {what}", BACK.as_secs());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

impl Drop for SoakStage {
    fn drop(&mut self) {
        // It is below the system's temporary folder, and nothing waits for it to go.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// A second llm-proxy for a while.
pub(crate) struct Beside {
    pub(crate) public: SocketAddr,
    admin: SocketAddr,
    proxy: Process,
    _mock: MockUpstream,
}

/// Dropping it ends it.
enum Process {
    Read(Service),
    Unread(Child),
}

impl Beside {
    /// As [`SoakStage::pid`].
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        let pid = match &self.proxy {
            Process::Read(service) => service.pid(),
            Process::Unread(child) => child.id(),
        };
        pid.context("it has ended")
    }

    /// As [`SoakStage::gauge`].
    pub(crate) async fn gauge(&self, name: &str) -> Option<f64> {
        gauge(self.admin, name).await
    }
}

async fn gauge(admin: SocketAddr, name: &str) -> Option<f64> {
    let text = reqwest::get(format!("http://{admin}/metrics"))
        .await
        .ok()?
        .text()
        .await
        .ok()?;
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = if rest.starts_with('{') {
            rest.split_once("} ")?.1
        } else {
            rest.strip_prefix(' ')?
        };
        rest.trim().parse::<f64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

impl MockUpstream {
    fn start(address: SocketAddr) -> anyhow::Result<Self> {
        Self::start_with(address, &[])
    }

    fn start_with(address: SocketAddr, arguments: &[&str]) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("bench_llama");
        let mut command = Command::new(program);
        command
            .args([
                "--listen",
                &address.to_string(),
                "--slots",
                &SLOTS.to_string(),
            ])
            .args(arguments);
        let process = command
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("the mock does not start")?;
        Ok(Self { address, process })
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Another process at the same address.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        *self = Self::start(self.address)?;
        Ok(())
    }

    pub(crate) async fn signal(&self, name: &str) -> anyhow::Result<()> {
        signal(name, self.process.id().context("the mock has ended")?).await
    }
}

async fn start_proxy(
    upstreams: &[MockUpstream],
    public: SocketAddr,
    admin: SocketAddr,
    folder: &std::path::Path,
) -> anyhow::Result<Service> {
    let settings = settings(upstreams, public, admin, folder);
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    Service::start("llm-proxy", &settings).await
}

fn settings(
    upstreams: &[MockUpstream],
    public: SocketAddr,
    admin: SocketAddr,
    folder: &std::path::Path,
) -> [(&'static str, String); 12] {
    let upstreams: Vec<String> = upstreams
        .iter()
        .map(|upstream| format!("http://{}", upstream.address))
        .collect();
    let keys = folder.join("keys.toml").display().to_string();
    let audit = folder.join("audit.jsonl").display().to_string();
    [
        ("PROXY_LISTEN", public.to_string()),
        ("PROXY_ADMIN_LISTEN", admin.to_string()),
        ("PROXY_UPSTREAMS", upstreams.join(",")),
        ("PROXY_UPSTREAM_API_KEY", "upstream".to_owned()),
        ("PROXY_KEYS_FILE", keys),
        ("PROXY_AUDIT", audit),
        ("LLM_MODEL", "bench".to_owned()),
        ("PROXY_MAX_TOKENS", "100000".to_owned()),
        // Short ones, so that a stall is over within its minute.
        ("PROXY_FIRST_TOKEN_DEADLINE_SECONDS", "4".to_owned()),
        ("PROXY_TOKEN_DEADLINE_SECONDS", "3".to_owned()),
        ("PROXY_QUEUE_DEADLINE_SECONDS", "5".to_owned()),
        ("PROXY_QUEUE_EVENTS_DEADLINE_SECONDS", "5".to_owned()),
    ]
}

fn write_keys(folder: &std::path::Path, n: usize) -> anyhow::Result<()> {
    use sha2::{Digest as _, Sha256};
    let mut text = String::new();
    for key in &KEYS[..n] {
        let digest: String = Sha256::digest(key.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        text += &format!("[[key]]\nname = \"{key}\"\nsha256 = \"{digest}\"\n");
    }
    let new = folder.join("keys.toml.new");
    std::fs::write(&new, text)?;
    Ok(std::fs::rename(&new, folder.join("keys.toml"))?)
}

async fn signal(name: &str, pid: u32) -> anyhow::Result<()> {
    let status = Command::new("kill")
        .args([name, &pid.to_string()])
        .status()
        .await?;
    if status.success() {
        Ok(())
    } else {
        bail!("kill {name} {pid} failed")
    }
}

/// An address that nobody listens on now.
fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
