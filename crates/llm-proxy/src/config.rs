//! The settings: what each means, what it is when nobody sets it, and what is refused.
//!
//! Everything is parsed here, once; the rest of the crate only sees types. Fields without a variable are bounds that
//! nobody needs to turn but tests.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::env::{Environment, Variable};
use common::secret::Secret;
use common::traces::Endpoint;
use llama_client::Upstream;

use crate::api::Api;
use crate::auth::Keys;
use crate::observe::audit::Destination;

const LISTEN: Variable = Variable::new("PROXY_LISTEN", "0.0.0.0:8081", "Where callers connect.");
/// Where operators connect; all that a health check needs to know.
pub const ADMIN_LISTEN: Variable = Variable::new(
    "PROXY_ADMIN_LISTEN",
    "0.0.0.0:9081",
    "Where `/livez`, `/readyz`, `/metrics` and `/status` are; never publish it.",
);
const UPSTREAMS: Variable = Variable::new(
    "PROXY_UPSTREAMS",
    "http://llama_server:8080",
    "llama-server's base URL, or several with commas. `dns+http://NAME:PORT` is every address behind the name, resolved \
     again every 10 s.",
);
const UPSTREAM_API_KEY: Variable = Variable::secret(
    "PROXY_UPSTREAM_API_KEY",
    "The key that llama-server asks for; `LLM_API_KEY` unless set.",
);
const API_KEY: Variable = Variable::secret(
    "LLM_API_KEY",
    "The key that callers present as `Authorization: Bearer`: one without limits, named `default`. Set this, `PROXY_KEYS_FILE`, or both.",
);
const KEYS_FILE: Variable = Variable::new(
    "PROXY_KEYS_FILE",
    "",
    "A file of named keys with limits. A change takes effect within a second; see docs/keys.md.",
);
const MODEL: Variable = Variable::new(
    "LLM_MODEL",
    "",
    "The model's name for callers; `HF_FILENAME` unless set.",
);
const HF_FILENAME: Variable = Variable::new(
    "HF_FILENAME",
    "",
    "The model file; here only the default of `LLM_MODEL`.",
);
const QUEUE_REQUESTS: Variable = Variable::new(
    "PROXY_QUEUE_REQUESTS",
    "64",
    "Requests that may wait for a slot; further ones get 429.",
);
const QUEUE_BYTES: Variable = Variable::new(
    "PROXY_QUEUE_BYTES",
    "8388608",
    "Bytes of requests that may wait for a slot, at least `PROXY_MAX_BODY_BYTES`; further ones get 429.",
);
const QUEUE_DEADLINE: Variable = Variable::new(
    "PROXY_QUEUE_DEADLINE_SECONDS",
    "30",
    "The longest wait for a slot, in seconds.",
);
const QUEUE_EVENTS_DEADLINE: Variable = Variable::new(
    "PROXY_QUEUE_EVENTS_DEADLINE_SECONDS",
    "600",
    "The longest wait for a slot of a stream that shows its caller the queue (`X-Queue-Events`), in seconds.",
);
const CONNECT_DEADLINE: Variable = Variable::new(
    "PROXY_CONNECT_DEADLINE_SECONDS",
    "1",
    "The longest wait for a TCP connection to llama-server, in seconds.",
);
const FIRST_TOKEN_DEADLINE: Variable = Variable::new(
    "PROXY_FIRST_TOKEN_DEADLINE_SECONDS",
    "60",
    "The longest wait from a slot to the first token of an empty prompt, in seconds.",
);
const FIRST_TOKEN_PER_TOKEN: Variable = Variable::new(
    "PROXY_FIRST_TOKEN_DEADLINE_PER_TOKEN_MS",
    "150",
    "Added to that wait for each estimated token of the prompt, in milliseconds.",
);
const TOKEN_DEADLINE: Variable = Variable::new(
    "PROXY_TOKEN_DEADLINE_SECONDS",
    "60",
    "The longest wait between two tokens, in seconds.",
);
const TOTAL_DEADLINE: Variable = Variable::new(
    "PROXY_TOTAL_DEADLINE_SECONDS",
    "1800",
    "The longest a request may take from its slot to its last byte, in seconds.",
);
const MAX_BODY_BYTES: Variable = Variable::new(
    "PROXY_MAX_BODY_BYTES",
    "262144",
    "The largest request body, in bytes.",
);
const MAX_TOKENS: Variable = Variable::new(
    "PROXY_MAX_TOKENS",
    "2048",
    "The longest completion, in tokens; also the limit of a request that names none.",
);
const ROUTES: Variable = Variable::new(
    "PROXY_ROUTES",
    "",
    "Routes in addition to those of chats, separated by commas: `completions`, `responses`, `messages`, `embeddings`, `rerank`. The last two need a llama-server that runs for them (`--embeddings`, `--reranking`).",
);
const DRAIN: Variable = Variable::new(
    "PROXY_DRAIN_SECONDS",
    "25",
    "How long running answers may take to end after SIGTERM, in seconds.",
);

const AUDIT: Variable = Variable::new(
    "PROXY_AUDIT",
    "off",
    "Where one line of JSON for each request goes: `off`, `stdout`, or a file's path. Names, counts and times, never words.",
);

/// The settings that [`Config::read`] understands.
pub const VARIABLES: &[Variable] = &[
    LISTEN,
    ADMIN_LISTEN,
    UPSTREAMS,
    UPSTREAM_API_KEY,
    API_KEY,
    KEYS_FILE,
    MODEL,
    HF_FILENAME,
    QUEUE_REQUESTS,
    QUEUE_BYTES,
    QUEUE_DEADLINE,
    QUEUE_EVENTS_DEADLINE,
    CONNECT_DEADLINE,
    FIRST_TOKEN_DEADLINE,
    FIRST_TOKEN_PER_TOKEN,
    TOKEN_DEADLINE,
    TOTAL_DEADLINE,
    MAX_BODY_BYTES,
    MAX_TOKENS,
    ROUTES,
    DRAIN,
    AUDIT,
];

/// How long each part of a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Waiting for a slot.
    pub queue: Duration,
    /// The same, where the caller sees its place in the queue.
    pub queue_with_events: Duration,
    /// The TCP connection to the upstream.
    pub connect: Duration,
    /// From the slot to the first token, for an empty prompt.
    pub first_token: Duration,
    /// What each token of the prompt adds to `first_token`; a CPU prefills 10 to 300 tokens a second.
    pub first_token_per_prompt_token: Duration,
    /// From one token to the next.
    pub between_tokens: Duration,
    /// From the slot to the last byte.
    pub total: Duration,
}

/// What a running llm-proxy is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where callers connect.
    pub listen: SocketAddr,
    /// Where operators connect.
    pub admin_listen: SocketAddr,
    /// The llama-servers, at least one.
    pub upstreams: Vec<Upstream>,
    /// What they ask for.
    pub upstream_api_key: Secret,
    /// What callers present: a key without limits.
    pub api_key: Option<Secret>,
    /// Where the keys with names and limits are.
    pub keys_file: Option<PathBuf>,
    /// Between two looks at that file.
    pub keys_poll: Duration,
    /// The model's name, for callers and upstream.
    pub model: Arc<str>,
    /// The five deadlines.
    pub deadlines: Deadlines,
    /// Requests that may wait.
    pub queue_requests: usize,
    /// Bytes of requests that may wait.
    pub queue_bytes: usize,
    /// The largest request body.
    pub max_body_bytes: usize,
    /// The bytes of all request bodies that are being read.
    pub max_bodies_bytes: usize,
    /// From a request's header to the end of its body.
    pub body_deadline: Duration,
    /// The longest completion, in tokens.
    pub max_tokens: u64,
    /// The routes that take a slot.
    pub routes: Vec<Api>,
    /// How long counting tokens may take.
    pub counting_deadline: Duration,
    /// How long answers may take to end after the signal.
    pub drain: Duration,
    /// Where the audit goes.
    pub audit: Destination,
    /// Where spans go.
    pub traces: Option<Endpoint>,
    /// Upstream silence after which a streamed answer gets a comment.
    pub keep_alive: Duration,
    /// How long a caller may take nothing of what is sent to it.
    pub write_stall: Duration,
    /// Between two looks at an upstream that answers.
    pub probe_up: Duration,
    /// Between two looks at an upstream that does not.
    pub probe_down: Duration,
    /// How long an upstream's engine may take to answer, once it is doubted.
    pub probe_engine: Duration,
}

impl Config {
    /// Reads the settings; problems are noted in `env`.
    pub fn read(env: &mut Environment) -> Self {
        let keys_file = env.optional(&KEYS_FILE).map(PathBuf::from);
        let api_key = if keys_file.is_some() {
            env.secret(&API_KEY)
        } else {
            Some(env.required_secret(
                &API_KEY,
                "choose one, for example with `openssl rand -hex 32`",
            ))
        };
        let upstream_api_key = match &api_key {
            Some(key) => env.secret(&UPSTREAM_API_KEY).unwrap_or_else(|| key.clone()),
            None => env.required_secret(
                &UPSTREAM_API_KEY,
                "without LLM_API_KEY, set it to llama-server's key",
            ),
        };
        let filename = env.optional(&HF_FILENAME);
        let model = match (env.optional(&MODEL), filename) {
            (Some(model), _) | (None, Some(model)) => model,
            (None, None) => env.required(&MODEL, "set it, or HF_FILENAME, to the model's name"),
        };
        if model.len() > 256 || model.contains(char::is_control) {
            env.refuse(
                &MODEL,
                "must be at most 256 bytes without control characters",
            );
        }
        let (listen, admin_listen) = (env.read(&LISTEN), env.read(&ADMIN_LISTEN));
        let max_body_bytes = env.read::<NonZeroUsize>(&MAX_BODY_BYTES).get();
        let queue_bytes = env.read_with(&QUEUE_BYTES, |text| whole(text, 1, 1 << 40));
        if queue_bytes < max_body_bytes {
            env.refuse(
                &QUEUE_BYTES,
                "must be at least PROXY_MAX_BODY_BYTES, or the largest request could never wait",
            );
        }
        Self {
            listen,
            admin_listen,
            upstreams: env.read_with(&UPSTREAMS, |list| upstreams(list, [listen, admin_listen])),
            upstream_api_key,
            api_key,
            keys_file,
            keys_poll: Duration::from_millis(250),
            model: model.into(),
            deadlines: Deadlines {
                queue: env.read_with(&QUEUE_DEADLINE, seconds),
                queue_with_events: env.read_with(&QUEUE_EVENTS_DEADLINE, seconds),
                connect: env.read_with(&CONNECT_DEADLINE, seconds),
                first_token: env.read_with(&FIRST_TOKEN_DEADLINE, seconds),
                first_token_per_prompt_token: env.read_with(&FIRST_TOKEN_PER_TOKEN, per_token),
                between_tokens: env.read_with(&TOKEN_DEADLINE, seconds),
                total: env.read_with(&TOTAL_DEADLINE, seconds),
            },
            queue_requests: env.read_with(&QUEUE_REQUESTS, |text| whole(text, 0, 100_000)),
            queue_bytes,
            max_body_bytes,
            max_bodies_bytes: max_body_bytes.max(64 * 1024 * 1024),
            body_deadline: Duration::from_secs(30),
            max_tokens: env.read::<std::num::NonZeroU32>(&MAX_TOKENS).get().into(),
            routes: env.read_with(&ROUTES, routes),
            counting_deadline: Duration::from_secs(10),
            drain: Duration::from_secs(env.read(&DRAIN)),
            audit: env.read(&AUDIT),
            traces: Endpoint::read(env),
            keep_alive: Duration::from_secs(10),
            write_stall: Duration::from_secs(60),
            probe_up: Duration::from_secs(5),
            probe_down: Duration::from_secs(1),
            // Between two batches of tokens; a large batch on a slow machine takes seconds.
            probe_engine: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Opens the files that the settings name; problems are noted in `env`. Apart from [`Config::read`], which reads no
    /// file.
    pub fn check_files(&self, env: &mut Environment) {
        if let Err(problem) = self.audit.check() {
            env.refuse(&AUDIT, problem);
        }
        if let Err(problem) = Keys::new(self.api_key.as_ref(), self.keys_file.clone()) {
            env.refuse(&KEYS_FILE, format_args!("is not usable: {problem}"));
        }
    }
}

fn whole(text: &str, min: usize, max: usize) -> Result<usize, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

/// The routes of chats, which are always there, and those of the list.
fn routes(list: &str) -> Result<Vec<Api>, String> {
    let mut routes = vec![Api::Chat];
    for name in list.split(',').filter(|name| !name.trim().is_empty()) {
        let api = name.parse()?;
        if !routes.contains(&api) {
            routes.push(api);
        }
    }
    Ok(routes)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (1..=86_400).contains(seconds));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "must be whole seconds from 1 to 86400".to_owned())
}

/// A machine that computes less than a token in ten seconds serves nobody; 0 leaves out the prompt's length.
fn per_token(text: &str) -> Result<Duration, String> {
    let milliseconds = text
        .parse()
        .ok()
        .filter(|milliseconds| *milliseconds <= 10_000);
    milliseconds
        .map(Duration::from_millis)
        .ok_or_else(|| "must be whole milliseconds from 0 to 10000".to_owned())
}

fn upstreams(list: &str, listen: [SocketAddr; 2]) -> Result<Vec<Upstream>, String> {
    let upstreams: Vec<Upstream> = list
        .split(',')
        .map(|url| {
            url.trim()
                .parse()
                .map_err(|error: llama_client::InvalidUpstream| error.to_string())
        })
        .collect::<Result<_, _>>()?;
    for (at, upstream) in upstreams.iter().enumerate() {
        let authority = upstream.authority();
        if upstreams[..at]
            .iter()
            .any(|other| other.authority().eq_ignore_ascii_case(authority))
        {
            return Err(format!("{authority} is named twice"));
        }
        if listen.iter().any(|listen| upstream.is_served_by(*listen)) {
            return Err(format!("{authority} is llm-proxy's own address"));
        }
    }
    Ok(upstreams)
}
