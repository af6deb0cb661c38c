//! `models.lock` and `--locked`: exactly the recorded files, from any source.

use std::path::Path;

use model_fetcher::config::Fetch;
use model_fetcher::{LockedFile, LockedModel, ModelsLock};
use tempfile::TempDir;
use testkit::fake_hub::{FakeHub, Fault, File, On};
use testkit::gguf;

use crate::support::{
    COMMIT, FILE, REPOSITORY, fetch, hub_of, hub_with, import, import_of, names, repository,
    settings,
};

const NOBODY: &str = "http://127.0.0.1:9";

/// The lock of a fetch of `bytes`, in a new folder, and settings for it that are locked.
async fn locked(bytes: &[u8]) -> (FakeHub, TempDir, Fetch) {
    let (hub, first) = hub_with(bytes).await;
    fetch(&settings(&hub, &first)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(
        first.path().join("models.lock"),
        folder.path().join("models.lock"),
    )
    .unwrap();
    let wanted = Fetch {
        locked: true,
        ..settings(&hub, &folder)
    };
    (hub, folder, wanted)
}

fn text(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("models.lock")).unwrap()
}

#[tokio::test]
async fn every_fetch_writes_the_lock_in_its_documented_form() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    fetch(&settings(&hub, &folder)).await.unwrap();
    let sha256 = &hub.repository().files[0].sha256;
    let expected = format!(
        r#"{{
  "version": 1,
  "models": [
    {{
      "repository": "acme/tiny-GGUF",
      "revision": "main",
      "wanted": "tiny.Q4_0.gguf",
      "projector": false,
      "commit": "{COMMIT}",
      "files": [
        {{
          "file": "tiny.Q4_0.gguf",
          "size": 300000,
          "sha256": "{sha256}"
        }}
      ]
    }}
  ]
}}
"#
    );
    assert_eq!(text(folder.path()), expected);
    let model = LockedModel {
        repository: REPOSITORY.to_owned(),
        revision: "main".to_owned(),
        wanted: FILE.to_owned(),
        projector: false,
        commit: Some(COMMIT.to_owned()),
        files: vec![LockedFile {
            file: FILE.parse().unwrap(),
            size: 300_000,
            sha256: sha256.parse().unwrap(),
        }],
    };
    assert_eq!(ModelsLock::load(folder.path()).unwrap().models(), [model]);
}

#[tokio::test]
async fn a_locked_run_fetches_the_recorded_file_without_asking_what_it_is() {
    let bytes = gguf::tiny(300_000);
    let (hub, folder, wanted) = locked(&bytes).await;
    let lock = text(folder.path());
    let n_requests = hub.requests().len();
    fetch(&wanted).await.unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
    assert!(
        hub.requests()[n_requests..]
            .iter()
            .all(|request| !request.path.starts_with("/api"))
    );
    assert_eq!(text(folder.path()), lock);
    let n_requests = hub.requests().len();
    fetch(&wanted).await.unwrap();
    assert_eq!(hub.requests().len(), n_requests);
}

#[tokio::test]
async fn a_locked_run_takes_the_recorded_file_from_a_mirror_when_the_hub_is_gone_or_has_another() {
    let bytes = gguf::tiny(300_000);
    let (mirror, folder, mut wanted) = locked(&bytes).await;
    wanted.mirrors = vec![mirror.endpoint().parse().unwrap()];
    wanted.endpoint = NOBODY.parse().unwrap();
    fetch(&wanted).await.unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);

    let (mirror, folder, mut wanted) = locked(&bytes).await;
    let (hub, _) = hub_with(&gguf::tiny(400_000)).await;
    wanted.mirrors = vec![mirror.endpoint().parse().unwrap()];
    wanted.endpoint = hub.endpoint().parse().unwrap();
    fetch(&wanted).await.unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
    assert_eq!(
        hub.bytes_served(),
        0,
        "its digest is another one, so that nothing is fetched from it"
    );
}

#[tokio::test]
async fn what_was_pinned_and_locked_without_the_hub_is_fetched_from_it_once_it_is_back() {
    let bytes = gguf::tiny(300_000);
    let (hub, first) = hub_with(&bytes).await;
    let mut pinned = settings(&hub, &first);
    pinned.pin = Some(hub.repository().files[0].sha256.parse().unwrap());
    pinned.mirrors = vec![hub.endpoint().parse().unwrap()];
    pinned.endpoint = NOBODY.parse().unwrap();
    assert_eq!(fetch(&pinned).await.unwrap().commit, None);
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(
        first.path().join("models.lock"),
        folder.path().join("models.lock"),
    )
    .unwrap();
    fetch(&Fetch {
        locked: true,
        ..settings(&hub, &folder)
    })
    .await
    .unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
}

#[tokio::test]
async fn a_locked_run_without_a_source_of_the_recorded_bytes_fails_and_publishes_nothing() {
    let (_, folder, mut wanted) = locked(&gguf::tiny(300_000)).await;
    let (hub, _) = hub_with(&gguf::tiny(400_000)).await;
    wanted.endpoint = hub.endpoint().parse().unwrap();
    let error = fetch(&wanted).await.unwrap_err();
    assert_eq!(error.exit_code(), 69);
    assert!(!folder.path().join(FILE).exists());
}

#[tokio::test]
async fn a_locked_run_for_what_is_not_in_the_lock_says_so_and_asks_nobody() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let wanted = Fetch {
        locked: true,
        ..settings(&hub, &folder)
    };
    let error = fetch(&wanted).await.unwrap_err();
    assert_eq!(
        (error.exit_code(), error.to_string()),
        (
            64,
            format!(
                "{}/models.lock has no {FILE} of {REPOSITORY}@main, and --locked fetches nothing else: run \
                 model-fetcher once without it where the Hub is reached, and bring that models.lock here",
                folder.path().display()
            )
        )
    );
    assert_eq!(hub.requests(), []);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn without_the_hub_the_lock_lets_a_mirror_be_used_also_when_not_locked() {
    let bytes = gguf::tiny(300_000);
    let (mirror, folder, mut wanted) = locked(&bytes).await;
    wanted.locked = false;
    wanted.mirrors = vec![mirror.endpoint().parse().unwrap()];
    wanted.endpoint = NOBODY.parse().unwrap();
    let entry = fetch(&wanted).await.unwrap();
    assert_eq!(entry.commit.as_deref(), Some(COMMIT));
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
}

#[tokio::test]
async fn a_run_that_is_not_locked_follows_the_branch_and_updates_the_lock() {
    let (_, folder, mut wanted) = locked(&gguf::tiny(300_000)).await;
    let newer = gguf::tiny(310_000);
    let (hub, _) = hub_of(repository(vec![File::from_bytes(FILE, newer)]), Vec::new()).await;
    wanted.locked = false;
    wanted.endpoint = hub.endpoint().parse().unwrap();
    fetch(&wanted).await.unwrap();
    assert!(text(folder.path()).contains(&hub.repository().files[0].sha256));
}

#[tokio::test]
async fn a_lock_that_cannot_be_read_or_names_a_path_outside_is_refused_and_kept() {
    let file = |name: &str| {
        format!(
            r#"{{"version":1,"models":[{{"repository":"a/b","revision":"m","wanted":"x","projector":false,"commit":null,
               "files":[{{"file":"{name}","size":1,"sha256":"{}"}}]}}]}}"#,
            "ab".repeat(32)
        )
    };
    let bad = [
        "",
        "{}",
        r#"{"version":2,"models":[]}"#,
        &file("../x.gguf"),
        &file("/etc/x.gguf"),
    ];
    for broken in bad {
        let (hub, folder) = hub_with(&gguf::tiny(1_000)).await;
        std::fs::write(folder.path().join("models.lock"), broken).unwrap();
        assert_eq!(
            fetch(&settings(&hub, &folder))
                .await
                .unwrap_err()
                .exit_code(),
            64,
            "{broken}"
        );
        assert_eq!(
            (text(folder.path()).as_str(), hub.requests()),
            (broken, Vec::new())
        );
    }
}

#[tokio::test]
async fn an_import_takes_the_place_of_what_the_lock_had_and_is_then_what_is_wanted() {
    let (hub, folder, mut wanted) = locked(&gguf::tiny(300_000)).await;
    let usb = tempfile::tempdir().unwrap();
    let other = gguf::tiny(310_000);
    let from = usb.path().join("copy.gguf");
    std::fs::write(&from, &other).unwrap();
    let entry = import(&import_of(&[&from], &folder, FILE)).await.unwrap();
    let entry = entry.into_iter().next().unwrap();
    let n_requests = hub.requests().len();
    assert_eq!(fetch(&wanted).await.unwrap(), entry);
    wanted.locked = false;
    assert_eq!(fetch(&wanted).await.unwrap(), entry);
    assert_eq!(hub.requests().len(), n_requests);
}

#[tokio::test]
async fn an_import_with_the_digest_that_the_lock_has_counts_as_checked_and_keeps_the_commit() {
    let bytes = gguf::tiny(300_000);
    let (_, folder, _) = locked(&bytes).await;
    let usb = tempfile::tempdir().unwrap();
    let lock = text(folder.path());
    let from = usb.path().join("copy.gguf");
    std::fs::write(&from, &bytes).unwrap();
    let entries = import(&import_of(&[&from], &folder, FILE)).await.unwrap();
    assert!(entries[0].checked);
    assert_eq!(text(folder.path()), lock);
}

#[tokio::test]
async fn a_locked_run_replaces_a_verified_file_that_is_not_the_recorded_one() {
    let bytes = gguf::tiny(300_000);
    let (_hub, folder, wanted) = locked(&bytes).await;
    let lock = text(folder.path());
    let (other, _) = hub_with(&gguf::tiny(310_000)).await;
    let endpoint = other.endpoint().parse().unwrap();
    fetch(&Fetch {
        locked: false,
        endpoint,
        ..wanted.clone()
    })
    .await
    .unwrap();
    std::fs::write(folder.path().join("models.lock"), lock).unwrap();
    fetch(&wanted).await.unwrap();
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
}

#[tokio::test]
async fn a_pin_that_contradicts_the_lock_is_refused() {
    let (hub, _folder, mut wanted) = locked(&gguf::tiny(300_000)).await;
    hub.always(On::Bytes, Fault::status(500));
    wanted.pin = Some("ab".repeat(32).parse().unwrap());
    assert_eq!(fetch(&wanted).await.unwrap_err().exit_code(), 65);
}

#[tokio::test]
async fn a_tag_is_answered_by_the_model_that_was_fetched_by_name_and_back() {
    for (first, then) in [(FILE, ":q4_0"), (":Q4_0", FILE)] {
        let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
        let mut wanted = settings(&hub, &folder);
        wanted.choice = first.parse().unwrap();
        let entry = fetch(&wanted).await.unwrap();
        let n_requests = hub.requests().len();
        wanted.choice = then.parse().unwrap();
        wanted.endpoint = NOBODY.parse().unwrap();
        assert_eq!(fetch(&wanted).await.unwrap(), entry);
        wanted.locked = true;
        assert_eq!(fetch(&wanted).await.unwrap(), entry);
        assert_eq!(hub.requests().len(), n_requests);
        // Another quantisation is another model.
        wanted.choice = ":Q4_1".parse().unwrap();
        assert_eq!(fetch(&wanted).await.unwrap_err().exit_code(), 64);
    }
}
