//! llm-proxy at the wire: the real server on port 0 before a scripted llama-server.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::time::Duration;

use common::env::Environment;
use llm_proxy::{Config, Listeners, ServeError, VARIABLES, serve};
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

mod audit;
mod broken;
mod cancelling;
mod commands;
mod connections;
mod deadlines;
mod defaults;
mod dialects;
mod drained;
mod failing;
mod faults;
mod fleet;
mod framing;
mod headers;
mod hostile;
mod keys;
mod keys_server;
mod limits;
mod messages;
mod metrics;
mod names;
mod observability;
mod overlap;
mod poison;
mod process;
mod queue_events;
mod queueing;
mod reload;
mod requests;
mod responses;
mod routes;
mod secrets;
mod several;
mod shutdown;
mod slow;
mod status;
mod streaming;
mod surface;
mod taken;
mod tracing;
mod users;
mod whole;

const KEY: &str = "the-callers-key";
const UPSTREAM_KEY: &str = "the-upstreams-key";
const MODEL: &str = "fake-model";
/// How long a condition may take before the test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running llm-proxy; dropping it ends it.
struct Proxy {
    address: SocketAddr,
    admin: SocketAddr,
    http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    task: JoinSet<Result<(), ServeError>>,
}

impl Proxy {
    /// In front of `llama`, and ready.
    async fn before(llama: &FakeLlama) -> Self {
        Self::with(llama, |_| {}).await
    }

    /// As [`Proxy::before`], with some settings changed.
    async fn with(llama: &FakeLlama, change: impl FnOnce(&mut Config)) -> Self {
        llama.require_key(UPSTREAM_KEY);
        let proxy = Self::start(&llama.url(), change).await;
        proxy.until_ready().await;
        proxy
    }

    /// In front of `upstream`, ready or not.
    async fn start(upstream: &str, change: impl FnOnce(&mut Config)) -> Self {
        let settings = [
            ("PROXY_UPSTREAMS", upstream),
            ("PROXY_UPSTREAM_API_KEY", UPSTREAM_KEY),
            ("LLM_API_KEY", KEY),
            ("LLM_MODEL", MODEL),
        ];
        let mut env = Environment::from_pairs("PROXY_", &[VARIABLES], settings);
        let mut config = Config::read(&mut env);
        env.finish().unwrap();
        config.probe_down = Duration::from_millis(5);
        change(&mut config);
        let bind = || TcpListener::bind("127.0.0.1:0");
        let listeners = Listeners {
            public: bind().await.unwrap(),
            admin: bind().await.unwrap(),
        };
        let (address, admin) = (
            listeners.public.local_addr().unwrap(),
            listeners.admin.local_addr().unwrap(),
        );
        let (stop, stopped) = oneshot::channel::<()>();
        let mut task = JoinSet::new();
        task.spawn(serve(config, listeners, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            admin,
            http: reqwest::Client::new(),
            stop: Some(stop),
            task,
        }
    }

    fn chat(&self, body: &Value) -> reqwest::RequestBuilder {
        self.http
            .post(format!("http://{}/v1/chat/completions", self.address))
            .bearer_auth(KEY)
            .json(body)
    }

    async fn ask(&self, body: &Value) -> reqwest::Response {
        self.chat(body).send().await.unwrap()
    }

    /// Asks for a stream that holds its slot until the fake is released.
    async fn ask_stalled(&self, llama: &FakeLlama) -> reqwest::Response {
        llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
        self.ask(&question(true)).await
    }

    /// The error that a request ends with, as status and envelope.
    async fn error(&self, body: &Value) -> (u16, Value) {
        let response = self.ask(body).await;
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Writes `request` as it stands and returns everything that comes back.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer));
        read.await.unwrap().unwrap();
        answer
    }

    async fn ready(&self) -> (u16, String) {
        let response = self
            .http
            .get(format!("http://{}/readyz", self.admin))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn until_ready(&self) {
        until("readiness", async || self.ready().await.0 == 200).await;
    }

    async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.admin);
        self.http
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// Waits until the metrics hold the line `sample`.
    async fn until_metric(&self, sample: &str) {
        until(sample, async || {
            self.metrics().await.lines().any(|line| line == sample)
        })
        .await;
    }

    /// Waits until `n` answers have begun to speak.
    async fn until_first_tokens(&self, n: usize) {
        let series = r#"gen_ai_operation_name="chat",gen_ai_provider_name="llama.cpp",gen_ai_request_model="fake-model""#;
        let metric = "gen_ai_server_time_to_first_token_seconds_count";
        self.until_metric(&format!("{metric}{{{series}}} {n}"))
            .await;
    }

    fn begin_shutdown(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    async fn ended(mut self) {
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}

/// Asks again and again until `condition` holds.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let asking = async { while !condition().await {} };
    assert!(
        tokio::time::timeout(PATIENCE, asking).await.is_ok(),
        "waited in vain for {what}"
    );
}

/// A question that asks for a stream, or not.
fn question(stream: bool) -> Value {
    json!({"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
}

/// The seconds after which an answer says to come back.
fn retry_after(response: &reqwest::Response) -> u64 {
    response.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// The envelope of an error of the proxy's own.
fn envelope(src: &str, kind: &str, code: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "code": code, "param": null}, "src": src})
}

/// The payloads of an event stream, `[DONE]` included, comments not.
fn events(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect()
}

/// The error event that ends a stream, checked to be its last.
fn last_error(text: &str) -> Value {
    assert!(!text.contains("[DONE]"), "{text}");
    serde_json::from_str(events(text).last().unwrap()).unwrap()
}
