//! The settings: what to fetch, from where, into which folder; and the bounds of a download, which nobody sets by hand.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use common::env::{Environment, Variable};
use common::secret::Secret;
use common::telemetry;
use url::Url;

use crate::digest::Digest;
use crate::names::RepositoryId;
use crate::names::choice::Choice;
use crate::names::mirror::Mirror;
use crate::proxies::{self, Proxies};

const HF_REPO_ID: Variable = Variable::new(
    "HF_REPO_ID",
    "",
    "The repository on the Hub, as `owner/name`; required to fetch.",
);
const HF_FILENAME: Variable = Variable::new(
    "HF_FILENAME",
    "",
    "The GGUF file in the repository, and its name below `MODELS_DIR`; required to fetch and to import. The first part \
     of a split model fetches all parts. You may write `:Q4_K_M` instead of a file name when fetching. Compose needs the \
     real name: the log shows it.",
);
const HF_MMPROJ: Variable = Variable::new(
    "HF_MMPROJ",
    "",
    "`auto` also fetches the projector that the model needs to see images: the best `mmproj` file beside it.",
);
const HF_REVISION: Variable = Variable::new(
    "HF_REVISION",
    "main",
    "The branch, tag or commit; it is resolved to a commit once.",
);
const HF_TOKEN: Variable = Variable::token(
    "HF_TOKEN",
    "A read token of the Hub, for gated and private repositories. It is sent to `HF_ENDPOINT` only.",
);
const HF_ENDPOINT: Variable = Variable::new(
    "HF_ENDPOINT",
    "https://huggingface.co",
    "The Hub, or a mirror that speaks its protocol.",
);
const MODELS_DIR: Variable = Variable::new("MODELS_DIR", "/models", "The folder for the models.");
const MODEL_SHA256: Variable = Variable::new(
    "MODEL_SHA256",
    "",
    "The SHA-256 that the file must have; by default the one that the Hub publishes.",
);
const MODEL_MIRRORS: Variable = Variable::new(
    "MODEL_MIRRORS",
    "",
    "Further sources, in order, separated by commas: `modelscope`, or `modelscope:owner/name` where the repository has \
     another name there; a mirror that speaks the Hub's protocol (`https://hf-mirror.com`); the address of the file (it \
     ends in `.gguf`); or a pattern for it (`http://10.0.0.5/models/{file}`, also with `{repository}` and `{revision}`). \
     They get no token. Their bytes need the digest of the Hub, of `MODEL_SHA256` or of `models.lock`.",
);

const MODEL_TRANSPORT: Variable = Variable::new(
    "MODEL_TRANSPORT",
    "auto",
    "How the bytes come from the Hub: `https`, `xet` (the Hub's own store), or `auto`: HTTPS, and Xet for a file that HTTPS \
     does not bring or when HTTPS keeps failing. With `xet`, HTTPS takes over in the same cases. A build without Xet \
     refuses `xet`.",
);

const LLAMA_CTX_SIZE: Variable = Variable::new(
    "LLAMA_CTX_SIZE",
    "",
    "llama-server's context in tokens, for the warning about memory; by default the context that the model was trained \
     with.",
);
/// Not a setting but an argument, which is refused in the same words.
const REPO: Variable = Variable::new("REPO", "", "");

const FILE_ADVICE: &str = "name the GGUF file, as in gemma-3-4b-it-Q4_K_M.gguf";

/// The settings of model-fetcher.
pub const VARIABLES: &[Variable] = &[
    HF_REPO_ID,
    HF_FILENAME,
    HF_MMPROJ,
    HF_REVISION,
    HF_TOKEN,
    HF_ENDPOINT,
    MODELS_DIR,
    MODEL_SHA256,
    MODEL_MIRRORS,
    MODEL_TRANSPORT,
    LLAMA_CTX_SIZE,
];

/// All settings that the process reads.
pub const TABLES: &[&[Variable]] = &[VARIABLES, proxies::VARIABLES, telemetry::VARIABLES];

/// [`TABLES`], and the names in small letters that some of them go by too.
pub const ALL_TABLES: &[&[Variable]] = &[
    VARIABLES,
    proxies::VARIABLES,
    proxies::SMALL_VARIABLES,
    telemetry::VARIABLES,
];

/// The start of names that are a misspelt setting when they are none.
pub const PREFIX: &str = "MODEL_SHA";

/// How the bytes come from the Hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Over HTTPS; over Xet where that is not possible or keeps failing.
    Auto,
    /// Over HTTPS only.
    Https,
    /// Over Xet; over HTTPS where that is not possible or keeps failing.
    Xet,
}

/// What `model-fetcher` without a command does.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The models' folder.
    pub folder: PathBuf,
    /// The repository.
    pub repository: RepositoryId,
    /// Its branch, tag or commit.
    pub revision: String,
    /// The model: a file's name or a quantisation.
    pub choice: Choice,
    /// Whether the projector beside it is wanted too.
    pub projector: bool,
    /// The digest that the file must have, whatever the Hub says.
    pub pin: Option<Digest>,
    /// The Hub.
    pub endpoint: Url,
    /// The token for it.
    pub token: Option<Secret>,
    /// The proxies on the way to it and elsewhere.
    pub proxies: Proxies,
    /// Where else the bytes may come from, in order.
    pub mirrors: Vec<Mirror>,
    /// How the bytes come from the Hub.
    pub transport: Transport,
    /// Whether only what models.lock says is fetched.
    pub locked: bool,
    /// Whether progress is told in numbers, for machines.
    pub json: bool,
    /// Tokens of context that llama-server will be given; `None` for as many as the model was made for.
    pub context: Option<NonZeroU64>,
    /// The bounds of the download.
    pub tuning: Tuning,
}

/// What `model-fetcher list` does.
#[derive(Clone, Debug)]
pub struct List {
    /// The repository.
    pub repository: RepositoryId,
    /// Its branch, tag or commit.
    pub revision: String,
    /// The one quantisation to list.
    pub quantisation: Option<Choice>,
    /// The Hub.
    pub endpoint: Url,
    /// The token for it.
    pub token: Option<Secret>,
    /// The proxies on the way to it and elsewhere.
    pub proxies: Proxies,
    /// The bounds, of which asking needs only some.
    pub tuning: Tuning,
}

/// What `model-fetcher import` does.
#[derive(Clone, Debug)]
pub struct Import {
    /// The files to take, or the folders that they are in.
    pub from: Vec<PathBuf>,
    /// The models' folder.
    pub folder: PathBuf,
    /// The repository that the model stands for, when one is set.
    pub repository: Option<RepositoryId>,
    /// Its branch, tag or commit.
    pub revision: String,
    /// The model: the name of its first file, which it is published under, or a quantisation.
    pub choice: Choice,
    /// Whether the projector among the files is wanted too.
    pub projector: bool,
    /// The digest that the one file of the model must have.
    pub pin: Option<Digest>,
    /// The bounds, of which importing needs only the lock's.
    pub tuning: Tuning,
}

/// The bounds of a download.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Ranges that are fetched at once.
    pub streams: usize,
    /// Below this size one stream does.
    pub parallel_from_bytes: u64,
    /// The least that one request asks for, where as much is missing.
    pub least_segment_bytes: u64,
    /// The most that one request asks for, where its answer is long in coming.
    pub segment_bytes: u64,
    /// Ranges that are fetched at once from the Xet storage.
    pub xet_streams: usize,
    /// The most that one range from the Xet storage has; hf-xet keeps all of it in memory.
    pub xet_segment_bytes: u64,
    /// The most that a killed process loses per stream.
    pub checkpoint_bytes: u64,
    /// How long a source may say nothing.
    pub stall: Duration,
    /// The least that a source may send on one connection within [`Tuning::slow_for`], in bytes a second.
    pub slow_bytes_per_second: u64,
    /// How long a source may be slower than that.
    pub slow_for: Duration,
    /// Failures in a row, without progress in between, that end a download.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each further one.
    pub backoff: Duration,
    /// The longest pause that a source's `Retry-After` can ask for.
    pub max_retry_after: Duration,
    /// How long to wait for another process that works on the folder.
    pub lock_wait: Duration,
    /// How often progress is logged where there is no terminal.
    pub report_every: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            streams: 8,
            parallel_from_bytes: 64 << 20,
            least_segment_bytes: 8 << 20,
            segment_bytes: 64 << 20,
            xet_streams: 4,
            xet_segment_bytes: 4 << 20,
            checkpoint_bytes: 8 << 20,
            stall: Duration::from_secs(30),
            slow_bytes_per_second: 10 << 10,
            slow_for: Duration::from_secs(60),
            attempts: 8,
            backoff: Duration::from_millis(500),
            max_retry_after: Duration::from_secs(300),
            lock_wait: Duration::from_secs(2 * 60 * 60),
            report_every: Duration::from_secs(5),
        }
    }
}

impl Fetch {
    /// Reads the settings; what is wrong is noted in `env`.
    pub fn read(env: &mut Environment) -> Option<Self> {
        let repository = read_required(
            env,
            &HF_REPO_ID,
            "name the repository, as in ggml-org/gemma-3-4b-it-GGUF",
        );
        let choice = read_required(env, &HF_FILENAME, FILE_ADVICE);
        let projector = read_projector(env);
        let endpoint = env.read_with(&HF_ENDPOINT, parse_endpoint);
        let token = env.secret(&HF_TOKEN);
        let proxies = Proxies::read(env);
        let mirrors = env.read_with(&MODEL_MIRRORS, |text| {
            let each = text
                .split(',')
                .map(str::trim)
                .filter(|mirror| !mirror.is_empty());
            each.map(str::parse::<Mirror>)
                .collect::<Result<Vec<_>, _>>()
        });
        let folder = folder(env);
        let revision = read_revision(env);
        let pin = read_pin(env);
        let repository = repository?;
        let choice = choice?;
        let tuning = Tuning::default();
        Some(Self {
            folder,
            repository,
            revision,
            choice,
            projector,
            pin,
            endpoint,
            token,
            proxies,
            mirrors,
            transport: env.read_with(&MODEL_TRANSPORT, parse_transport),
            locked: false,
            json: false,
            context: env.read_with(&LLAMA_CTX_SIZE, |text| match text {
                "" => Ok(None),
                text => text
                    .parse()
                    .map(NonZeroU64::new)
                    .map_err(|_| "it must be a number of tokens".to_owned()),
            }),
            tuning,
        })
    }
}

impl List {
    /// Reads the settings; `wanted` is the command line's `owner/name` or `owner/name:TAG`. What is wrong is noted in
    /// `env`.
    pub fn read(env: &mut Environment, wanted: &str) -> Option<Self> {
        let (repository, tag) = match wanted.split_once(':') {
            Some((repository, tag)) => (repository, Some(format!(":{tag}"))),
            None => (wanted, None),
        };
        let mut refuse =
            |problem: String| env.refuse(&REPO, format_args!("is not usable: {problem}"));
        let repository = repository.parse().map_err(&mut refuse).ok();
        let quantisation = tag.map(|tag| tag.parse::<Choice>().map_err(&mut refuse).ok());
        let endpoint = env.read_with(&HF_ENDPOINT, parse_endpoint);
        let token = env.secret(&HF_TOKEN);
        let proxies = Proxies::read(env);
        let revision = read_revision(env);
        let quantisation = match quantisation {
            Some(tag) => Some(tag?),
            None => None,
        };
        Some(Self {
            repository: repository?,
            revision,
            quantisation,
            endpoint,
            token,
            proxies,
            tuning: Tuning::default(),
        })
    }
}

impl Import {
    /// Reads the settings; `given` is the digest of the command line. What is wrong is noted in `env`.
    pub fn read(env: &mut Environment, from: Vec<PathBuf>, given: Option<Digest>) -> Option<Self> {
        let repository = env.read_with(&HF_REPO_ID, |text| {
            if text.is_empty() {
                Ok(None)
            } else {
                text.parse().map(Some)
            }
        });
        let choice = read_required(env, &HF_FILENAME, FILE_ADVICE);
        let projector = read_projector(env);
        let folder = folder(env);
        let revision = read_revision(env);
        let pinned = read_pin(env);
        if given.is_some() && pinned.is_some() && given != pinned {
            env.refuse(
                &MODEL_SHA256,
                "and --sha256 are not the same digest: keep one",
            );
        }
        let pin = given.or(pinned);
        Some(Self {
            from,
            folder,
            repository,
            revision,
            choice: choice?,
            projector,
            pin,
            tuning: Tuning::default(),
        })
    }
}

/// The models' folder.
pub fn folder(env: &mut Environment) -> PathBuf {
    PathBuf::from(env.read::<String>(&MODELS_DIR))
}

/// A setting that has no default and must parse; `None` when that was noted as a problem.
fn read_required<T: std::str::FromStr<Err = String>>(
    env: &mut Environment,
    variable: &Variable,
    advice: &str,
) -> Option<T> {
    let text = env.required(variable, advice);
    if text.is_empty() {
        return None;
    }
    text.parse()
        .map_err(|problem| env.refuse(variable, format_args!("is not usable: {problem}")))
        .ok()
}

fn read_projector(env: &mut Environment) -> bool {
    env.read_with(&HF_MMPROJ, |text| match text {
        "" => Ok(false),
        "auto" => Ok(true),
        _ => Err("it must be auto, or unset".to_owned()),
    })
}

fn read_revision(env: &mut Environment) -> String {
    env.read_with(&HF_REVISION, |text| {
        let good = text.len() <= 250 && !text.contains(char::is_control);
        if good {
            Ok(text.to_owned())
        } else {
            Err("it must be a branch, a tag or a commit".to_owned())
        }
    })
}

fn read_pin(env: &mut Environment) -> Option<Digest> {
    env.read_with(&MODEL_SHA256, |text| {
        if text.is_empty() {
            Ok(None)
        } else {
            text.parse().map(Some)
        }
    })
}

fn parse_transport(text: &str) -> Result<Transport, String> {
    match text {
        "auto" => Ok(Transport::Auto),
        "https" => Ok(Transport::Https),
        "xet" if cfg!(feature = "xet") => Ok(Transport::Xet),
        "xet" => {
            Err("it must be auto or https: this model-fetcher was built without Xet".to_owned())
        }
        _ => Err("it must be auto, https or xet".to_owned()),
    }
}

fn parse_endpoint(text: &str) -> Result<Url, String> {
    let problem = || {
        "it must be a URL without user, query or fragment, as in https://huggingface.co".to_owned()
    };
    let url = Url::parse(text).map_err(|_| problem())?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && plain {
        Ok(url)
    } else {
        Err(problem())
    }
}
