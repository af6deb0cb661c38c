//! Which files a request stands for: quantisations, split sets, projectors.

use model_fetcher::{Choice, Entry};
use testkit::fake_hub::{Fault, File, On, Origin};
use testkit::gguf;

use crate::support::{REPOSITORY, fetch_all, hub_of, names, repository, settings};

const Q4: &str = "tiny-Q4_K_M.gguf";
const IQ4: &str = "tiny-IQ4_K_M.gguf";

fn part(name: &str, n_bytes: usize, no: u32, count: u32) -> File {
    File::from_bytes(
        name,
        gguf::with_numbers(n_bytes, &[("split.no", no), ("split.count", count)]),
    )
}

fn set() -> Vec<File> {
    (0..3)
        .map(|no| part(&part_name(no + 1), 300_000 + 1_000 * no as usize, no, 3))
        .collect()
}

fn part_name(number: u32) -> String {
    format!("Q8_0/tiny-Q8_0-{number:05}-of-00003.gguf")
}

fn choice(text: &str) -> Choice {
    text.parse().unwrap()
}

fn files(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.file.as_str()).collect()
}

#[tokio::test]
async fn a_quantisation_is_fetched_under_the_name_it_has_in_the_repository_and_then_costs_no_request()
 {
    let wanted_bytes = gguf::tiny(310_000);
    let all = vec![
        File::from_bytes(IQ4, gguf::tiny(300_000)),
        File::from_bytes(Q4, wanted_bytes.clone()),
    ];
    let (hub, folder) = hub_of(repository(all), Vec::new()).await;
    let mut wanted = settings(&hub, &folder);
    wanted.choice = choice(":q4_k_m");
    let entries = fetch_all(&wanted).await.unwrap();
    assert_eq!(files(&entries), [Q4]);
    assert!(std::fs::read(folder.path().join(Q4)).unwrap() == wanted_bytes);
    assert_eq!(names(folder.path()), [Q4]);
    let n_requests = hub.requests().len();
    assert_eq!(fetch_all(&wanted).await.unwrap(), entries);
    assert_eq!(hub.requests().len(), n_requests);
}

#[tokio::test]
async fn a_quantisation_that_is_not_there_is_answered_with_those_that_are() {
    let all = vec![
        File::from_bytes(IQ4, gguf::tiny(1_000)),
        File::from_bytes("tiny-Q8_0.gguf", gguf::tiny(1_000)),
    ];
    let (hub, folder) = hub_of(repository(all), Vec::new()).await;
    let mut wanted = settings(&hub, &folder);
    wanted.choice = choice(":Q4_K_M");
    let error = fetch_all(&wanted).await.unwrap_err();
    assert_eq!(
        (error.exit_code(), error.to_string()),
        (
            64,
            "acme/tiny-GGUF has no model with the tag :Q4_K_M: set HF_FILENAME to one of :IQ4_K_M, :Q8_0"
                .to_owned()
        )
    );
    assert_eq!(hub.bytes_served(), 0);
}

#[tokio::test]
async fn all_parts_of_a_split_model_are_fetched_and_the_second_run_costs_no_request() {
    for request in [part_name(1), ":Q8_0".to_owned()] {
        let (hub, folder) = hub_of(repository(set()), Vec::new()).await;
        let mut wanted = settings(&hub, &folder);
        wanted.choice = choice(&request);
        let entries = fetch_all(&wanted).await.unwrap();
        assert_eq!(files(&entries), [part_name(1), part_name(2), part_name(3)]);
        for file in &hub.repository().files {
            assert_eq!(
                std::fs::metadata(folder.path().join(&file.name))
                    .unwrap()
                    .len(),
                file.size
            );
        }
        let n_requests = hub.requests().len();
        assert_eq!(fetch_all(&wanted).await.unwrap(), entries);
        assert_eq!(hub.requests().len(), n_requests);
    }
}

#[tokio::test]
async fn no_part_of_a_split_model_is_published_before_all_are_verified() {
    let (hub, folder) = hub_of(repository(set()), Vec::new()).await;
    hub.always(On::Bytes, Fault::FlipByteAt(301_500));
    let mut wanted = settings(&hub, &folder);
    wanted.choice = choice(":Q8_0");
    let error = fetch_all(&wanted).await.unwrap_err();
    assert_eq!(
        error.exit_code(),
        65,
        "only the last part reaches that byte"
    );
    let published = names(&folder.path().join("Q8_0"));
    assert!(
        published.iter().all(|name| name.starts_with('.')),
        "{published:?}"
    );
    let served = hub.bytes_served();
    hub.behave();
    fetch_all(&wanted).await.unwrap();
    assert_eq!(
        hub.bytes_served() - served,
        302_000,
        "the right parts are kept and not fetched again"
    );
}

#[tokio::test]
async fn a_split_model_with_a_part_missing_or_misnumbered_is_refused_and_nothing_is_published() {
    let incomplete = set().into_iter().take(2).collect();
    let (hub, folder) = hub_of(repository(incomplete), Vec::new()).await;
    let mut wanted = settings(&hub, &folder);
    wanted.choice = choice(":Q8_0");
    let error = fetch_all(&wanted).await.unwrap_err();
    let expected = format!(
        "acme/tiny-GGUF lacks {} of the set of :Q8_0: an incomplete model is of no use, choose another",
        part_name(3)
    );
    assert_eq!((error.exit_code(), error.to_string()), (64, expected));
    assert_eq!(hub.bytes_served(), 0);

    let mut other = set();
    other[1] = part(&part_name(2), 2_000, 1, 4);
    let (hub, folder) = hub_of(repository(other), Vec::new()).await;
    let mut wanted = settings(&hub, &folder);
    wanted.choice = choice(":Q8_0");
    let error = fetch_all(&wanted).await.unwrap_err();
    assert_eq!(error.exit_code(), 65);
    assert!(
        error
            .to_string()
            .contains("by its name it is part 2 of 3, by its header part 2 of 4"),
        "{error}"
    );
    assert!(!folder.path().join(part_name(1)).exists());
}

#[tokio::test]
async fn one_file_that_is_by_its_header_a_part_of_a_set_is_refused() {
    let (hub, folder) = hub_of(repository(vec![part(Q4, 300_000, 0, 3)]), Vec::new()).await;
    let mut wanted = settings(&hub, &folder);
    wanted.choice = choice(Q4);
    let error = fetch_all(&wanted).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("by its name it is a model in one file, by its header part 1 of 3"),
        "{error}"
    );
}

#[tokio::test]
async fn the_projector_is_fetched_with_the_model_when_it_is_asked_for() {
    let all = [Q4, "mmproj-tiny-F32.gguf", "mmproj-tiny-F16.gguf"]
        .into_iter()
        .zip(1..)
        .map(|(name, n)| File::from_bytes(name, gguf::tiny(300_000 + n)))
        .collect();
    let (hub, folder) = hub_of(repository(all), Vec::new()).await;
    let mut wanted = settings(&hub, &folder);
    wanted.choice = choice(":Q4_K_M");
    fetch_all(&wanted).await.unwrap();
    assert_eq!(names(folder.path()), [Q4]);
    wanted.projector = true;
    let served = hub.bytes_served();
    assert_eq!(
        files(&fetch_all(&wanted).await.unwrap()),
        [Q4, "mmproj-tiny-F16.gguf"]
    );
    assert_eq!(names(folder.path()), ["mmproj-tiny-F16.gguf", Q4]);
    assert_eq!(
        hub.bytes_served() - served,
        300_003,
        "the model itself was there"
    );
}

#[tokio::test]
async fn a_projector_that_is_not_there_is_said_before_the_first_byte() {
    let (hub, folder) = hub_of(
        repository(vec![File::from_bytes(Q4, gguf::tiny(1_000))]),
        Vec::new(),
    )
    .await;
    let mut wanted = settings(&hub, &folder);
    (wanted.choice, wanted.projector) = (choice(Q4), true);
    let error = fetch_all(&wanted).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "acme/tiny-GGUF has no projector (mmproj) for images: unset HF_MMPROJ, or choose a repository that has one"
    );
    assert!(
        hub.requests()
            .iter()
            .all(|request| request.origin == Origin::Hub)
    );
}

#[tokio::test]
async fn one_pinned_digest_for_a_split_model_is_refused_before_the_first_byte() {
    let (hub, folder) = hub_of(repository(set()), Vec::new()).await;
    let mut wanted = settings(&hub, &folder);
    wanted.choice = choice(":Q8_0");
    wanted.pin = Some(hub.repository().files[0].sha256.parse().unwrap());
    let error = fetch_all(&wanted).await.unwrap_err();
    assert_eq!(
        (error.exit_code(), error.to_string()),
        (
            64,
            "MODEL_SHA256 is the digest of one file, and this model is split over several: unset it; models.lock holds \
             the digests of all parts"
                .to_owned()
        )
    );
    assert_eq!(hub.bytes_served(), 0);
}

#[tokio::test]
async fn a_split_model_goes_on_from_a_mirror_and_all_its_parts_are_published() {
    let (hub, folder) = hub_of(repository(set()), Vec::new()).await;
    let (mirror, _) = hub_of(repository(set()), Vec::new()).await;
    hub.next(
        On::Bytes,
        [Fault::BytesPerSecond(1 << 30), Fault::CutAfter(100_000)],
    );
    hub.next(On::Bytes, std::iter::repeat_n(Fault::status(503), 100));
    let mut wanted = settings(&hub, &folder);
    wanted.choice = choice(":Q8_0");
    wanted.mirrors = vec![mirror.endpoint().parse().unwrap()];
    assert_eq!(
        files(&fetch_all(&wanted).await.unwrap()),
        [part_name(1), part_name(2), part_name(3)]
    );
    assert_eq!(mirror.bytes_served(), 903_000 - 300_000 - 100_000);
}

#[tokio::test]
async fn the_name_behind_a_quantisation_is_said_because_llama_server_needs_it() {
    let (hub, folder) = hub_of(
        repository(vec![File::from_bytes(Q4, gguf::tiny(1_000))]),
        Vec::new(),
    )
    .await;
    for _first_and_second_run in 0..2 {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_model-fetcher"))
            .env_clear()
            .env("HF_ENDPOINT", hub.endpoint())
            .env("HF_REPO_ID", REPOSITORY)
            .env("HF_FILENAME", ":Q4_K_M")
            .env("MODELS_DIR", folder.path())
            .output()
            .await
            .unwrap();
        let log = String::from_utf8(output.stdout).unwrap();
        let said = format!(
            "tag :Q4_K_M is the file {Q4}: llama-server, and Compose, need HF_FILENAME={Q4}"
        );
        assert_eq!(
            (output.status.code(), log.matches(&said).count()),
            (Some(0), 1),
            "{log}"
        );
    }
}

#[tokio::test]
async fn a_name_in_any_script_is_fetched_and_then_costs_no_request() {
    let bytes = gguf::tiny(300_000);
    for (wanted, name) in [
        ("模型-Q4_0.gguf", "模型-Q4_0.gguf"),
        (":Q4_0", "модель-Q4_0.gguf"),
        ("モデル/🦙 100% #1.gguf", "モデル/🦙 100% #1.gguf"),
    ] {
        let (hub, folder) = hub_of(
            repository(vec![File::from_bytes(name, bytes.clone())]),
            Vec::new(),
        )
        .await;
        let mut settings = settings(&hub, &folder);
        settings.choice = choice(wanted);
        let entries = fetch_all(&settings).await.unwrap();
        assert_eq!(files(&entries), [name]);
        assert!(std::fs::read(folder.path().join(name)).unwrap() == bytes);
        let n_requests = hub.requests().len();
        assert_eq!(fetch_all(&settings).await.unwrap(), entries);
        assert_eq!(hub.requests().len(), n_requests);
    }
}

#[tokio::test]
async fn a_name_that_the_hub_has_decomposed_is_published_composed() {
    let bytes = gguf::tiny(300_000);
    let file = File::from_bytes("mode\u{300}le.gguf", bytes.clone());
    let (hub, folder) = hub_of(repository(vec![file]), Vec::new()).await;
    let mut settings = settings(&hub, &folder);
    settings.choice = choice("mod\u{e8}le.gguf");
    let entries = fetch_all(&settings).await.unwrap();
    assert_eq!(files(&entries), ["mod\u{e8}le.gguf"]);
    assert_eq!(names(folder.path()), ["mod\u{e8}le.gguf"]);
    // The lock remembers how the Hub spells it.
    std::fs::remove_file(folder.path().join("mod\u{e8}le.gguf")).unwrap();
    settings.locked = true;
    fetch_all(&settings).await.unwrap();
    // llama-server opens the name as it is set, so that it has to be the composed one.
    let problem = "mode\u{300}le.gguf".parse::<Choice>().unwrap_err();
    assert!(
        problem.contains("write it as mod\u{e8}le.gguf"),
        "{problem}"
    );
}
