//! A Hub with one model, settings that point at it, and bounds short enough for tests.

use std::ops::Range;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use model_fetcher::config::{Fetch, Import, Transport, Tuning};
use model_fetcher::proxies::Proxies;
use model_fetcher::{Entry, Error};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testkit::fake_hub::{FakeHub, File, Origin, Repository, Token};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// Where the tools are that tests run.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The system calls that rename a file, as strace takes them. x86-64 has all of them and 64-bit Arm only the newer ones; `?`
/// leaves out a call that the machine does not have.
pub(crate) const RENAME: &str = "?rename,?renameat,?renameat2";
/// The system calls that remove a file, like [`RENAME`].
pub(crate) const UNLINK: &str = "?unlink,?unlinkat";
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_model-fetcher");
pub(crate) const REPOSITORY: &str = "acme/tiny-GGUF";
pub(crate) const FILE: &str = "tiny.Q4_0.gguf";
pub(crate) const COMMIT: &str = "ab810cf68114990406fdf996510dd3d3c6adbdf5";
pub(crate) const TOKEN: &str = "hf_the_token_of_the_test";

/// A Hub with `bytes` under [`FILE`], and an empty folder.
pub(crate) async fn hub_with(bytes: &[u8]) -> (FakeHub, TempDir) {
    let files = vec![
        File::from_bytes(FILE, bytes.to_vec()),
        File::from_bytes("README.md", b"# tiny".to_vec()),
    ];
    hub_of(repository(files), Vec::new()).await
}

pub(crate) fn repository(files: Vec<File>) -> Repository {
    Repository {
        id: REPOSITORY.to_owned(),
        commit: COMMIT.to_owned(),
        gated: false,
        files,
    }
}

pub(crate) async fn hub_of(repository: Repository, tokens: Vec<Token>) -> (FakeHub, TempDir) {
    (
        FakeHub::start(repository, tokens).await.unwrap(),
        tempfile::tempdir().unwrap(),
    )
}

/// Settings for [`FILE`] of the Hub's repository.
pub(crate) fn settings(hub: &FakeHub, folder: &TempDir) -> Fetch {
    Fetch {
        folder: folder.path().to_owned(),
        repository: hub.repository().id.parse().unwrap(),
        revision: "main".to_owned(),
        choice: FILE.parse().unwrap(),
        projector: false,
        pin: None,
        endpoint: hub.endpoint().parse().unwrap(),
        token: None,
        proxies: Proxies::default(),
        mirrors: Vec::new(),
        transport: Transport::Auto,
        locked: false,
        json: false,
        context: None,
        tuning: Tuning {
            parallel_from_bytes: 2 << 20,
            least_segment_bytes: 512 << 10,
            segment_bytes: 512 << 10,
            checkpoint_bytes: 64 << 10,
            stall: Duration::from_millis(400),
            attempts: 5,
            backoff: Duration::from_millis(2),
            ..Tuning::default()
        },
    }
}

/// Fetches, and returns the entry of the model's first file.
pub(crate) async fn fetch(settings: &Fetch) -> Result<Entry, Error> {
    Ok(fetch_all(settings).await?.swap_remove(0))
}

/// Fetches, and returns the entries of all files of the model.
pub(crate) async fn fetch_all(settings: &Fetch) -> Result<Vec<Entry>, Error> {
    model_fetcher::fetch(settings, &CancellationToken::new()).await
}

/// Settings to import `from` as the model `wanted` of the repository.
pub(crate) fn import_of(from: &[&Path], folder: &TempDir, wanted: &str) -> Import {
    Import {
        from: from.iter().map(|path| (*path).to_owned()).collect(),
        folder: folder.path().to_owned(),
        repository: Some(REPOSITORY.parse().unwrap()),
        revision: "main".to_owned(),
        choice: wanted.parse().unwrap(),
        projector: false,
        pin: None,
        tuning: Tuning::default(),
    }
}

/// Imports, and returns the entries of all files of the model.
pub(crate) async fn import(settings: &Import) -> Result<Vec<Entry>, Error> {
    model_fetcher::import(settings, &CancellationToken::new()).await
}

/// Every range that the CDN was asked for, in order.
pub(crate) fn ranges(hub: &FakeHub) -> Vec<String> {
    let cdn = hub
        .requests()
        .into_iter()
        .filter(|request| request.origin == Origin::Cdn);
    cdn.map(|request| request.range.unwrap_or_default())
        .collect()
}

/// The names in `folder` that are not model-fetcher's own records, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let items = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = items
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| ![".corral.json", ".corral.lock", "models.lock"].contains(&name.as_str()));
    names.sort();
    names
}

/// The binary with settings for [`FILE`] of the Hub's repository and nothing else in its environment.
pub(crate) fn command(hub: &FakeHub, folder: &Path) -> Command {
    command_of(Path::new(BINARY), hub, folder)
}

/// [`command`] of a copy of the binary.
pub(crate) fn command_of(binary: &Path, hub: &FakeHub, folder: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .env_clear()
        .env("HF_ENDPOINT", hub.endpoint())
        .env("HF_REPO_ID", REPOSITORY)
        .env("HF_FILENAME", FILE)
        .env("MODELS_DIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// [`command`] run by `program` with `arguments` in front of it.
pub(crate) fn run_by(program: &str, arguments: &[&str], fetcher: &Command) -> Command {
    let fetcher = fetcher.as_std();
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", PATH)
        .args(arguments)
        .arg(fetcher.get_program())
        .args(fetcher.get_args());
    command.envs(
        fetcher
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Bytes that more than one of `sent` holds, counted once per extra time.
pub(crate) fn twice(sent: &[Range<u64>]) -> u64 {
    sent.iter()
        .map(|range| range.end - range.start)
        .sum::<u64>()
        - union(sent).iter().map(|r| r.end - r.start).sum::<u64>()
}

/// `ranges` sorted and joined.
pub(crate) fn union(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted.into_iter().filter(|range| !range.is_empty()) {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}
