//! Where the running chain is, and the questions that the tests ask of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long an event may take that must happen but has no promised time: one core computes everything here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Polling llama-server faster than once a second makes it miss clients that leave during prefill
/// (its wait restarts with every result).
const SLOTS_INTERVAL: Duration = Duration::from_millis(1_100);

/// Often enough to measure a tenth of a second.
const SHORT_INTERVAL: Duration = Duration::from_millis(5);

/// The addresses of the running chain.
pub(crate) struct Stack {
    pub(crate) gateway: String,
    pub(crate) proxy: String,
    pub(crate) proxy_admin: String,
    pub(crate) engine: String,
    /// One more with the same model, behind no proxy.
    pub(crate) second_engine: String,
    /// The same model with a template that knows tools: the llm-proxy in front of it.
    pub(crate) tools_proxy: String,
    /// The engine behind it.
    pub(crate) tools_engine: String,
    /// The engine's process, to see that it is still the same one.
    pub(crate) engine_pid: Option<String>,
    pub(crate) key: String,
    pub(crate) model: String,
    pub(crate) http: reqwest::Client,
}

impl Stack {
    /// Reads what `cargo xtask test` set.
    pub(crate) fn running() -> Self {
        Self {
            gateway: setting("CORRAL_GATEWAY_URL"),
            proxy: setting("CORRAL_PROXY_URL"),
            proxy_admin: setting("CORRAL_PROXY_ADMIN_URL"),
            engine: setting("CORRAL_ENGINE_URL"),
            second_engine: setting("CORRAL_SECOND_ENGINE_URL"),
            tools_proxy: setting("CORRAL_TOOLS_PROXY_URL"),
            tools_engine: setting("CORRAL_TOOLS_ENGINE_URL"),
            engine_pid: Some(setting("CORRAL_ENGINE_PID")).filter(|_| cfg!(target_os = "linux")),
            key: setting("CORRAL_API_KEY"),
            model: setting("CORRAL_MODEL"),
            http: reqwest::Client::new(),
        }
    }

    /// The WebSocket's address.
    pub(crate) fn chat(&self) -> String {
        format!("{}/api/v1/ws/chat", self.gateway.replacen("http", "ws", 1))
    }

    /// A chat request with the right key.
    pub(crate) fn completion(&self, body: &Value) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}/v1/chat/completions", self.proxy))
            .bearer_auth(&self.key)
            .json(body)
    }

    /// A question with a short, nearly deterministic answer.
    pub(crate) fn question(&self, text: &str, stream: bool, max_tokens: u32) -> Value {
        json!({
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "stream": stream,
            "max_tokens": max_tokens,
            "temperature": 0,
            "seed": 7,
        })
    }

    /// What the engine itself answers.
    pub(crate) async fn engine_json(&self, path: &str) -> Value {
        let request = self
            .http
            .get(format!("{}{path}", self.engine))
            .bearer_auth(&self.key);
        request
            .send()
            .await
            .expect("the engine answers")
            .json()
            .await
            .expect("the engine answers JSON")
    }

    /// How many of the engine's slots compute now.
    pub(crate) async fn busy_slots(&self) -> usize {
        let slots = self.engine_json("/slots").await;
        let slots = slots.as_array().expect("/slots is a list");
        slots
            .iter()
            .filter(|slot| slot["is_processing"] == true)
            .count()
    }

    /// Waits until exactly `busy` slots compute.
    pub(crate) async fn wait_for_busy_slots(&self, busy: usize) {
        let start = Instant::now();
        loop {
            let now = self.busy_slots().await;
            if now == busy {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{now} slots are busy, not {busy}, after {PATIENCE:?}"
            );
            tokio::time::sleep(SLOTS_INTERVAL).await;
        }
    }

    /// Waits until a slot computes, looking often: only where tokens or progress come anyway.
    pub(crate) async fn until_busy(&self) {
        while self.busy_slots().await == 0 {
            tokio::time::sleep(SHORT_INTERVAL).await;
        }
    }

    /// How long it takes from now until no slot computes, looking often.
    pub(crate) async fn time_until_idle(&self) -> Duration {
        let start = Instant::now();
        while self.busy_slots().await > 0 {
            assert!(
                start.elapsed() < PATIENCE,
                "a slot is busy after {PATIENCE:?}"
            );
            tokio::time::sleep(SHORT_INTERVAL).await;
        }
        start.elapsed()
    }

    /// A counter of the engine's own metrics: it shows how far a request ran that its caller had left.
    pub(crate) async fn engine_counter(&self, name: &str) -> u64 {
        let request = self
            .http
            .get(format!("{}/metrics", self.engine))
            .bearer_auth(&self.key);
        let text = request
            .send()
            .await
            .expect("metrics")
            .text()
            .await
            .expect("metrics are text");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    /// How many slots the engine has.
    pub(crate) async fn slots(&self) -> usize {
        let props = self.engine_json("/props").await;
        usize::try_from(
            props["total_slots"]
                .as_u64()
                .expect("total_slots is a number"),
        )
        .expect("it is small")
    }

    /// The proxy's metrics.
    async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.proxy_admin);
        self.http
            .get(url)
            .send()
            .await
            .expect("metrics")
            .text()
            .await
            .expect("metrics")
    }

    /// The sample `name` (with its labels) of the proxy's metrics.
    pub(crate) async fn metric(&self, name: &str) -> String {
        let text = self.metrics().await;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .to_owned()
    }

    /// How many chat requests have ended, in whatever way.
    pub(crate) async fn ended(&self) -> u64 {
        let text = self.metrics().await;
        let chat = r#"llm_proxy_requests_total{route="/v1/chat/completions","#;
        let value = |line: &str| {
            line.strip_prefix(chat)?
                .rsplit_once(' ')?
                .1
                .parse::<u64>()
                .ok()
        };
        text.lines().filter_map(value).sum()
    }

    /// Waits until the sample `name` (with its labels) of the proxy's metrics is `value`.
    pub(crate) async fn wait_for_metric(&self, name: &str, value: &str) {
        let start = Instant::now();
        while self.metric(name).await != value {
            assert!(start.elapsed() < PATIENCE, "{name} {value} was not seen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The words of a command that starts an engine like the chain's.
pub(crate) fn engine_command() -> Vec<String> {
    serde_json::from_str(&setting("CORRAL_ENGINE_COMMAND")).expect("a list of words")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the addresses of a chain that another process started"
)]
fn setting(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run these tests with `cargo xtask test`"))
}
