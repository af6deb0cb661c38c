//! A file from a disk gets the same checks and the same publication as one from the Hub.

use std::path::Path;

use model_fetcher::config::{Import, Tuning};
use model_fetcher::{Entry, State};
use tempfile::TempDir;
use testkit::gguf;
use tokio_util::sync::CancellationToken;

use crate::support::{FILE, REPOSITORY, fetch, hub_with, names, settings};

fn import_settings(from: &Path, folder: &TempDir, pin: Option<&str>) -> Import {
    Import {
        from: from.to_owned(),
        folder: folder.path().to_owned(),
        repository: Some(REPOSITORY.parse().unwrap()),
        revision: "main".to_owned(),
        file: FILE.parse().unwrap(),
        pin: pin.map(|pin| pin.parse().unwrap()),
        tuning: Tuning::default(),
    }
}

#[tokio::test]
async fn an_imported_file_is_verified_published_and_then_in_place_without_a_request() {
    let bytes = gguf::tiny(300_000);
    let (hub, folder) = hub_with(&bytes).await;
    let usb = tempfile::tempdir().unwrap();
    let from = usb.path().join("copy.gguf");
    std::fs::write(&from, &bytes).unwrap();
    let wanted = import_settings(&from, &folder, Some(&hub.repository().files[0].sha256));
    let entry = model_fetcher::import(&wanted, &CancellationToken::new())
        .await
        .unwrap();
    let expected = Entry {
        file: FILE.to_owned(),
        repository: Some(REPOSITORY.to_owned()),
        revision: "main".to_owned(),
        commit: None,
        size: 300_000,
        sha256: wanted.pin.unwrap(),
        checked: true,
        modified_ns: entry.modified_ns,
    };
    assert_eq!(entry, expected);
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
    assert_eq!(names(folder.path()), [FILE]);
    assert_eq!(fetch(&settings(&hub, &folder)).await.unwrap(), entry);
    assert_eq!(hub.requests(), []);
}

#[tokio::test]
async fn an_imported_file_with_another_digest_is_not_published() {
    let usb = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let from = usb.path().join("copy.gguf");
    std::fs::write(&from, gguf::tiny(300_000)).unwrap();
    let wanted = import_settings(&from, &folder, Some(&"ab".repeat(32)));
    let error = model_fetcher::import(&wanted, &CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), 65);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn an_imported_file_that_was_cut_or_is_none_is_not_published() {
    let usb = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let from = usb.path().join("copy.gguf");
    std::fs::write(&from, &gguf::tiny(300_000)[..299_999]).unwrap();
    let error = model_fetcher::import(
        &import_settings(&from, &folder, None),
        &CancellationToken::new(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.exit_code(), 65);
    let missing = usb.path().join("nothing.gguf");
    let error = model_fetcher::import(
        &import_settings(&missing, &folder, None),
        &CancellationToken::new(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.exit_code(), 64);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn an_import_without_a_digest_is_recorded_as_unchecked_and_verify_finds_later_damage() {
    let usb = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let from = usb.path().join("copy.gguf");
    let mut bytes = gguf::tiny(300_000);
    std::fs::write(&from, &bytes).unwrap();
    let stop = CancellationToken::new();
    let entry = model_fetcher::import(&import_settings(&from, &folder, None), &stop)
        .await
        .unwrap();
    assert!(!entry.checked);
    let states = async || {
        let files = model_fetcher::verify(folder.path(), &stop).await.unwrap();
        files
            .into_iter()
            .map(|found| found.state)
            .collect::<Vec<_>>()
    };
    assert_eq!(states().await, [State::Verified]);
    let path = folder.path().join(FILE);
    let modified = path.metadata().unwrap().modified().unwrap();
    bytes[200_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    std::fs::File::open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert_eq!(
        model_fetcher::status(folder.path()).unwrap().files[0].state,
        State::Verified,
        "status does not read it"
    );
    assert_eq!(states().await, [State::Changed]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(states().await, [State::Missing]);
}
