//! A Hub with one model, settings that point at it, and bounds short enough for tests.

use std::path::Path;
use std::time::Duration;

use model_fetcher::config::{Fetch, Tuning};
use model_fetcher::{Entry, Error};
use tempfile::TempDir;
use testkit::fake_hub::{FakeHub, File, Origin, Repository, Token};
use tokio_util::sync::CancellationToken;

pub(crate) const REPOSITORY: &str = "acme/tiny-GGUF";
pub(crate) const FILE: &str = "tiny.Q4_0.gguf";
pub(crate) const COMMIT: &str = "ab810cf68114990406fdf996510dd3d3c6adbdf5";
pub(crate) const TOKEN: &str = "hf_the_token_of_the_test";

/// A Hub with `bytes` under [`FILE`], and an empty folder.
pub(crate) async fn hub_with(bytes: &[u8]) -> (FakeHub, TempDir) {
    let files =
        vec![File::from_bytes(FILE, bytes.to_vec()), File::from_bytes("README.md", b"# tiny".to_vec())];
    hub_of(repository(files), Vec::new()).await
}

pub(crate) fn repository(files: Vec<File>) -> Repository {
    Repository { id: REPOSITORY.to_owned(), commit: COMMIT.to_owned(), gated: false, files }
}

pub(crate) async fn hub_of(repository: Repository, tokens: Vec<Token>) -> (FakeHub, TempDir) {
    (FakeHub::start(repository, tokens).await.unwrap(), tempfile::tempdir().unwrap())
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
        mirrors: Vec::new(),
        locked: false,
        context: None,
        tuning: Tuning {
            parallel_from_bytes: 2 << 20,
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

/// Every range that the CDN was asked for, in order.
pub(crate) fn ranges(hub: &FakeHub) -> Vec<String> {
    let cdn = hub.requests().into_iter().filter(|request| request.origin == Origin::Cdn);
    cdn.map(|request| request.range.unwrap_or_default()).collect()
}

/// The names in `folder` that are not model-fetcher's own records, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let items = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = items.map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| ![".corral.json", ".corral.lock", "models.lock"].contains(&name.as_str()));
    names.sort();
    names
}
