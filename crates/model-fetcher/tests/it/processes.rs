//! The binary as it is shipped: stopped by a signal, one of two, started without settings.

use std::process::Output;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use testkit::fake_hub::{Fault, On};
use testkit::gguf;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::{BINARY, FILE, command, hub_with, names, ranges, signal, text};

#[tokio::test]
async fn a_signal_stops_it_within_two_seconds_and_the_part_is_kept() {
    for n in 0..20 {
        let (how, code) = if n % 2 == 0 {
            (Signal::TERM, 143)
        } else {
            (Signal::INT, 130)
        };
        let (hub, folder) = hub_with(&gguf::tiny(8 << 20)).await;
        hub.always(On::Bytes, Fault::BytesPerSecond(20 << 20));
        let child = command(&hub, folder.path()).spawn().unwrap();
        hub.until_served((2 << 20) + n * 200_000).await;
        let began = Instant::now();
        signal(&child, how);
        let output = child.wait_with_output().await.unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(
            text(&output.stderr),
            "model-fetcher: stopped by a signal; what was fetched is kept, the next run goes on from there\n"
        );
        let sha256 = &hub.repository().files[0].sha256;
        assert_eq!(
            names(folder.path()),
            [format!(".{sha256}.journal"), format!(".{sha256}.part")]
        );
        let n_requests = ranges(&hub).len();
        hub.behave();
        let Output { status, .. } = command(&hub, folder.path()).output().await.unwrap();
        assert_eq!(status.code(), Some(0));
        assert!(
            !ranges(&hub)[n_requests].starts_with("bytes=0-"),
            "{:?}",
            ranges(&hub)
        );
    }
}

#[tokio::test]
async fn the_second_of_two_processes_waits_and_goes_on_where_the_first_was_killed() {
    let bytes = gguf::tiny(24 << 20);
    let (hub, folder) = hub_with(&bytes).await;
    hub.always(On::Bytes, Fault::BytesPerSecond(20 << 20));
    let mut first = command(&hub, folder.path()).spawn().unwrap();
    hub.until_served(12 << 20).await;
    let mut second = command(&hub, folder.path()).spawn().unwrap();
    let mut lines = BufReader::new(second.stdout.take().unwrap()).lines();
    let waiting = lines.next_line().await.unwrap().unwrap();
    let holder = format!("process {} on ", first.id().unwrap());
    assert!(
        waiting.contains("another process works on the folder; waiting for it"),
        "{waiting}"
    );
    assert!(waiting.contains(&holder), "{waiting}");
    first.kill().await.unwrap();
    let n_requests = ranges(&hub).len();
    hub.behave();
    while lines.next_line().await.unwrap().is_some() {}
    assert_eq!(second.wait().await.unwrap().code(), Some(0));
    assert!(std::fs::read(folder.path().join(FILE)).unwrap() == bytes);
    assert!(
        !ranges(&hub)[n_requests].starts_with("bytes=0-"),
        "{:?}",
        ranges(&hub)
    );
}

#[tokio::test]
async fn a_second_run_says_one_line_and_takes_milliseconds() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    command(&hub, folder.path()).output().await.unwrap();
    let n_requests = hub.requests().len();
    let began = Instant::now();
    let output = command(&hub, folder.path()).output().await.unwrap();
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        (output.status.code(), text(&output.stderr).as_str()),
        (Some(0), "")
    );
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert!(
        text(&output.stdout).contains("the model is in place; nothing to do"),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(hub.requests().len(), n_requests);
}

#[tokio::test]
async fn bad_settings_are_refused_all_at_once_before_anything_is_asked() {
    let output = Command::new(BINARY)
        .env_clear()
        .env("HF_FILENAME", "../../etc/passwd.gguf")
        .env("HF_ENDPOINT", "ftp://x")
        .env("MODEL_SHA265", "x")
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(
        text(&output.stderr),
        "model-fetcher: the settings are not usable:\n  \
         MODEL_SHA265 is not a setting; did you mean MODEL_SHA256?\n  \
         HF_REPO_ID is not set: name the repository, as in ggml-org/gemma-3-4b-it-GGUF\n  \
         HF_FILENAME is not usable: it must be a plain file name or a path within the repository: no .., no leading / or \
         dot, no backslash, no control or invisible characters, at most 200 bytes between two / and 500 in all\n  \
         HF_ENDPOINT is not usable: it must be a URL without user, query or fragment, as in https://huggingface.co\n"
    );
}

#[tokio::test]
async fn with_json_every_line_is_an_object_and_progress_is_told_in_numbers() {
    let (hub, folder) = hub_with(&gguf::tiny(3_000_000)).await;
    hub.always(On::Bytes, Fault::BytesPerSecond(450_000));
    let output = command(&hub, folder.path())
        .arg("--json")
        .output()
        .await
        .unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
    let lines: Vec<serde_json::Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut said: Vec<_> = lines
        .iter()
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    said.dedup();
    assert_eq!(said, ["resolved", "fetching", "fetched and verified"]);
    let number = |name: &str| lines[1][name].as_u64().unwrap();
    assert_eq!(number("total_bytes"), 3_000_000);
    assert!(
        (1..3_000_000).contains(&number("done_bytes")),
        "{:?}",
        lines[1]
    );
    assert!(
        (1..600_000).contains(&number("bytes_per_second")),
        "{:?}",
        lines[1]
    );
    assert_eq!(
        lines[lines.len() - 1]["path"],
        folder.path().join(FILE).display().to_string()
    );
}
