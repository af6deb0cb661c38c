//! Fetching what is not there, and not fetching what is.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use model_fetcher::{Entry, FileState};
use testkit::fake_hub::{Fault, File, On, Origin, Request};
use testkit::gguf;

use crate::support::{
    COMMIT, FILE, REPOSITORY, fetch, hub_of, hub_with, names, ranges, repository, settings,
};

#[tokio::test]
async fn a_fetched_file_is_published_whole_under_its_name_and_recorded() {
    let bytes = gguf::tiny(5_000_000);
    let (hub, folder) = hub_with(&bytes).await;
    let entry = fetch(&settings(&hub, &folder)).await.unwrap();
    let path = folder.path().join(FILE);
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert_eq!(
        path.metadata().unwrap().permissions().mode() & 0o7777,
        0o644
    );
    assert_eq!(names(folder.path()), [FILE]);
    let expected = Entry {
        file: FILE.to_owned(),
        repository: Some(REPOSITORY.to_owned()),
        revision: "main".to_owned(),
        commit: Some(COMMIT.to_owned()),
        source: Some(hub.endpoint()),
        size: 5_000_000,
        sha256: hub.repository().files[0].sha256.parse().unwrap(),
        checked: true,
        modified_ns: entry.modified_ns,
    };
    assert_eq!(entry, expected);
    assert_eq!(entry.state(folder.path()), FileState::Verified);
    assert_eq!(
        hub.bytes_served(),
        5_000_000,
        "several streams fetch every byte once"
    );
}

#[tokio::test]
async fn the_revision_is_resolved_once_and_then_only_the_commit_is_asked_for() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    fetch(&settings(&hub, &folder)).await.unwrap();
    let request = |origin, method: &str, path: String, range: Option<&str>| Request {
        token: false,
        origin,
        method: method.to_owned(),
        path,
        authorization: false,
        range: range.map(str::to_owned),
    };
    assert_eq!(
        hub.requests(),
        [
            request(
                Origin::Hub,
                "GET",
                format!("/api/models/{REPOSITORY}/revision/main"),
                None
            ),
            request(
                Origin::Hub,
                "HEAD",
                format!("/{REPOSITORY}/resolve/{COMMIT}/{FILE}"),
                None
            ),
            request(
                Origin::Cdn,
                "GET",
                format!("/{}", hub.repository().files[0].sha256),
                Some("bytes=0-299999")
            ),
        ]
    );
}

#[tokio::test]
async fn a_second_run_makes_no_request_and_takes_milliseconds() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let first = fetch(&settings(&hub, &folder)).await.unwrap();
    let n_requests = hub.requests().len();
    let began = std::time::Instant::now();
    assert_eq!(fetch(&settings(&hub, &folder)).await.unwrap(), first);
    assert!(
        began.elapsed() < Duration::from_millis(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(hub.requests().len(), n_requests);
}

#[tokio::test]
async fn another_revision_or_file_is_fetched_anew_and_the_same_bytes_are_not_moved_again() {
    let other = "other.Q8_0.gguf";
    let first = gguf::tiny(300_000);
    let second = gguf::tiny(400_000);
    let files = vec![
        File::from_bytes(FILE, first),
        File::from_bytes(other, second.clone()),
    ];
    let (hub, folder) = hub_of(repository(files), Vec::new()).await;
    fetch(&settings(&hub, &folder)).await.unwrap();
    let mut wanted = settings(&hub, &folder);
    wanted.revision = COMMIT.to_owned();
    assert_eq!(fetch(&wanted).await.unwrap().revision, COMMIT);
    assert_eq!(hub.bytes_served(), 300_000);
    wanted.choice = other.parse().unwrap();
    fetch(&wanted).await.unwrap();
    assert!(std::fs::read(folder.path().join(other)).unwrap() == second);
    assert_eq!(hub.bytes_served(), 700_000);
}

#[tokio::test]
async fn a_file_that_was_changed_on_the_disk_is_found_out_and_replaced() {
    let bytes = gguf::tiny(300_000);
    let (hub, folder) = hub_with(&bytes).await;
    fetch(&settings(&hub, &folder)).await.unwrap();
    let path = folder.path().join(FILE);
    let mut changed = bytes.clone();
    changed[200_000] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    fetch(&settings(&hub, &folder)).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
}

#[tokio::test]
async fn a_file_that_was_only_touched_is_hashed_again_without_a_request() {
    let bytes = gguf::tiny(300_000);
    let (hub, folder) = hub_with(&bytes).await;
    fetch(&settings(&hub, &folder)).await.unwrap();
    let n_requests = hub.requests().len();
    std::fs::write(folder.path().join(FILE), &bytes).unwrap();
    let entry = fetch(&settings(&hub, &folder)).await.unwrap();
    assert_eq!(
        (hub.requests().len(), entry.state(folder.path())),
        (n_requests, FileState::Verified)
    );
}

#[tokio::test]
async fn a_right_file_without_a_record_is_verified_and_not_fetched() {
    let bytes = gguf::tiny(300_000);
    let (hub, folder) = hub_with(&bytes).await;
    std::fs::write(folder.path().join(FILE), &bytes).unwrap();
    fetch(&settings(&hub, &folder)).await.unwrap();
    assert_eq!(hub.bytes_served(), 0);
}

#[tokio::test]
async fn two_at_once_download_once() {
    let (hub, folder) = hub_with(&gguf::tiny(3_000_000)).await;
    hub.always(On::Bytes, Fault::BytesPerSecond(20_000_000));
    let one = settings(&hub, &folder);
    let other = settings(&hub, &folder);
    let (one, other) = tokio::join!(fetch(&one), fetch(&other));
    assert_eq!(one.unwrap(), other.unwrap());
    assert_eq!(hub.bytes_served(), 3_000_000);
}

#[tokio::test]
async fn waiting_for_another_process_ends_in_time_and_says_for_whom() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let lock = std::fs::File::create(folder.path().join(".corral.lock")).unwrap();
    std::io::Write::write_all(&mut &lock, b"process 7 on elsewhere\n").unwrap();
    lock.lock().unwrap();
    let mut wanted = settings(&hub, &folder);
    wanted.tuning.lock_wait = Duration::from_millis(50);
    let error = fetch(&wanted).await.unwrap_err();
    assert_eq!(error.exit_code(), 75);
    let folder = folder.path().display();
    assert_eq!(
        error.to_string(),
        format!(
            "{folder} has been locked by process 7 on elsewhere for longer than 0 s: wait for it, or stop it"
        )
    );
    assert_eq!(hub.requests(), []);
}

#[tokio::test]
async fn a_file_in_a_folder_of_the_repository_keeps_its_path() {
    let name = "Q4_0/tiny model.gguf";
    let bytes = gguf::tiny(300_000);
    let (hub, folder) = hub_of(
        repository(vec![File::from_bytes(name, bytes.clone())]),
        Vec::new(),
    )
    .await;
    let mut wanted = settings(&hub, &folder);
    wanted.choice = name.parse().unwrap();
    fetch(&wanted).await.unwrap();
    assert!(std::fs::read(folder.path().join(name)).unwrap() == bytes);
}

#[tokio::test]
async fn a_small_file_behind_a_relative_redirect_is_fetched_when_its_digest_is_pinned() {
    let bytes = gguf::tiny(2_000);
    let mut file = File::from_bytes(FILE, bytes.clone());
    file.lfs = false;
    let (hub, folder) = hub_of(repository(vec![file]), Vec::new()).await;
    let mut wanted = settings(&hub, &folder);
    assert_eq!(
        fetch(&wanted).await.unwrap_err().exit_code(),
        64,
        "its ETag is no SHA-256"
    );
    wanted.pin = Some(hub.repository().files[0].sha256.parse().unwrap());
    fetch(&wanted).await.unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
    assert_eq!(ranges(&hub), [""; 0]);
}
