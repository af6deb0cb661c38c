//! A model that does not fit in memory is said so, with numbers, and is fetched all the same; fetching takes little.

use std::process::Stdio;
use std::time::Duration;

use fake_cas::FakeCas;
use testkit::fake_hub::File;
use testkit::gguf;
use tokio::process::Command;

use crate::support::{FILE, REPOSITORY, command, hub_of, repository};

/// A model whose context takes 2 TB, because it was made for 16 million tokens.
const HUGE: &[(&str, u32)] = &[
    ("llama.context_length", 16_000_000),
    ("llama.block_count", 32),
    ("llama.embedding_length", 4096),
    ("llama.attention.head_count", 32),
    ("llama.attention.head_count_kv", 8),
];

/// What is logged when a model with these numbers is fetched.
async fn log(numbers: &[(&str, u32)], context: &str) -> String {
    let files = vec![File::from_bytes(
        FILE,
        gguf::with_numbers(3_000_000, numbers),
    )];
    let (hub, folder) = hub_of(repository(files), Vec::new()).await;
    let output = Command::new(env!("CARGO_BIN_EXE_model-fetcher"))
        .env_clear()
        .env("HF_ENDPOINT", hub.endpoint())
        .env("HF_REPO_ID", REPOSITORY)
        .env("HF_FILENAME", FILE)
        .env("MODELS_DIR", folder.path())
        .env("LLAMA_CTX_SIZE", context)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "it never fails on it");
    assert!(folder.path().join(FILE).exists());
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_context_that_does_not_fit_is_warned_of_with_numbers() {
    let log = log(HUGE, "").await;
    let expected = "the model needs about 2097155.0 MB of memory, 3.0 MB for its weights and 2097152.0 MB for a context of \
                    16000000 tokens, and there are ";
    assert_eq!(log.matches(expected).count(), 1, "{log}");
}

#[tokio::test]
async fn the_context_that_llama_server_is_given_counts() {
    let log = log(HUGE, "64").await;
    assert!(!log.contains("of memory"), "{log}");
}

#[tokio::test]
async fn a_model_that_fits_or_says_nothing_of_itself_is_not_warned_of() {
    let log = log(&[], "8192").await;
    assert!(!log.contains("of memory"), "{log}");
}

/// The most memory, in KiB, that `fetcher` has had when it has ended well.
async fn peak_of(mut fetcher: Command) -> u64 {
    let mut child = fetcher.stdout(Stdio::null()).spawn().unwrap();
    let id = child.id().unwrap();
    let mut peak = 0;
    let status = loop {
        if let Ok(status) = tokio::time::timeout(Duration::from_millis(10), child.wait()).await {
            break status.unwrap();
        }
        peak = peak_kib(id).map_or(peak, |now| now.max(peak));
    };
    assert_eq!(status.code(), Some(0));
    peak
}

/// The most memory that the process has had, in KiB, as long as it lives.
fn peak_kib(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[tokio::test]
async fn a_model_of_any_size_is_fetched_with_at_most_32_mib() {
    let files = vec![File::from_bytes(FILE, gguf::tiny(200 << 20))];
    let (hub, folder) = hub_of(repository(files), Vec::new()).await;
    let peak = peak_of(command(&hub, folder.path())).await;
    // The pages of a debug build itself are so many more than those of a release build.
    let debug = if cfg!(debug_assertions) { 8 << 10 } else { 0 };
    assert!((1..=(32 << 10) + debug).contains(&peak), "{peak} KiB");
}

#[tokio::test]
async fn over_xet_a_model_of_any_size_is_fetched_with_at_most_64_mib() {
    let bytes = gguf::tiny(96 << 20);
    let cas = FakeCas::with_files(vec![bytes.clone()]).unwrap();
    let files = vec![File::from_bytes(FILE, bytes)];
    let (hub, folder) = hub_of(repository(files), Vec::new()).await;
    hub.attach_xet(cas.storage()).await.unwrap();
    let mut fetcher = command(&hub, folder.path());
    fetcher.env("MODEL_TRANSPORT", "xet");
    let peak = peak_of(fetcher).await;
    assert!(
        hub.xorb_bytes_served() >= 96 << 20,
        "all of it came over Xet"
    );
    assert!((1..=64 << 10).contains(&peak), "{peak} KiB");
}
