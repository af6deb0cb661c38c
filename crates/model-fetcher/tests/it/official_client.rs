//! The Hub's own client, the crate hf-hub, before the same Hub as model-fetcher: what both read of it is the same, so
//! the tests' Hub speaks as the real one does.

use common::secret::Secret;
use fake_cas::FakeCas;
use futures_util::TryStreamExt as _;
use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClient, HFError};
use model_fetcher::config::List;
use tempfile::TempDir;
use testkit::fake_hub::{FakeHub, File, Origin, Repository, Token};
use testkit::gguf;
use tokio_util::sync::CancellationToken;

use crate::support::{COMMIT, FILE, TOKEN, fetch, hub_of, repository, settings};

const OWNER: &str = "acme";
const NAME: &str = "tiny-GGUF";

fn files() -> Vec<File> {
    vec![
        File::from_bytes(FILE, gguf::tiny(300_000)),
        File::from_bytes("Q8_0/tiny.Q8_0.gguf", gguf::tiny(400_000)),
    ]
}

fn tokens() -> Vec<Token> {
    let token = Token {
        text: TOKEN.to_owned(),
        accepted: true,
    };
    vec![token]
}

/// The Hub's own client. Nothing comes from its environment, and it has a cache of its own.
fn official(hub: &FakeHub, token: &str, cache: &TempDir) -> HFClient {
    let client = HFClient::builder()
        .endpoint(hub.endpoint())
        .token(token)
        .cache_dir(cache.path())
        .retry_max_attempts(0);
    client.build().unwrap()
}

#[tokio::test]
async fn both_clients_read_the_same_commit_gating_names_and_sizes() {
    for gated in [false, true] {
        let repository = Repository {
            gated,
            ..repository(files())
        };
        let (hub, folder) = hub_of(repository, tokens()).await;
        let client = official(&hub, TOKEN, &folder);
        let theirs = client.model(OWNER, NAME);
        let info = theirs.info().revision("main").send().await.unwrap();
        let tree = theirs.list_tree().revision(COMMIT).recursive(true).send();
        let tree: Vec<RepoTreeEntry> = tree.unwrap().try_collect().await.unwrap();
        let mut sizes: Vec<(String, u64)> = tree
            .into_iter()
            .filter_map(|entry| match entry {
                RepoTreeEntry::File { path, size, .. } => Some((path, size)),
                RepoTreeEntry::Directory { .. } => None,
            })
            .collect();
        sizes.sort();

        let common = settings(&hub, &folder);
        let ours = List {
            repository: common.repository,
            revision: common.revision,
            quantisation: None,
            endpoint: common.endpoint,
            token: Some(Secret::new(TOKEN)),
            proxies: common.proxies,
            tuning: common.tuning,
        };
        let ours = model_fetcher::list(&ours, &CancellationToken::new()).await;
        let ours = ours.unwrap();
        let models = ours.models.iter();
        let mut our_sizes: Vec<(String, u64)> = models
            .map(|model| (model.file.clone(), model.size))
            .collect();
        our_sizes.sort();
        let is_gated = info.gated.is_some_and(|gated| gated != false);
        assert_eq!(info.sha, Some(ours.commit));
        assert_eq!((is_gated, ours.gated), (gated, gated));
        assert_eq!(sizes, our_sizes);
    }
}

#[tokio::test]
async fn both_clients_get_the_same_bytes_over_https_and_over_xet() {
    let bytes = gguf::tiny(3 << 20);
    for has_xet in [false, true] {
        let files = vec![File::from_bytes(FILE, bytes.clone())];
        let (hub, folder) = hub_of(repository(files), tokens()).await;
        let cas = FakeCas::with_files(vec![bytes.clone()]).unwrap();
        if has_xet {
            hub.attach_xet(cas.storage()).await.unwrap();
        }
        let cache = tempfile::tempdir().unwrap();
        let client = official(&hub, TOKEN, &cache);
        let theirs = client.model(OWNER, NAME);
        let path = theirs.download_file().filename(FILE).revision("main");
        let path = path.send().await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), bytes);
        let requests = hub.requests();
        let asked_cas = requests.iter().any(|request| request.origin == Origin::Cas);
        assert_eq!(asked_cas, has_xet, "it takes Xet where the Hub offers it");

        let mut common = settings(&hub, &folder);
        common.token = Some(Secret::new(TOKEN));
        fetch(&common).await.unwrap();
        assert_eq!(std::fs::read(folder.path().join(FILE)).unwrap(), bytes);
    }
}

#[tokio::test]
async fn the_official_client_understands_the_refusals_that_we_do() {
    let repository = Repository {
        gated: true,
        ..repository(files())
    };
    let (hub, cache) = hub_of(repository, tokens()).await;
    let stranger = official(&hub, "hf_a_token_that_nobody_gave", &cache);
    let info = stranger.model(OWNER, NAME).info().send().await;
    assert!(
        matches!(info, Err(HFError::AuthRequired { .. })),
        "{info:?}"
    );
    let client = official(&hub, TOKEN, &cache);
    let info = client.model(OWNER, "no-such").info().send().await;
    assert!(
        matches!(info, Err(HFError::RepoNotFound { .. })),
        "{info:?}"
    );
    let theirs = client.model(OWNER, NAME);
    let info = theirs.info().revision("no-such").send().await;
    assert!(
        matches!(info, Err(HFError::RevisionNotFound { .. })),
        "{info:?}"
    );
    let file = theirs.download_file().filename("no-such.gguf").send().await;
    assert!(
        matches!(file, Err(HFError::EntryNotFound { .. })),
        "{file:?}"
    );
}
