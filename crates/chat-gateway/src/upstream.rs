//! The one HTTP client, and what is known of llm-proxy without asking it for an answer: whether it accepts our key,
//! and how long a conversation its model takes.
//!
//! Nothing here retries: llm-proxy keeps the queue, and a request may have begun an answer even if no byte came back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::secret::Secret;
use common::shutdown::Shutdown;
use reqwest::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;

use crate::config::Config;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long upstream may send nothing at all. Its own deadlines are shorter; this one is for a peer that vanished.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long an unused connection is kept; llama-server closes it after 5 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon a peer that vanished without a word is noticed.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause between probes until upstream is up, and from then on.
const PROBE_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// How long llm-proxy may take to become ready before the log warns.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// The most of an answer that is not a stream, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 256 * 1024;

/// The HTTP client for completions and probes.
pub(crate) fn http() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
}

/// Reads a body up to [`MAX_BODY_BYTES`]; what is longer is cut. Cancel-safe only in that dropping it drops the response.
pub(crate) async fn read_capped(mut response: reqwest::Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY_BYTES - body.len())]);
        if body.len() == MAX_BODY_BYTES {
            break;
        }
    }
    Ok(body)
}

/// Why upstream would not answer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    NotAsked,
    Unreachable,
    Slow,
    KeyRefused,
    Status(StatusCode),
}

impl Trouble {
    fn advice(self) -> String {
        match self {
            Self::NotAsked => "llm-proxy has not been asked yet".to_owned(),
            Self::Unreachable => {
                "llm-proxy cannot be reached: is it running, and is LLM_BASE_URL its address?"
                    .to_owned()
            }
            Self::Slow => format!(
                "llm-proxy did not answer within {} s",
                PROBE_TIMEOUT.as_secs()
            ),
            Self::KeyRefused => {
                "llm-proxy refuses our key (401): both need the same LLM_API_KEY".to_owned()
            }
            Self::Status(status) => format!("llm-proxy answers {} to GET /models", status.as_u16()),
        }
    }
}

/// `GET /models`, as far as it is read.
#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    id: String,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    n_ctx: Option<u64>,
}

/// What the latest probe found.
#[derive(Debug)]
pub(crate) struct ProxyHealth {
    http: reqwest::Client,
    models_url: String,
    key: Secret,
    model: String,
    /// 0 while nobody knows.
    n_ctx: AtomicU64,
    state: Mutex<Result<(), Trouble>>,
}

impl ProxyHealth {
    pub(crate) fn new(http: reqwest::Client, config: &Config) -> Self {
        Self {
            http,
            models_url: format!("{}/models", config.base_url),
            key: config.api_key.clone(),
            model: config.model.clone(),
            n_ctx: AtomicU64::new(0),
            state: Mutex::new(Err(Trouble::NotAsked)),
        }
    }

    /// The context of one slot in tokens, once upstream has told it.
    pub(crate) fn n_ctx(&self) -> Option<u64> {
        Some(self.n_ctx.load(Ordering::Relaxed)).filter(|n_ctx| *n_ctx > 0)
    }

    /// Whether upstream answered the latest probe, or why not, for an operator.
    pub(crate) fn ready(&self) -> Result<(), String> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .map_err(Trouble::advice)
    }

    /// Probes until the drain begins; says in the log what changed. Cancel-safe.
    pub(crate) async fn watch(&self, shutdown: &Shutdown) {
        let mut said = ReadyLog::new();
        loop {
            let probe = tokio::time::timeout(PROBE_TIMEOUT, self.probe());
            let found = tokio::select! {
                () = shutdown.draining() => return,
                found = probe => found.unwrap_or(Err(Trouble::Slow)),
            };
            *self.state.lock().unwrap_or_else(PoisonError::into_inner) = found;
            if said.is_news(found) {
                match found {
                    Ok(()) => tracing::info!(n_ctx = self.n_ctx(), "llm-proxy is ready"),
                    Err(trouble) => tracing::warn!(reason = trouble.advice(), "not ready"),
                }
            }
            tokio::select! {
                () = shutdown.draining() => return,
                () = tokio::time::sleep(PROBE_PAUSES[usize::from(found.is_ok())]) => {}
            }
        }
    }

    async fn probe(&self) -> Result<(), Trouble> {
        let request = self
            .http
            .get(&self.models_url)
            .bearer_auth(self.key.expose());
        let response = request.send().await.map_err(|_| Trouble::Unreachable)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(Trouble::KeyRefused),
            status => return Err(Trouble::Status(status)),
        }
        let body = read_capped(response)
            .await
            .map_err(|_| Trouble::Unreachable)?;
        if let Some(n_ctx) = n_ctx(&body, &self.model) {
            self.n_ctx.store(n_ctx, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// What the log has said of llm-proxy.
#[derive(Debug)]
struct ReadyLog {
    said: Option<Result<(), Trouble>>,
    started: Instant,
}

impl ReadyLog {
    fn new() -> Self {
        Self {
            said: None,
            started: Instant::now(),
        }
    }

    /// Whether the log must say what was `found`. While the chain starts, trouble is no news until it lasts.
    fn is_news(&mut self, found: Result<(), Trouble>) -> bool {
        let is_starting = self.said.is_none() && self.started.elapsed() < START_PATIENCE;
        if self.said == Some(found) || (is_starting && found.is_err()) {
            return false;
        }
        self.said = Some(found);
        true
    }
}

/// The context that our model's entry names, or the first entry's.
fn n_ctx(models: &[u8], model: &str) -> Option<u64> {
    let models: Models = serde_json::from_slice(models).ok()?;
    let ours = models
        .data
        .iter()
        .find(|entry| entry.id == model)
        .or(models.data.first())?;
    ours.meta.as_ref()?.n_ctx
}

#[cfg(test)]
mod tests {
    use super::{ReadyLog, START_PATIENCE, Trouble};

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_not_ready_at_once_is_warned_of_when_that_lasts() {
        let mut said = ReadyLog::new();
        assert!(!said.is_news(Err(Trouble::Unreachable)));
        tokio::time::advance(START_PATIENCE).await;
        assert!(said.is_news(Err(Trouble::Unreachable)));
        assert!(!said.is_news(Err(Trouble::Unreachable)));
        assert!(said.is_news(Ok(())));

        let mut said = ReadyLog::new();
        assert!(!said.is_news(Err(Trouble::Slow)));
        assert!(said.is_news(Ok(())));
        assert!(!said.is_news(Ok(())));
        assert!(said.is_news(Err(Trouble::Slow)), "it was ready before");
    }
}
