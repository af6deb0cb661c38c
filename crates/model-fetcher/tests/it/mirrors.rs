//! Mirrors: the same part goes on from the next source, the digest judges, the token stays at home.

use common::secret::Secret;
use model_fetcher::Mirror;
use model_fetcher::config::Fetch;
use tempfile::TempDir;
use testkit::fake_hub::{FakeHub, Fault, File, On, Token};
use testkit::gguf;

use crate::support::{
    FILE, REPOSITORY, TOKEN, fetch, hub_of, hub_with, names, ranges, repository, settings,
};

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:9";

/// A Hub and a mirror with `bytes`, and settings that name both.
async fn two(bytes: &[u8]) -> (FakeHub, FakeHub, TempDir, Fetch) {
    let (hub, folder) = hub_with(bytes).await;
    let (mirror, _) = hub_with(bytes).await;
    let mut wanted = settings(&hub, &folder);
    wanted.mirrors = vec![mirror.endpoint().parse().unwrap()];
    (hub, mirror, folder, wanted)
}

fn is_published(folder: &TempDir, bytes: &[u8]) -> bool {
    std::fs::read(folder.path().join(FILE)).unwrap() == bytes
}

#[tokio::test]
async fn while_the_hub_delivers_no_mirror_is_asked() {
    let bytes = gguf::tiny(300_000);
    let (_hub, mirror, folder, wanted) = two(&bytes).await;
    fetch(&wanted).await.unwrap();
    assert!(is_published(&folder, &bytes));
    assert_eq!(mirror.requests(), []);
}

#[tokio::test]
async fn a_source_that_stalls_errs_or_sends_other_ranges_is_left_in_mid_file() {
    let faults = [Fault::StallAfter(50_000), Fault::CutAfter(50_000)];
    for fault in faults {
        let bytes = gguf::tiny(300_000);
        let (hub, mirror, folder, wanted) = two(&bytes).await;
        hub.always(On::Bytes, fault);
        fetch(&wanted).await.unwrap();
        assert!(is_published(&folder, &bytes));
        assert_eq!(ranges(&hub), ["bytes=0-299999", "bytes=50000-299999"]);
        assert_eq!(ranges(&mirror), ["bytes=100000-299999"]);
    }
    for fault in [Fault::status(500), Fault::WrongContentRange, Fault::Expired] {
        let bytes = gguf::tiny(300_000);
        let (hub, mirror, folder, wanted) = two(&bytes).await;
        hub.next(On::Bytes, [Fault::CutAfter(50_000)]);
        hub.next(On::Bytes, [fault.clone(), fault]);
        fetch(&wanted).await.unwrap();
        assert!(is_published(&folder, &bytes));
        assert_eq!(ranges(&mirror), ["bytes=50000-299999"]);
    }
}

#[tokio::test]
async fn several_streams_go_on_from_the_mirror_and_most_of_what_came_is_kept() {
    let bytes = gguf::tiny(8 << 20);
    let (hub, mirror, folder, wanted) = two(&bytes).await;
    hub.next(
        On::Bytes,
        std::iter::repeat_n(Fault::BytesPerSecond(1 << 30), 7),
    );
    hub.next(On::Bytes, std::iter::repeat_n(Fault::status(503), 100));
    fetch(&wanted).await.unwrap();
    assert!(is_published(&folder, &bytes));
    assert!(
        mirror.bytes_served() <= (8 << 20) - (1 << 20),
        "{}",
        mirror.bytes_served()
    );
}

#[tokio::test]
async fn a_hub_that_asks_to_wait_is_not_waited_for_when_there_is_a_mirror() {
    let bytes = gguf::tiny(300_000);
    let (hub, mirror, folder, wanted) = two(&bytes).await;
    let wait = Fault::Status {
        code: 429,
        headers: vec![("retry-after", "200".to_owned())],
        body: "",
    };
    hub.always(On::Bytes, wait);
    let began = std::time::Instant::now();
    fetch(&wanted).await.unwrap();
    assert!(is_published(&folder, &bytes));
    assert!(began.elapsed().as_secs() < 100);
    assert_eq!(ranges(&mirror).len(), 1);
}

#[tokio::test]
async fn mirrors_are_asked_in_order_and_one_without_the_file_or_with_another_is_left() {
    let bytes = gguf::tiny(300_000);
    let (hub, good, folder, mut wanted) = two(&bytes).await;
    let (without, _) = hub_of(
        repository(vec![File::from_bytes("x.gguf", gguf::tiny(1_000))]),
        Vec::new(),
    )
    .await;
    let (other, _) = hub_with(&gguf::tiny(300_001)).await;
    let template =
        |hub: &FakeHub| format!("{}/{{repository}}/resolve/main/{{file}}", hub.endpoint());
    let direct = format!("{}/{REPOSITORY}/resolve/main/{FILE}", other.endpoint());
    let mirrors = [
        NOBODY.to_owned(),
        template(&without),
        direct,
        template(&good),
    ];
    wanted.mirrors = mirrors
        .iter()
        .map(|mirror| mirror.parse().unwrap())
        .collect();
    hub.always(On::Bytes, Fault::CutAfter(100_000));
    fetch(&wanted).await.unwrap();
    assert!(is_published(&folder, &bytes));
    assert_eq!(ranges(&without), [""; 0]);
    assert_eq!(ranges(&other).len(), 2);
    assert_eq!(ranges(&good), ["bytes=200000-299999"]);
}

#[tokio::test]
async fn a_mirror_that_lies_is_found_out_and_the_next_source_is_asked() {
    let bytes = gguf::tiny(300_000);
    let (hub, liar, folder, mut wanted) = two(&bytes).await;
    let (good, _) = hub_with(&bytes).await;
    wanted.mirrors.push(good.endpoint().parse().unwrap());
    hub.always(On::Bytes, Fault::status(503));
    liar.always(On::Bytes, Fault::FlipByteAt(250_000));
    fetch(&wanted).await.unwrap();
    assert!(is_published(&folder, &bytes));
    assert_eq!(
        (liar.bytes_served(), good.bytes_served()),
        (300_000, 300_000)
    );
}

#[tokio::test]
async fn when_every_source_lies_nothing_is_published() {
    let (hub, mirror, folder, wanted) = two(&gguf::tiny(300_000)).await;
    hub.always(On::Bytes, Fault::FlipByteAt(250_000));
    mirror.always(On::Bytes, Fault::FlipByteAt(250_001));
    assert_eq!(fetch(&wanted).await.unwrap_err().exit_code(), 65);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn the_token_never_goes_to_a_mirror() {
    let bytes = gguf::tiny(300_000);
    let token = Token {
        text: TOKEN.to_owned(),
        accepted: true,
    };
    let files = || vec![File::from_bytes(FILE, bytes.clone())];
    let (hub, folder) = hub_of(repository(files()), vec![token]).await;
    let (mirror, _) = hub_of(repository(files()), Vec::new()).await;
    let mut wanted = settings(&hub, &folder);
    wanted.token = Some(Secret::new(TOKEN));
    wanted.mirrors = vec![mirror.endpoint().parse().unwrap()];
    hub.always(On::Bytes, Fault::CutAfter(50_000));
    fetch(&wanted).await.unwrap();
    assert!(hub.requests().iter().any(|request| request.authorization));
    assert!(!mirror.requests().is_empty());
    assert!(
        mirror
            .requests()
            .iter()
            .all(|request| !request.authorization)
    );
}

#[tokio::test]
async fn a_mirror_on_the_hubs_own_origin_gets_no_token_either() {
    let bytes = gguf::tiny(300_000);
    let token = Token {
        text: TOKEN.to_owned(),
        accepted: true,
    };
    let (hub, folder) = hub_of(repository(vec![File::from_bytes(FILE, bytes)]), vec![token]).await;
    let mut wanted = settings(&hub, &folder);
    wanted.token = Some(Secret::new(TOKEN));
    let mirror = format!("{}/{{repository}}/resolve/main/{{file}}", hub.endpoint());
    wanted.mirrors = vec![mirror.parse().unwrap()];
    hub.next(
        On::Bytes,
        [Fault::CutAfter(50_000), Fault::CutAfter(50_000)],
    );
    fetch(&wanted).await.unwrap();
    let mirrored: Vec<bool> = hub
        .requests()
        .into_iter()
        .filter(|request| request.path.contains("/resolve/main/"))
        .map(|request| request.authorization)
        .collect();
    assert_eq!(mirrored, [false]);
}

#[tokio::test]
async fn without_the_hub_a_mirror_is_used_only_when_the_digest_is_known() {
    let bytes = gguf::tiny(300_000);
    let (hub, mirror, folder, mut wanted) = two(&bytes).await;
    wanted.endpoint = NOBODY.parse().unwrap();
    assert_eq!(fetch(&wanted).await.unwrap_err().exit_code(), 69);
    assert_eq!(mirror.requests(), []);
    wanted.pin = Some(hub.repository().files[0].sha256.parse().unwrap());
    let entry = fetch(&wanted).await.unwrap();
    assert!(is_published(&folder, &bytes));
    assert_eq!((entry.commit, entry.checked), (None, true));
    assert_eq!(hub.requests(), []);
}

#[tokio::test]
async fn without_the_hub_a_wrong_file_at_a_mirror_is_not_accepted() {
    let (_, _mirror, folder, mut wanted) = two(&gguf::tiny(300_000)).await;
    wanted.endpoint = NOBODY.parse().unwrap();
    wanted.pin = Some("ab".repeat(32).parse().unwrap());
    assert_eq!(fetch(&wanted).await.unwrap_err().exit_code(), 65);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn a_hub_that_publishes_no_digest_gets_no_mirror_asked() {
    let (hub, mirror, folder, wanted) = two(&gguf::tiny(300_000)).await;
    hub.always(On::Resolve, Fault::NoDigest);
    assert_eq!(fetch(&wanted).await.unwrap_err().exit_code(), 64);
    assert_eq!(mirror.requests(), []);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn status_names_the_mirror_that_a_file_came_from() {
    let bytes = gguf::tiny(300_000);
    let (hub, mirror, folder, mut wanted) = two(&bytes).await;
    wanted.endpoint = NOBODY.parse().unwrap();
    wanted.pin = Some(hub.repository().files[0].sha256.parse().unwrap());
    fetch(&wanted).await.unwrap();
    let status = model_fetcher::status(folder.path()).unwrap().to_string();
    let origin = format!("(from {})", mirror.endpoint());
    assert!(status.contains(&origin), "{status}");
}

/// ModelScope with `bytes` as `file` of another repository, and settings for it and a Hub that is not there.
async fn modelscope_with(file: &str, bytes: &[u8]) -> (FakeHub, TempDir, Fetch) {
    let mut elsewhere = repository(vec![
        File::from_bytes(file, bytes.to_vec()),
        File::from_bytes("README.md", b"# tiny".to_vec()),
    ]);
    elsewhere.id = "other/copy-GGUF".to_owned();
    let (there, folder) = hub_of(elsewhere, Vec::new()).await;
    let mut wanted = settings(&there, &folder);
    wanted.repository = REPOSITORY.parse().unwrap();
    let endpoint = there.endpoint().parse().unwrap();
    let name = "other/copy-GGUF".parse().unwrap();
    wanted.mirrors = vec![Mirror::ModelScope(endpoint, Some(name))];
    wanted.endpoint = NOBODY.parse().unwrap();
    (there, folder, wanted)
}

#[tokio::test]
async fn modelscope_has_the_pinned_file_whatever_it_is_called_there() {
    let bytes = gguf::tiny(5_000_000);
    let (there, folder, mut wanted) = modelscope_with("renamed.gguf", &bytes).await;
    wanted.pin = Some(there.repository().files[0].sha256.parse().unwrap());
    let entry = fetch(&wanted).await.unwrap();
    assert!(is_published(&folder, &bytes));
    assert_eq!(entry.source, Some(there.endpoint()));
    assert!(there.sent().len() > 2, "it is fetched in several ranges");
    assert_eq!(there.bytes_served(), 5_000_000);
}

#[tokio::test]
async fn modelscope_takes_over_from_the_hub_in_mid_file() {
    let bytes = gguf::tiny(300_000);
    let (there, _, modelscope) = modelscope_with("renamed.gguf", &bytes).await;
    let (hub, folder) = hub_with(&bytes).await;
    let mut wanted = settings(&hub, &folder);
    wanted.mirrors = modelscope.mirrors;
    hub.always(On::Bytes, Fault::CutAfter(50_000));
    fetch(&wanted).await.unwrap();
    assert!(is_published(&folder, &bytes));
    assert_eq!(there.bytes_served(), 200_000);
}

#[tokio::test]
async fn modelscope_with_other_bytes_is_left_before_any_is_fetched() {
    let (there, _, modelscope) = modelscope_with(FILE, &gguf::tiny(310_000)).await;
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let mut wanted = settings(&hub, &folder);
    wanted.mirrors = modelscope.mirrors;
    hub.always(On::Bytes, Fault::status(503));
    let error = fetch(&wanted).await.unwrap_err();
    assert_eq!(error.exit_code(), 69, "{error}");
    assert_eq!(there.bytes_served(), 0);
    assert_eq!(
        names(folder.path())
            .iter()
            .filter(|name| !name.starts_with('.'))
            .count(),
        0
    );
}

#[tokio::test]
async fn what_only_modelscope_says_of_a_digest_is_shown_and_not_believed() {
    let (there, folder, mut wanted) = modelscope_with("renamed.gguf", &gguf::tiny(300_000)).await;
    wanted.choice = "renamed.gguf".parse().unwrap();
    let error = fetch(&wanted).await.unwrap_err();
    let sha256 = &there.repository().files[0].sha256;
    assert_eq!(error.exit_code(), 69);
    assert!(
        error.to_string().ends_with(&format!(
            "only a mirror says which bytes of renamed.gguf are right: {} names SHA-256 {sha256}. A mirror is not believed \
             about that. Compare it with the model's page, or accept it: run again with MODEL_SHA256={sha256}",
            there.endpoint()
        )),
        "{error}"
    );
    assert_eq!((there.bytes_served(), names(folder.path()).len()), (0, 0));
}
