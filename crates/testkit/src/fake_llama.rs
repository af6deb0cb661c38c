//! A scriptable llama-server: the routes a client meets, the real one's bytes, and every fault on demand.
//!
//! It owns what a test may ask for (scripts, events, what was received). It runs no model and queues nothing, so
//! `most_running` shows what its client let run at once. Waiting is for events, never for time.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use testkit::fake_llama::{FakeLlama, Script};
//! # async fn example() {
//! let llama = FakeLlama::start().await;
//! llama.script(Script::tokens(["Hel", "lo"]).every(Duration::from_millis(20)));
//! // ... something asks llama.url() ...
//! let request = llama.request_started(0).await;
//! llama.client_left(0).await;
//! # }
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::HeaderMap;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

mod answer;
mod events;
mod script;
mod wire;

pub use script::Script;

/// How long an awaited event may take before the test fails instead of hanging.
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

/// A chat request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The client's end of the connection it came on.
    pub peer: SocketAddr,
    /// The method and the target, as in `POST /v1/chat/completions`.
    pub line: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, `null` when it was not JSON.
    pub body: Value,
}

/// How a chat request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The script ran to its end.
    Answered,
    /// The client closed its connection before that.
    ClientLeft,
}

/// What the server is, knows and has seen.
#[derive(Debug)]
struct LlamaState {
    slots: usize,
    n_ctx: usize,
    /// Whether prompts are counted and may be too long.
    counts: bool,
    alias: String,
    key: Option<String>,
    loading: bool,
    stuck: bool,
    sees_images: bool,
    template: Template,
    /// Words in a request that kill it.
    deadly: Option<String>,
    /// Connections that wait for a request close when it grows.
    idle_closed: usize,
    script: Script,
    once: VecDeque<Script>,
    received: Vec<Received>,
    ended: Vec<Option<Ended>>,
    running: usize,
    /// The request that each slot works on, and the one it worked on last.
    seats: Vec<(Option<usize>, Option<usize>)>,
    most_running: usize,
    /// Requests with a smaller number no longer stall.
    released: usize,
    probes: usize,
    slot_looks: usize,
}

impl LlamaState {
    /// How chat request `number` ended, if it did.
    fn end_of(&self, number: usize) -> Option<Ended> {
        self.ended.get(number).copied().flatten()
    }

    /// The request takes the first slot that is free, if one is.
    fn sit_down(&mut self, number: usize) {
        self.seats
            .resize(self.slots.max(self.seats.len()), (None, None));
        if let Some(seat) = self.seats.iter_mut().find(|(now, _)| now.is_none()) {
            *seat = (Some(number), Some(number));
        }
    }

    fn stand_up(&mut self, number: usize) {
        if let Some((now, _)) = self.seats.iter_mut().find(|(now, _)| *now == Some(number)) {
            *now = None;
        }
    }
}

/// What the model's chat template can show. What it cannot show, it refuses as a template does that raises an exception.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Tools: only `/props` says so.
    pub tools: bool,
    /// Two messages of one role in a row.
    pub repeated_roles: bool,
    /// A system message behind others.
    pub later_system: bool,
    /// A system message before all others.
    pub system: bool,
}

impl Default for Template {
    fn default() -> Self {
        Self {
            tools: true,
            repeated_roles: true,
            later_system: true,
            system: true,
        }
    }
}

impl Template {
    /// Whether it shows a conversation of these roles.
    fn takes(self, roles: &[&str]) -> bool {
        let is_repeated = roles.windows(2).any(|pair| pair[0] == pair[1]);
        let system_at = roles.iter().rposition(|role| *role == "system");
        (self.repeated_roles || !is_repeated)
            && (self.later_system || system_at.is_none_or(|at| at == 0))
            && (self.system || system_at != Some(0))
    }
}

/// A running fake. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct FakeLlama {
    address: SocketAddr,
    state: watch::Sender<LlamaState>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _guard: DropGuard,
}

impl FakeLlama {
    /// Starts on a free port of 127.0.0.1: two slots of 4096 tokens, alias `fake-model`, no key, answering "Hello".
    ///
    /// # Panics
    ///
    /// When no port can be bound.
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// As [`FakeLlama::start`], at an address: how a server "comes back" after [`FakeLlama::stop`].
    ///
    /// # Panics
    ///
    /// When `address` cannot be bound.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address)
            .await
            .expect("the fake's address is free");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let state = watch::Sender::new(LlamaState {
            slots: 2,
            n_ctx: 4096,
            counts: false,
            alias: "fake-model".to_owned(),
            key: None,
            loading: false,
            stuck: false,
            sees_images: true,
            template: Template::default(),
            deadly: None,
            idle_closed: 0,
            script: Script::tokens(["Hello"]),
            once: VecDeque::new(),
            received: Vec::new(),
            ended: Vec::new(),
            running: 0,
            seats: Vec::new(),
            most_running: 0,
            released: 0,
            probes: 0,
            slot_looks: 0,
        });
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        tasks.spawn(wire::accept(
            listener,
            state.clone(),
            tasks.clone(),
            stop.clone(),
        ));
        let guard = stop.clone().drop_guard();
        Self {
            address,
            state,
            tasks,
            stop,
            _guard: guard,
        }
    }

    /// Closes the port and every connection, abruptly, and returns the address that is now free.
    pub async fn stop(self) -> SocketAddr {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.address
    }

    /// `http://127.0.0.1:PORT`, without a trailing slash and without `/v1`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What every chat request that arrives from now on gets.
    pub fn script(&self, script: Script) {
        self.state.send_modify(|state| state.script = script);
    }

    /// What the next chat request without a script of its own gets; calls queue up.
    pub fn script_once(&self, script: Script) {
        self.state.send_modify(|state| state.once.push_back(script));
    }

    /// How many slots `/props` and `/slots` report.
    pub fn set_slots(&self, slots: usize) {
        self.state.send_modify(|state| state.slots = slots);
    }

    /// The context of one slot, in tokens.
    pub fn set_n_ctx(&self, n_ctx: usize) {
        self.state.send_modify(|state| state.n_ctx = n_ctx);
    }

    /// Counts the tokens of prompts from now on, instead of taking each for 7, and refuses those beyond the context.
    pub fn count_tokens(&self) {
        self.state.send_modify(|state| state.counts = true);
    }

    /// The model's alias.
    pub fn set_alias(&self, alias: &str) {
        self.state
            .send_modify(|state| alias.clone_into(&mut state.alias));
    }

    /// Asks for this key on every route but `/health`.
    pub fn require_key(&self, key: &str) {
        self.state
            .send_modify(|state| state.key = Some(key.to_owned()));
    }

    /// While loading, every route answers `503 Loading model`.
    pub fn set_loading(&self, loading: bool) {
        self.state.send_modify(|state| state.loading = loading);
    }

    /// While stuck, its engine computes nothing: `/slots` and answers do not come, `/props` does.
    pub fn set_stuck(&self, stuck: bool) {
        self.state.send_modify(|state| state.stuck = stuck);
    }

    /// Whether `/props` names vision among the model's modalities.
    pub fn set_sees_images(&self, sees_images: bool) {
        self.state
            .send_modify(|state| state.sees_images = sees_images);
    }

    /// What the chat template can show, for `/props` and `/apply-template`.
    pub fn set_template(&self, template: Template) {
        self.state.send_modify(|state| state.template = template);
    }

    /// A chat request whose body holds `words` kills it from now on: the port and every connection close at once.
    pub fn dies_of(&self, words: &str) {
        self.state
            .send_modify(|state| state.deadly = Some(words.to_owned()));
    }

    /// Whether it was killed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Closes every connection on which no request is under way, as llama-server does after 5 s.
    pub fn close_idle(&self) {
        self.state.send_modify(|state| state.idle_closed += 1);
    }

    /// How often `/props` was read.
    #[must_use]
    pub fn probes(&self) -> usize {
        self.state.borrow().probes
    }

    /// How often `/slots` was read.
    #[must_use]
    pub fn slot_looks(&self) -> usize {
        self.state.borrow().slot_looks
    }

    /// Lets every request received so far go on where its script stalled.
    pub fn release(&self) {
        self.state
            .send_modify(|state| state.released = state.received.len());
    }

    /// All chat requests so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.state.borrow().received.clone()
    }

    /// Chat requests running now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.state.borrow().running
    }

    /// The most chat requests that ever ran at once.
    #[must_use]
    pub fn most_running(&self) -> usize {
        self.state.borrow().most_running
    }

    /// Waits until chat request `number` (from 0) has been read whole, and returns it. Cancel-safe.
    ///
    /// # Panics
    ///
    /// When that takes longer than 20 s.
    pub async fn request_started(&self, number: usize) -> Received {
        self.wait(format_args!("chat request {number}"), |state| {
            state.received.len() > number
        })
        .await;
        self.state.borrow().received[number].clone()
    }

    /// Waits until chat request `number` (from 0) ended, and returns how. Cancel-safe.
    ///
    /// # Panics
    ///
    /// When that takes longer than 20 s.
    pub async fn ended(&self, number: usize) -> Ended {
        self.wait(format_args!("the end of chat request {number}"), |state| {
            state.end_of(number).is_some()
        })
        .await;
        let end = self.state.borrow().end_of(number);
        end.expect("it was just waited for")
    }

    /// Waits until the client of chat request `number` (from 0) closed its connection. Cancel-safe.
    ///
    /// # Panics
    ///
    /// When the request was answered to its end instead, or nothing happens for 20 s.
    pub async fn client_left(&self, number: usize) {
        assert_eq!(
            self.ended(number).await,
            Ended::ClientLeft,
            "chat request {number}"
        );
    }

    /// Waits for `more` further reads of `/props`. Cancel-safe.
    ///
    /// # Panics
    ///
    /// When that takes longer than 20 s.
    pub async fn probed(&self, more: usize) {
        let before = self.state.borrow().probes;
        self.wait(format_args!("{more} reads of /props"), |state| {
            state.probes >= before + more
        })
        .await;
    }

    async fn wait(&self, what: std::fmt::Arguments<'_>, happened: impl FnMut(&LlamaState) -> bool) {
        let mut changes = self.state.subscribe();
        let waited = tokio::time::timeout(EVENT_TIMEOUT, changes.wait_for(happened)).await;
        assert!(
            waited.is_ok(),
            "the fake llama-server waited {} s for {what}",
            EVENT_TIMEOUT.as_secs()
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Ended, FakeLlama, Script};

    #[tokio::test]
    async fn a_stream_has_llama_servers_shape_and_its_client_is_seen_leaving() {
        let llama = FakeLlama::start().await;
        llama.script_once(Script::tokens(["a", "b"]).sliced(3));
        let ask = || {
            let body =
                json!({"messages": [], "stream": true, "stream_options": {"include_usage": true}});
            reqwest::Client::new()
                .post(llama.url() + "/v1/chat/completions")
                .json(&body)
                .send()
        };
        let text = ask().await.unwrap().text().await.unwrap();
        let events: Vec<&str> = text.split_terminator("\n\n").collect();
        assert_eq!(events.len(), 6, "{text}");
        let first: Value = serde_json::from_str(events[1].strip_prefix("data: ").unwrap()).unwrap();
        let choice = json!({"finish_reason": null, "index": 0, "delta": {"content": "a"}});
        assert_eq!(first["choices"], json!([choice]));
        assert_eq!(events[5], "data: [DONE]");
        assert_eq!(llama.ended(0).await, Ended::Answered);

        llama.script(Script::tokens(["a", "b"]).stall_after(1));
        drop(ask().await.unwrap());
        llama.client_left(1).await;
        assert_eq!((llama.running(), llama.most_running()), (0, 1));
    }
}
