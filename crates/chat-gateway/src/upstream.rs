//! The one HTTP client, and what is known of llm-proxy without asking it for an answer: whether it accepts our key and
//! serves our model, how long a conversation that takes, and what else it can read.
//!
//! Nothing here retries: llm-proxy keeps the queue, and a request may have begun an answer even if no byte came back.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::secret::Secret;
use common::shutdown::Shutdown;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Config;
use crate::protocol::v2::{Model, ModelState};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long upstream may send nothing at all. Its own deadlines are shorter; this one is for a peer that vanished.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long an unused connection is kept; llama-server closes it after 5 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon a peer that vanished without a word is noticed.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Where the API's paths begin.
pub(crate) const VERSION: &str = "/v1";
/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause between probes until upstream is up, and from then on.
const PROBE_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// How long llm-proxy may take to become ready before the log warns.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// The most of an answer that is not a stream, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 256 * 1024;

/// Names of other models that an operator is told.
const MAX_NAMES: usize = 3;
/// The longest name of a model that an operator is told, in characters.
const MAX_NAME_CHARS: usize = 200;

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
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    NotAsked,
    Unreachable,
    Slow,
    KeyRefused,
    Loading,
    WrongAddress,
    WrongModel { ours: String, served: String },
    Status(StatusCode),
}

impl Trouble {
    fn advice(&self) -> String {
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
            Self::Loading => "the model is still loading".to_owned(),
            Self::WrongAddress => {
                "LLM_BASE_URL lacks /v1: it must be http://HOST:PORT/v1".to_owned()
            }
            Self::WrongModel { ours, served } => format!(
                "LLM_MODEL is `{ours}`, but llm-proxy serves {served}: both need the same LLM_MODEL"
            ),
            Self::Status(status) => format!("llm-proxy answers {} to GET /models", status.as_u16()),
        }
    }

    const fn state(&self) -> ModelState {
        match self {
            Self::Loading => ModelState::Loading,
            _ => ModelState::Unavailable,
        }
    }
}

/// `GET /models`, as far as it is read.
#[derive(Deserialize)]
struct OfferedModels {
    data: Vec<OfferedModel>,
}

#[derive(Deserialize)]
struct OfferedModel {
    #[serde(default)]
    id: String,
    #[serde(default)]
    meta: Option<OfferedMeta>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct OfferedMeta {
    n_ctx: Option<u64>,
    #[serde(default)]
    images: bool,
    #[serde(default)]
    tools: bool,
}

/// What the latest probe found.
#[derive(Debug)]
pub(crate) struct ProxyHealth {
    http: reqwest::Client,
    base_url: String,
    key: Secret,
    /// Our model. While it is away it is as it was last.
    model: watch::Sender<Model>,
    state: Mutex<Result<(), Trouble>>,
}

impl ProxyHealth {
    pub(crate) fn new(http: reqwest::Client, config: &Config) -> Self {
        Self {
            http,
            base_url: config.base_url.clone(),
            key: config.api_key.clone(),
            model: watch::Sender::new(Model {
                name: config.model.clone(),
                context: None,
                images: false,
                tools: false,
                state: ModelState::Unavailable,
            }),
            state: Mutex::new(Err(Trouble::NotAsked)),
        }
    }

    /// The context of one slot in tokens, once upstream has told it.
    pub(crate) fn n_ctx(&self) -> Option<u64> {
        self.model.borrow().context.map(u64::from)
    }

    /// Our model, as upstream last told it.
    pub(crate) fn model(&self) -> Model {
        self.model.borrow().clone()
    }

    /// Our model, for those who want to know when it changes.
    pub(crate) fn model_changes(&self) -> watch::Receiver<Model> {
        self.model.subscribe()
    }

    /// Whether upstream answered the latest probe, or why not, for an operator.
    pub(crate) fn ready(&self) -> Result<(), String> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .copied()
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
            self.keep(found.as_ref());
            let found = found.map(drop);
            let pause = PROBE_PAUSES[usize::from(found.is_ok())];
            if said.is_news(&found) {
                match &found {
                    Ok(()) => tracing::info!(n_ctx = self.n_ctx(), "llm-proxy is ready"),
                    Err(trouble) => tracing::warn!(reason = trouble.advice(), "not ready"),
                }
            }
            *self.state.lock().unwrap_or_else(PoisonError::into_inner) = found;
            tokio::select! {
                () = shutdown.draining() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tells everybody who wants to know what a probe found, if that is news.
    fn keep(&self, found: Result<&Option<OfferedMeta>, &Trouble>) {
        self.model.send_if_modified(|model| {
            let before = model.clone();
            match found {
                Ok(meta) => {
                    model.state = ModelState::Ready;
                    if let Some(meta) = meta {
                        let context = meta.n_ctx.and_then(|n_ctx| u32::try_from(n_ctx).ok());
                        model.context = context.or(model.context);
                        model.images = meta.images;
                        model.tools = meta.tools;
                    }
                }
                Err(trouble) => model.state = trouble.state(),
            }
            *model != before
        });
    }

    async fn probe(&self) -> Result<Option<OfferedMeta>, Trouble> {
        let request = self
            .http
            .get(format!("{}/models", self.base_url))
            .bearer_auth(self.key.expose());
        let response = request.send().await.map_err(|_| Trouble::Unreachable)?;
        let status = response.status();
        let body = read_capped(response)
            .await
            .map_err(|_| Trouble::Unreachable)?;
        match status {
            StatusCode::OK => served(&body, &self.model.borrow().name),
            StatusCode::UNAUTHORIZED => Err(Trouble::KeyRefused),
            StatusCode::NOT_FOUND if !self.base_url.ends_with(VERSION) => {
                Err(Trouble::WrongAddress)
            }
            StatusCode::SERVICE_UNAVAILABLE if is_loading(&body) => Err(Trouble::Loading),
            status => Err(Trouble::Status(status)),
        }
    }
}

/// Whether an error's body says that the model loads, in llm-proxy's words or in llama-server's.
fn is_loading(body: &[u8]) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["error"];
    error["code"] == "model_loading" || error["message"] == "Loading model"
}

/// What a list of models says of the model `ours`. A list that cannot be read says nothing.
fn served(models: &[u8], ours: &str) -> Result<Option<OfferedMeta>, Trouble> {
    let Ok(models) = serde_json::from_slice::<OfferedModels>(models) else {
        return Ok(None);
    };
    let found = models.data.iter().find(|model| model.id == ours);
    if let Some(model) = found {
        return Ok(Some(model.meta.unwrap_or_default()));
    }
    let names = models.data.iter().take(MAX_NAMES).map(|model| {
        let name: String = model.id.chars().take(MAX_NAME_CHARS).collect();
        format!("`{name}`")
    });
    let names: Vec<String> = names.collect();
    Err(Trouble::WrongModel {
        ours: ours.to_owned(),
        served: if names.is_empty() {
            "no model that our key may use".to_owned()
        } else {
            names.join(", ")
        },
    })
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
    fn is_news(&mut self, found: &Result<(), Trouble>) -> bool {
        let is_starting = self.said.is_none() && self.started.elapsed() < START_PATIENCE;
        if self.said.as_ref() == Some(found) || (is_starting && found.is_err()) {
            return false;
        }
        self.said = Some(found.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{ReadyLog, START_PATIENCE, Trouble};

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_not_ready_at_once_is_warned_of_when_that_lasts() {
        let mut said = ReadyLog::new();
        assert!(!said.is_news(&Err(Trouble::Unreachable)));
        tokio::time::advance(START_PATIENCE).await;
        assert!(said.is_news(&Err(Trouble::Unreachable)));
        assert!(!said.is_news(&Err(Trouble::Unreachable)));
        assert!(said.is_news(&Ok(())));

        let mut said = ReadyLog::new();
        assert!(!said.is_news(&Err(Trouble::Slow)));
        assert!(said.is_news(&Ok(())));
        assert!(!said.is_news(&Ok(())));
        assert!(said.is_news(&Err(Trouble::Slow)), "it was ready before");
    }
}
