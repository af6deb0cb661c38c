//! A file from a disk gets the same checks and the same publication as one from the Hub.

use model_fetcher::{Entry, FileState};
use testkit::gguf;
use tokio_util::sync::CancellationToken;

use crate::support::{FILE, REPOSITORY, fetch_all, hub_with, import, import_of, names, settings};

#[tokio::test]
async fn an_imported_file_is_verified_and_then_costs_no_request() {
    let bytes = gguf::tiny(300_000);
    let (hub, folder) = hub_with(&bytes).await;
    let usb = tempfile::tempdir().unwrap();
    let from = usb.path().join("copy.gguf");
    std::fs::write(&from, &bytes).unwrap();
    let mut wanted = import_of(&[&from], &folder, FILE);
    wanted.pin = Some(hub.repository().files[0].sha256.parse().unwrap());
    let entries = import(&wanted).await.unwrap();
    let expected = Entry {
        file: FILE.to_owned(),
        repository: Some(REPOSITORY.to_owned()),
        revision: "main".to_owned(),
        commit: None,
        source: None,
        size: 300_000,
        sha256: wanted.pin.unwrap(),
        checked: true,
        modified_ns: entries[0].modified_ns,
    };
    assert_eq!(entries, [expected]);
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
    assert_eq!(names(folder.path()), [FILE]);
    assert_eq!(fetch_all(&settings(&hub, &folder)).await.unwrap(), entries);
    assert_eq!(hub.requests(), []);
}

#[tokio::test]
async fn an_imported_file_with_another_digest_is_not_published() {
    let usb = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let from = usb.path().join("copy.gguf");
    std::fs::write(&from, gguf::tiny(300_000)).unwrap();
    let mut wanted = import_of(&[&from], &folder, FILE);
    wanted.pin = Some("ab".repeat(32).parse().unwrap());
    assert_eq!(import(&wanted).await.unwrap_err().exit_code(), 65);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn an_imported_file_that_was_cut_or_is_none_is_not_published() {
    let usb = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let from = usb.path().join("copy.gguf");
    std::fs::write(&from, &gguf::tiny(300_000)[..299_999]).unwrap();
    let error = import(&import_of(&[&from], &folder, FILE))
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), 65);
    let missing = usb.path().join("nothing.gguf");
    let error = import(&import_of(&[&missing], &folder, FILE))
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), 64);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn an_import_without_a_digest_is_unchecked_and_verify_finds_later_damage() {
    let usb = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let from = usb.path().join("copy.gguf");
    let mut bytes = gguf::tiny(300_000);
    std::fs::write(&from, &bytes).unwrap();
    let stop = CancellationToken::new();
    let entries = import(&import_of(&[&from], &folder, FILE)).await.unwrap();
    assert!(!entries[0].checked);
    let states = async || {
        let files = model_fetcher::verify(folder.path(), &stop).await.unwrap();
        files
            .into_iter()
            .map(|found| found.state)
            .collect::<Vec<_>>()
    };
    assert_eq!(states().await, [FileState::Verified]);
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
        FileState::Verified,
        "status does not read it"
    );
    assert_eq!(states().await, [FileState::Changed]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(states().await, [FileState::Missing]);
}

#[tokio::test]
async fn one_of_the_models_in_a_folder_is_imported_by_name_or_tag() {
    let usb = tempfile::tempdir().unwrap();
    std::fs::create_dir(usb.path().join("deep")).unwrap();
    std::fs::write(usb.path().join("deep/m-Q4_0.gguf"), gguf::tiny(1_000)).unwrap();
    std::fs::write(usb.path().join("m-Q8_0.gguf"), gguf::tiny(2_000)).unwrap();
    std::fs::write(usb.path().join("broken.gguf"), "<!DOCTYPE html>").unwrap();
    for (wanted, expected) in [("m-Q4_0.gguf", "m-Q4_0.gguf"), (":Q8_0", "m-Q8_0.gguf")] {
        let folder = tempfile::tempdir().unwrap();
        let entries = import(&import_of(&[usb.path()], &folder, wanted))
            .await
            .unwrap();
        assert_eq!(entries[0].file, expected);
        assert_eq!(names(folder.path()), [expected]);
    }
    let folder = tempfile::tempdir().unwrap();
    let error = import(&import_of(&[usb.path()], &folder, "m-Q5_0.gguf"))
        .await
        .unwrap_err();
    let place = usb.path().display();
    assert_eq!(
        error.to_string(),
        format!(
            "{place} has no file m-Q5_0.gguf: check HF_FILENAME; it has m-Q8_0.gguf, broken.gguf, deep/m-Q4_0.gguf"
        )
    );
    let error = import(&import_of(&[usb.path()], &folder, "broken.gguf"))
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), 65, "{error}");
    assert_eq!(names(folder.path()), [""; 0]);
}
