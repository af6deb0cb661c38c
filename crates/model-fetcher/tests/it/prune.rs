//! `prune` removes what nothing wants, and never what something does.

use std::fs::{self, File as DiskFile};
use std::path::Path;
use std::time::{Duration, SystemTime};

use model_fetcher::{Error, Unwanted};
use tempfile::TempDir;
use testkit::fake_hub::FakeHub;
use testkit::gguf;
use tokio_util::sync::CancellationToken;

use crate::support::{FILE, fetch, hub_with, names, settings};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A folder with one fetched model.
async fn fetched() -> (FakeHub, TempDir) {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    fetch(&settings(&hub, &folder)).await.unwrap();
    (hub, folder)
}

async fn prune(folder: &Path, dry_run: bool) -> Result<Vec<Unwanted>, Error> {
    model_fetcher::prune(folder, dry_run, &CancellationToken::new()).await
}

fn removed(folder: &Path, unwanted: &[Unwanted]) -> Vec<String> {
    let name = |file: &Unwanted| {
        file.path
            .strip_prefix(folder)
            .unwrap()
            .display()
            .to_string()
    };
    unwanted.iter().map(name).collect()
}

fn part(folder: &Path, digest: &str, age: Duration) -> [String; 2] {
    [".journal", ".part"].map(|kind| {
        let name = format!(".{digest}{kind}");
        let file = DiskFile::create(folder.join(&name)).unwrap();
        file.set_len(1_000).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        name
    })
}

#[tokio::test]
async fn what_no_record_wants_goes_and_everything_else_stays() {
    let (_hub, folder) = fetched().await;
    let path = folder.path();
    fs::create_dir(path.join("Q8_0")).unwrap();
    for name in [
        "old.gguf",
        "Q8_0/OLD.GGUF",
        "notes.txt",
        ".import.part",
        ".hidden.gguf",
    ] {
        fs::write(path.join(name), b"x").unwrap();
    }
    let stale = part(path, &"ab".repeat(32), 8 * DAY);
    let fresh = part(path, &"cd".repeat(32), 6 * DAY);
    let expected = [
        &stale[0],
        &stale[1],
        ".import.part",
        "Q8_0/OLD.GGUF",
        "old.gguf",
    ];
    let unwanted = prune(path, true).await.unwrap();
    assert_eq!(removed(path, &unwanted), expected);
    assert!(
        expected.iter().all(|name| path.join(name).exists()),
        "a dry run removes nothing"
    );
    assert_eq!(prune(path, false).await.unwrap(), unwanted);
    assert!(expected.iter().all(|name| !path.join(name).exists()));
    let [journal, kept] = fresh;
    assert_eq!(
        names(path),
        [
            journal.as_str(),
            &kept,
            ".hidden.gguf",
            "Q8_0",
            "notes.txt",
            FILE
        ]
    );
    assert_eq!(prune(path, false).await.unwrap(), []);
}

#[tokio::test]
async fn a_model_that_only_the_lock_or_only_the_manifest_wants_stays() {
    for record in [".corral.json", "models.lock"] {
        let (_hub, folder) = fetched().await;
        fs::remove_file(folder.path().join(record)).unwrap();
        assert_eq!(
            prune(folder.path(), false).await.unwrap(),
            [],
            "without {record}"
        );
        assert!(folder.path().join(FILE).exists());
    }
}

#[tokio::test]
async fn the_part_of_a_locked_model_stays_however_old_until_the_model_is_there() {
    let (hub, folder) = fetched().await;
    let digest = &hub.repository().files[0].sha256;
    let both = part(folder.path(), digest, 800 * DAY);
    assert_eq!(
        removed(folder.path(), &prune(folder.path(), true).await.unwrap()),
        both
    );
    fs::remove_file(folder.path().join(FILE)).unwrap();
    assert_eq!(prune(folder.path(), false).await.unwrap(), []);
}

#[tokio::test]
async fn a_folder_without_records_or_with_unreadable_ones_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.gguf"), b"x").unwrap();
    assert_eq!(
        prune(folder.path(), false).await.unwrap_err().exit_code(),
        64
    );
    let (_hub, folder) = fetched().await;
    fs::write(folder.path().join("mine.gguf"), b"x").unwrap();
    fs::write(folder.path().join(".corral.json"), b"{").unwrap();
    assert_eq!(
        prune(folder.path(), false).await.unwrap_err().exit_code(),
        73
    );
    assert!(folder.path().join("mine.gguf").exists());
}

#[tokio::test]
async fn nothing_behind_a_symbolic_link_is_looked_at() {
    let (_hub, folder) = fetched().await;
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("other.gguf"), b"x").unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("link")).unwrap();
    assert_eq!(prune(folder.path(), false).await.unwrap(), []);
}
