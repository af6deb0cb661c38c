//! The gateway's settings: what each is called, what it may be, and what it is when nobody sets it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use common::env::{Environment, Variable};
use common::secret::Secret;
use common::traces::Endpoint;
use url::Url;

use crate::bus;
use crate::identity::{Auth, Origins, TrustedProxies, UserBounds, public_name, settings};
use crate::store::ServerAddress;

const LISTEN: Variable = Variable::new(
    "GATEWAY_LISTEN",
    "0.0.0.0:8000",
    "Where browsers connect: the page and the WebSocket.",
);
/// Where operators connect; all that a health check needs to know.
pub const ADMIN_LISTEN: Variable = Variable::new(
    "GATEWAY_ADMIN_LISTEN",
    "0.0.0.0:9000",
    "`/livez`, `/readyz` and `/metrics`; never publish it.",
);
const BASE_URL: Variable = Variable::new(
    "LLM_BASE_URL",
    "http://llm_proxy:8081/v1",
    "The OpenAI API that answers: llm-proxy.",
);
const API_KEY: Variable = Variable::secret("LLM_API_KEY", "The key for `LLM_BASE_URL`.");
const MODEL: Variable = Variable::new(
    "LLM_MODEL",
    "",
    "The model to ask for; `HF_FILENAME` unless set.",
);
const FILENAME: Variable = Variable::new(
    "HF_FILENAME",
    "",
    "The model's file name in its repository.",
);
const ALLOWED_ORIGINS: Variable = Variable::new(
    "GATEWAY_ALLOWED_ORIGINS",
    "",
    "Origins whose pages may open the WebSocket and use the HTTP API, as in `https://chat.example.com`, separated by \
     commas. Empty: only \
     the page from the same host and port, under an address or a private name (`localhost`, `box`, `box.local`). Setting \
     this turns the default off, so list Corral's own page too, unless it has `GATEWAY_PUBLIC_NAME`.",
);
const PUBLIC_NAME: Variable = Variable::new(
    "GATEWAY_PUBLIC_NAME",
    "",
    "The name under which people open Corral's own page, as in `chat.example.com`: its sockets are then accepted, over \
     HTTP or HTTPS, at any port. In production Compose sets it to `PUBLIC_NAME`.",
);
const TRUSTED_PROXIES: Variable = Variable::new(
    "GATEWAY_TRUSTED_PROXIES",
    "",
    "Proxies in front whose `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Request-Id` and user (`GATEWAY_AUTH`) are \
     believed, as addresses or networks (`10.0.0.0/8`), separated by commas. \
     Visitors at different addresses take turns at the model; without this, all who come through one proxy count as one \
     visitor.",
);
const WEB_DIR: Variable = Variable::new(
    "GATEWAY_WEB_DIR",
    "/web",
    "The folder of the built page, served at `/`.",
);
const SYSTEM_PROMPT: Variable = Variable::new(
    "GATEWAY_SYSTEM_PROMPT",
    "You are a helpful assistant.",
    "The system prompt of every conversation.",
);
const TEMPERATURE: Variable = Variable::new(
    "GATEWAY_TEMPERATURE",
    "0.2",
    "The sampling temperature, 0 to 2; 0 always takes the likeliest word.",
);
const MAX_TOKENS: Variable = Variable::new(
    "GATEWAY_MAX_TOKENS",
    "1024",
    "The longest answer, in tokens. That many tokens of the context, at most half of it, are reserved for the answer.",
);
const DRAIN_SECONDS: Variable = Variable::new(
    "GATEWAY_DRAIN_SECONDS",
    "20",
    "Seconds that running answers have to end once the service is told to stop.",
);
const DELTA_INTERVAL: Variable = Variable::new(
    "GATEWAY_DELTA_INTERVAL_MS",
    "30",
    "The least time between two frames of one answer's text on a socket of version 2, in milliseconds, 0 to 200. Text that \
     comes meanwhile goes out together.",
);
const UNWATCHED: Variable = Variable::new(
    "GATEWAY_UNWATCHED_SECONDS",
    "0",
    "After how many seconds an answer that nobody watches is stopped while others wait for the model; 0: never.",
);
const CONTINUE_LOST_ANSWERS: Variable = Variable::new(
    "GATEWAY_CONTINUE_LOST_ANSWERS",
    "0",
    "How often one answer whose engine is lost goes on at another engine by itself, 0 to 3; 0: never, people continue it. A \
     message that makes engines crash may then take down one more with each time.",
);
const MAX_CONNECTIONS: Variable = Variable::new(
    "GATEWAY_MAX_CONNECTIONS",
    "1000",
    "WebSockets open at once; a further one is refused with 503. Each needs two file descriptors while it answers.",
);
/// Where everything is kept; all that a backup needs to know.
pub const DATA: Variable = Variable::new(
    "GATEWAY_DATA",
    "/data",
    "The folder of what the gateway keeps: conversations in `chat.db`. It must outlive the container. One gateway at a time \
     uses it, on a disk of its own machine.",
);
/// The database of several gateways.
pub const STORE: Variable = Variable::token(
    "GATEWAY_STORE",
    "The PostgreSQL database (15 or newer) that keeps conversations instead of `chat.db`, as in \
     `postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full`. Unset: SQLite in `GATEWAY_DATA`.",
);
const RETENTION_DAYS: Variable = Variable::new(
    "GATEWAY_RETENTION_DAYS",
    "0",
    "Days after which a conversation that nobody goes on with is deleted; 0 keeps it for ever.",
);
const BUS: Variable = Variable::token(
    "GATEWAY_BUS",
    "The Valkey or Redis (7 or newer) that several gateways share, as in `redis://valkey:6379` or, with TLS, \
     `rediss://user:password@valkey:6379`. Needs `GATEWAY_STORE`. Unset: there is one gateway.",
);
/// A day, in seconds.
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The settings that [`Config::read`] understands.
pub const VARIABLES: &[Variable] = &[
    LISTEN,
    ADMIN_LISTEN,
    BASE_URL,
    API_KEY,
    MODEL,
    FILENAME,
    ALLOWED_ORIGINS,
    PUBLIC_NAME,
    TRUSTED_PROXIES,
    WEB_DIR,
    SYSTEM_PROMPT,
    TEMPERATURE,
    MAX_TOKENS,
    DRAIN_SECONDS,
    DELTA_INTERVAL,
    UNWATCHED,
    CONTINUE_LOST_ANSWERS,
    MAX_CONNECTIONS,
    DATA,
    STORE,
    RETENTION_DAYS,
    BUS,
    settings::AUTH,
    settings::USER_HEADER,
    settings::NAME_HEADER,
    settings::JWT_SECRET,
    settings::JWKS_URL,
    settings::JWKS_FILE,
    settings::JWT_AUDIENCE,
    settings::JWT_ISSUER,
    settings::JWT_COOKIE,
    settings::REVOKED_FILE,
    settings::SOCKETS_PER_USER,
    settings::SOCKETS_PER_ADDRESS,
    settings::MESSAGES_PER_MINUTE,
    settings::ANSWERS_PER_USER,
    settings::TOKENS_PER_DAY,
];

/// Everything the gateway can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The public listener's address.
    pub listen: SocketAddr,
    /// The admin listener's address.
    pub admin_listen: SocketAddr,
    /// The OpenAI API, without a trailing slash.
    pub base_url: String,
    /// The key for it.
    pub api_key: Secret,
    /// The model to ask for.
    pub model: String,
    /// Whose pages may open the WebSocket.
    pub allowed_origins: Origins,
    /// Who may say for whom a connection is.
    pub trusted_proxies: TrustedProxies,
    /// The built page.
    pub web_dir: PathBuf,
    /// The first message of every prompt.
    pub system_prompt: String,
    /// The sampling temperature.
    pub temperature: f64,
    /// The longest answer, in tokens.
    pub max_tokens: u32,
    /// How long running answers have to end at shutdown.
    pub drain: Duration,
    /// The least time between two frames of one answer's text.
    pub delta_interval: Duration,
    /// How long an answer may run unwatched while others wait.
    pub unwatched: Option<Duration>,
    /// How often one answer goes on by itself after its engine was lost.
    pub continue_lost_answers: u32,
    /// WebSockets open at once.
    pub max_connections: usize,
    /// The folder of what is kept.
    pub data: PathBuf,
    /// The database of several gateways; none: a file in `data`.
    pub store: Option<ServerAddress>,
    /// How long a conversation is kept after its last change; none: for ever.
    pub retention: Option<Duration>,
    /// What several gateways share; none: there is one.
    pub bus: Option<Secret>,
    /// How people sign in.
    pub auth: Auth,
    /// Who is signed out by name.
    pub revoked_file: Option<PathBuf>,
    /// What one user and one address may use at once.
    pub bounds: UserBounds,
    /// The collector of traces.
    pub traces: Option<Endpoint>,
}

impl Config {
    /// Reads the settings; what is wrong with them is noted in `env`.
    pub fn read(env: &mut Environment) -> Self {
        let trusted_proxies = env.read_with(&TRUSTED_PROXIES, TrustedProxies::parse);
        let (store, bus) = shared(env);
        Self {
            listen: env.read(&LISTEN),
            admin_listen: env.read(&ADMIN_LISTEN),
            base_url: env.read_with(&BASE_URL, base_url),
            api_key: env
                .required_secret(&API_KEY, "give the gateway the key that llm-proxy accepts"),
            model: model(env),
            allowed_origins: env
                .read_with(&ALLOWED_ORIGINS, Origins::parse)
                .with_name(env.read_with(&PUBLIC_NAME, public_name)),
            auth: settings::auth(env, &trusted_proxies),
            revoked_file: settings::revoked_file(env),
            trusted_proxies,
            web_dir: env.read(&WEB_DIR),
            system_prompt: env.read(&SYSTEM_PROMPT),
            temperature: env.read_with(&TEMPERATURE, within(0.0, 2.0)),
            max_tokens: env.read_with(&MAX_TOKENS, within(1, 1_000_000)),
            drain: Duration::from_secs(env.read_with(&DRAIN_SECONDS, within(0, 3600))),
            delta_interval: Duration::from_millis(env.read_with(&DELTA_INTERVAL, within(0, 200))),
            unwatched: Some(Duration::from_secs(
                env.read_with(&UNWATCHED, within(0, 86_400)),
            ))
            .filter(|limit| !limit.is_zero()),
            continue_lost_answers: env.read_with(&CONTINUE_LOST_ANSWERS, within(0, 3)),
            max_connections: env.read_with(&MAX_CONNECTIONS, within(1, 100_000)),
            data: env.read(&DATA),
            store,
            retention: match env.read_with(&RETENTION_DAYS, within(0, 36_500)) {
                0 => None,
                days => Some(Duration::from_secs(days * DAY_SECONDS)),
            },
            bus,
            bounds: settings::bounds(env),
            traces: Endpoint::read(env),
        }
    }
}

fn base_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let plain = url.scheme() == "http" && url.query().is_none() && url.fragment().is_none();
    if !plain || url.password().is_some() || !url.username().is_empty() {
        return Err("must be http://HOST:PORT/v1, with the key in LLM_API_KEY".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The database that `GATEWAY_STORE` names.
pub fn store(env: &mut Environment) -> Option<ServerAddress> {
    let text = env.secret(&STORE)?;
    match ServerAddress::parse(text.expose()) {
        Ok(address) => Some(address),
        Err(problem) => {
            env.refuse(&STORE, problem);
            None
        }
    }
}

fn model(env: &mut Environment) -> String {
    let file = env.optional(&FILENAME);
    match file {
        Some(file) => env.optional(&MODEL).unwrap_or(file),
        None => env.required(&MODEL, "name the model, or set HF_FILENAME"),
    }
}

/// What several gateways share: the database, and the bus, which is of no use without it.
fn shared(env: &mut Environment) -> (Option<ServerAddress>, Option<Secret>) {
    let names_store = env.secret(&STORE).is_some();
    let store = store(env);
    let bus = env.secret(&BUS);
    if let Some(address) = &bus {
        if let Err(problem) = bus::check(address) {
            env.refuse(&BUS, problem);
        } else if !names_store {
            env.refuse(
                &BUS,
                "gateways that share a bus share their conversations, too; name a PostgreSQL database in GATEWAY_STORE",
            );
        }
    }
    (store, bus)
}

fn within<T>(least: T, most: T) -> impl Fn(&str) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    move |text| match text.parse::<T>() {
        Ok(value) if value >= least && value <= most => Ok(value),
        _ => Err(format!("must be {least} to {most}")),
    }
}
