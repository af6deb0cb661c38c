//! A model that does not fit in memory is said so, with numbers, and is fetched all the same.

use std::process::Stdio;

use testkit::fake_hub::File;
use testkit::gguf;
use tokio::process::Command;

use crate::support::{FILE, REPOSITORY, hub_of, repository};

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
    let files = vec![File::from_bytes(FILE, gguf::with_numbers(3_000_000, numbers))];
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
