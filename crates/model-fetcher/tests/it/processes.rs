//! The binary as it is shipped: killed at any moment, stopped by a signal, started without settings.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::fake_hub::{FakeHub, Fault, On};
use testkit::gguf;
use tokio::process::{Child, Command};

use crate::support::{FILE, REPOSITORY, hub_with, names, ranges};

const BINARY: &str = env!("CARGO_BIN_EXE_model-fetcher");
const KILLS: u64 = 20;

fn command(hub: &FakeHub, folder: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command
        .env_clear()
        .env("HF_ENDPOINT", hub.endpoint())
        .env("HF_REPO_ID", REPOSITORY)
        .env("HF_FILENAME", FILE)
        .env("MODELS_DIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn killed_at_any_moment_it_never_leaves_a_wrong_file_and_goes_on_where_it_was() {
    let bytes = gguf::tiny(80 << 20);
    let (hub, folder) = hub_with(&bytes).await;
    hub.always(On::Bytes, Fault::BytesPerSecond(100 << 20));
    let path = folder.path().join(FILE);
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for _ in 0..KILLS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let moment = Duration::from_millis((state >> 33) % 300);
        let mut child = command(&hub, folder.path()).spawn().unwrap();
        if tokio::time::timeout(moment, child.wait()).await.is_err() {
            child.kill().await.unwrap();
        }
        assert!(!path.exists() || std::fs::read(&path).unwrap() == bytes, "a wrong file after {moment:?}");
    }
    let output = command(&hub, folder.path()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert_eq!(names(folder.path()), [FILE]);
}

#[tokio::test]
async fn a_killed_run_loses_at_most_one_checkpoint_of_a_stream() {
    let (hub, folder) = hub_with(&gguf::tiny(40 << 20)).await;
    hub.always(On::Bytes, Fault::BytesPerSecond(40 << 20));
    let mut child = command(&hub, folder.path()).spawn().unwrap();
    hub.until_served(30 << 20).await;
    child.kill().await.unwrap();
    let n_requests = ranges(&hub).len();
    hub.behave();
    let output = command(&hub, folder.path()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let resumed = &ranges(&hub)[n_requests];
    let start: u64 = resumed.strip_prefix("bytes=").unwrap().split_once('-').unwrap().0.parse().unwrap();
    let on_the_way = 4 << 20;
    assert!(start + (8 << 20) + on_the_way >= 30 << 20, "resumed with {resumed}");
}

#[tokio::test]
async fn a_signal_stops_it_within_two_seconds_and_the_part_is_kept() {
    for (how, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (hub, folder) = hub_with(&gguf::tiny(20 << 20)).await;
        hub.always(On::Bytes, Fault::BytesPerSecond(10 << 20));
        let child = command(&hub, folder.path()).spawn().unwrap();
        hub.until_served(5 << 20).await;
        let began = Instant::now();
        signal(&child, how);
        let output = child.wait_with_output().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(
            text(&output.stderr),
            "model-fetcher: stopped by a signal; what was fetched is kept, the next run goes on from there\n"
        );
        let sha256 = &hub.repository().files[0].sha256;
        assert_eq!(names(folder.path()), [format!(".{sha256}.journal"), format!(".{sha256}.part")]);
        let n_requests = ranges(&hub).len();
        hub.behave();
        let Output { status, .. } = command(&hub, folder.path()).output().await.unwrap();
        assert_eq!(status.code(), Some(0));
        assert!(!ranges(&hub)[n_requests].starts_with("bytes=0-"), "{:?}", ranges(&hub));
    }
}

#[tokio::test]
async fn a_second_run_says_one_line_and_takes_milliseconds() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    command(&hub, folder.path()).output().await.unwrap();
    let n_requests = hub.requests().len();
    let began = Instant::now();
    let output = command(&hub, folder.path()).output().await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
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
         MODEL_SHA265 is not a setting; the ones with MODEL_SHA are MODEL_SHA256\n  \
         HF_REPO_ID is not set: name the repository, as in ggml-org/gemma-3-4b-it-GGUF\n  \
         HF_FILENAME is not usable: it must be a plain file name or a path within the repository: no .., no leading / or \
         dot, no backslash, ASCII only\n  \
         HF_ENDPOINT is not usable: it must be a URL without user, query or fragment, as in https://huggingface.co\n"
    );
}

#[tokio::test]
async fn the_token_is_in_no_output_whatever_the_level() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let token = folder.path().join("token");
    std::fs::write(&token, "hf_secret_of_the_test\n").unwrap();
    let output = command(&hub, folder.path())
        .env("HF_TOKEN_FILE", &token)
        .env("LOG_LEVEL", "trace")
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(77));
    let all = text(&output.stdout) + &text(&output.stderr);
    assert!(!all.contains("hf_secret_of_the_test"), "{all}");
}

#[tokio::test]
async fn a_home_with_someone_elses_token_is_not_looked_into() {
    let (hub, folder) = hub_with(&gguf::tiny(300_000)).await;
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("token"), "hf_of_another_program").unwrap();
    let output = command(&hub, folder.path()).env("HF_HOME", home.path()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(hub.requests().iter().all(|request| !request.authorization));
}
