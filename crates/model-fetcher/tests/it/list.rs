//! `model-fetcher list`: what there is to choose from, as text and as JSON.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::fake_hub::{FakeHub, File, Repository};
use testkit::gguf;
use tokio::process::Command;

use crate::support::{COMMIT, REPOSITORY, hub_of, repository};

const NAMES: [(&str, usize); 6] = [
    ("tiny-Q8_0-00001-of-00002.gguf", 600_000),
    ("tiny-Q8_0-00002-of-00002.gguf", 500_000),
    ("tiny-IQ4_K_M.gguf", 310_000),
    ("tiny-Q4_K_M.gguf", 300_000),
    ("mmproj-tiny-F16.gguf", 200_000),
    ("README.md", 1_000),
];

fn files() -> Vec<File> {
    NAMES
        .iter()
        .map(|(name, n_bytes)| File::from_bytes(name, gguf::tiny(*n_bytes)))
        .collect()
}

async fn list(hub: &FakeHub, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_model-fetcher"))
        .env_clear()
        .env("HF_ENDPOINT", hub.endpoint())
        .arg("list")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn models_are_listed_with_sizes_smallest_first_and_projectors_apart() {
    let (hub, _) = hub_of(repository(files()), Vec::new()).await;
    let (code, out, err) = list(&hub, &[REPOSITORY]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "acme/tiny-GGUF@main (ab810cf6), open to everyone");
    assert!(lines[1].starts_with("this machine has "), "{out}");
    assert_eq!(
        lines[2..],
        [
            "      0.3 MB  :Q4_K_M       fits           tiny-Q4_K_M.gguf",
            "      0.3 MB  :IQ4_K_M      fits           tiny-IQ4_K_M.gguf",
            "      1.1 MB  :Q8_0         fits           tiny-Q8_0-00001-of-00002.gguf  2 files",
            "      0.2 MB  :F16          projector      mmproj-tiny-F16.gguf",
        ]
    );
    assert_eq!(hub.bytes_served(), 0);
}

#[tokio::test]
async fn one_quantisation_is_listed_as_json_for_machines() {
    let (hub, _) = hub_of(
        Repository {
            gated: true,
            ..repository(files())
        },
        Vec::new(),
    )
    .await;
    let (code, out, _) = list(&hub, &["acme/tiny-GGUF:q4_k_m", "--json"]).await;
    assert_eq!(code, Some(0));
    let mut listing: Value = serde_json::from_str(&out).unwrap();
    assert!(listing["memory"].take().as_u64().unwrap() > 0);
    let offer = |file: &str, quantisation: &str, size: u64| json!({"file": file, "quantisation": quantisation, "n_files": 1, "size": size, "fits": true});
    assert_eq!(
        listing,
        json!({
            "repository": REPOSITORY,
            "revision": "main",
            "commit": COMMIT,
            "gated": true,
            "memory": null,
            "models": [offer("tiny-Q4_K_M.gguf", "Q4_K_M", 300_000)],
            "projectors": [offer("mmproj-tiny-F16.gguf", "F16", 200_000)],
        })
    );
}

#[tokio::test]
async fn what_is_not_there_is_answered_with_what_is_and_an_exit_code() {
    let (hub, _) = hub_of(repository(files()), Vec::new()).await;
    let expected = "model-fetcher: acme/tiny-GGUF has no model with the tag :Q2_K: set HF_FILENAME to one of :IQ4_K_M, \
                    :Q4_K_M, :Q8_0\n";
    assert_eq!(
        list(&hub, &["acme/tiny-GGUF:Q2_K"]).await,
        (Some(64), String::new(), expected.to_owned())
    );
    let (code, _, err) = list(&hub, &["acme/tinny-GGUF"]).await;
    assert_eq!(code, Some(64), "{err}");
    let (code, _, err) = list(&hub, &["../x"]).await;
    assert_eq!(code, Some(64));
    assert!(
        err.contains("REPO is not usable: it must be owner/name"),
        "{err}"
    );
}

#[tokio::test]
async fn a_repository_of_thousands_of_claimed_sets_is_listed_in_seconds() {
    let files = (1..=3000).flat_map(|n| {
        let names = [
            format!("m-{n:05}-of-99999.gguf"),
            format!("m{n}-Q8_0-00001-of-01000.gguf"),
        ];
        names.map(|name| File::from_bytes(&name, b"GGUF".to_vec()))
    });
    let (hub, _) = hub_of(repository(files.collect()), Vec::new()).await;
    let arguments = [REPOSITORY, "--json"];
    let listed = list(&hub, &arguments);
    let (code, out, err) = tokio::time::timeout(Duration::from_secs(20), listed)
        .await
        .unwrap();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let listing: Value = serde_json::from_str(&out).unwrap();
    let models = listing["models"].as_array().unwrap();
    assert_eq!(models.len(), 6000);
}
