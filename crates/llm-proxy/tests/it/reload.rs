//! Keys change while requests come: nobody notices but those whose key changed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde_json::Value;
use testkit::fake_llama::{FakeLlama, Script};
use tokio::process::Command;

use crate::keys::{KeysFile, lines};
use crate::{KEY, Proxy, envelope, last_error, question, until};

const RELOADED: &str = r#"llm_proxy_keys_reloads_total{outcome="ok"}"#;
const FAILED: &str = r#"llm_proxy_keys_reloads_total{outcome="failed"}"#;

/// Waits until `key` is answered with `status`.
async fn until_status(proxy: &Proxy, key: &str, status: u16) {
    until(&format!("{key} to be {status}"), async || {
        proxy.models_as(key).await.0 == status
    })
    .await;
}

/// A key that stays, and one of the number `n`.
fn numbered(n: usize) -> String {
    lines("app", "a", "") + &lines(&format!("key-{n}"), &n.to_string(), "")
}

#[tokio::test]
async fn twenty_reloads_under_load_fail_no_request() {
    let file = KeysFile::of(&numbered(0));
    let llama = FakeLlama::start().await;
    llama.set_slots(16);
    let proxy = Proxy::keyed(&llama, &file).await;
    let over = AtomicBool::new(false);
    let n_requests = AtomicUsize::new(0);
    let load = join_all((0..8).map(async |caller| {
        while !over.load(Ordering::Relaxed) {
            let chat = proxy
                .ask_as(if caller % 2 == 0 { "a" } else { KEY }, &question(true))
                .await;
            let status = chat.status().as_u16();
            let answer = chat.text().await.unwrap();
            assert!(
                status == 200 && answer.contains("[DONE]"),
                "{status} {answer}"
            );
            assert_eq!(proxy.models_as("a").await.0, 200);
            n_requests.fetch_add(2, Ordering::Relaxed);
        }
    }));
    let reloads = async {
        for n in 1..=20 {
            file.write(&numbered(n));
            proxy.until_metric(&format!("{RELOADED} {n}")).await;
            assert_eq!(proxy.models_as(&n.to_string()).await.0, 200);
            assert_eq!(proxy.models_as(&(n - 1).to_string()).await.0, 401);
        }
        file.write("[[key]]\nname = ");
        proxy.until_metric(&format!("{FAILED} 1")).await;
        assert_eq!(proxy.models_as("20").await.0, 200);
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, reloads);
    assert!(n_requests.into_inner() > 100);
}

/// What `/status` says of the keys file.
async fn refused(proxy: &Proxy) -> Value {
    let url = format!("http://{}/status", proxy.admin);
    let status: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    status["keys_file_refused"].clone()
}

#[tokio::test]
async fn a_broken_file_keeps_the_old_keys_and_status_and_metrics_say_so() {
    let file = KeysFile::of(&lines("app", "a", ""));
    let llama = FakeLlama::start().await;
    let proxy = Proxy::keyed(&llama, &file).await;
    assert_eq!(refused(&proxy).await, Value::Null);
    let missing = "line 1: this key has no `sha256`; `llm-proxy keys new` prints both";
    let twice =
        "the key \"default\" has the name or the digest of LLM_API_KEY: keep it in one place";
    for (n, (broken, said)) in [
        (
            "no toml",
            "line 1: not TOML: key with no value, expected `=`",
        ),
        ("[[key]]\nname = \"app\"", missing),
        (&lines("default", "x", ""), twice),
    ]
    .into_iter()
    .enumerate()
    {
        file.write(broken);
        proxy.until_metric(&format!("{FAILED} {}", n + 1)).await;
        proxy.until_metric("llm_proxy_keys_file_refused 1").await;
        assert_eq!(refused(&proxy).await, said);
        assert_eq!(proxy.models_as("a").await.0, 200);
    }
    file.write(&lines("app", "b", ""));
    until_status(&proxy, "b", 200).await;
    assert_eq!(proxy.models_as("a").await.0, 401);
    proxy.until_metric("llm_proxy_keys_file_refused 0").await;
    assert_eq!(refused(&proxy).await, Value::Null);
    assert!(proxy.metrics().await.contains(&format!("{FAILED} 3\n")));
}

/// A way in which a file cannot be read; the path of the file, and what is then said of it.
type Unreadable = (fn(&Path), &'static str);

#[tokio::test]
async fn a_file_that_cannot_be_read_keeps_the_old_keys() {
    const WAYS: [Unreadable; 4] = [
        (a_folder_in_its_place, "is not a file"),
        (a_link_to_nowhere, "No such file or directory"),
        (a_link_to_itself, "Too many levels of symbolic links"),
        (no_folder, "No such file or directory"),
    ];
    let llama = FakeLlama::start().await;
    for (break_it, said) in WAYS {
        let file = KeysFile::of(&lines("app", "a", ""));
        let proxy = Proxy::keyed(&llama, &file).await;
        break_it(&file.path());
        proxy.until_metric(&format!("{FAILED} 1")).await;
        let problem = refused(&proxy).await;
        assert!(problem.as_str().unwrap().contains(said), "{problem}");
        assert_eq!(proxy.models_as("a").await.0, 200, "{said}");
    }
}

fn a_folder_in_its_place(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

fn a_link_to_nowhere(path: &Path) {
    fs::remove_file(path).unwrap();
    symlink("nowhere", path).unwrap();
}

fn a_link_to_itself(path: &Path) {
    fs::remove_file(path).unwrap();
    symlink(path, path).unwrap();
}

fn no_folder(path: &Path) {
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_file_without_read_permission_keeps_the_old_keys() {
    let file = KeysFile::of(&lines("app", "a", ""));
    let llama = FakeLlama::start().await;
    let proxy = Proxy::keyed(&llama, &file).await;
    file.write("no toml");
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o000)).unwrap();
    proxy.until_metric(&format!("{FAILED} 1")).await;
    // Root may read everything, and finds that this is no TOML.
    let said = match fs::read(file.path()) {
        Ok(_) => "not TOML",
        Err(_) => "Permission denied",
    };
    until(said, async || {
        refused(&proxy).await.to_string().contains(said)
    })
    .await;
    assert_eq!(proxy.models_as("a").await.0, 200);
}

#[tokio::test]
async fn a_mount_that_went_away_keeps_the_old_keys() {
    let llama = FakeLlama::start().await;
    let mounted = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(mounted.path().join("keys.toml"), lines("app", "a", "")).unwrap();
    // A link to a folder of another file system stands for its mount point.
    let place = tempfile::tempdir().unwrap();
    let empty = place.path().join("empty");
    let next = place.path().join("next");
    let mount = place.path().join("mount");
    fs::create_dir(&empty).unwrap();
    symlink(mounted.path(), &mount).unwrap();
    let proxy = Proxy::with(&llama, |config| {
        config.keys_file = Some(mount.join("keys.toml"));
        config.keys_poll = Duration::from_millis(5);
    })
    .await;
    symlink(&empty, &next).unwrap();
    fs::rename(&next, &mount).unwrap();
    proxy.until_metric(&format!("{FAILED} 1")).await;
    let problem = refused(&proxy).await.to_string();
    assert!(
        problem.contains("its folder is on another file system than before"),
        "{problem}"
    );
    assert_eq!(proxy.models_as("a").await.0, 200);

    // On the file system it is on, the file was removed.
    symlink(mounted.path(), &next).unwrap();
    fs::rename(&next, &mount).unwrap();
    proxy.until_metric("llm_proxy_keys_file_refused 0").await;
    fs::remove_file(mounted.path().join("keys.toml")).unwrap();
    until_status(&proxy, "a", 401).await;
    assert_eq!(refused(&proxy).await, Value::Null);
}

/// A way to take the only key out of the file at this path.
type Revocation = fn(&KeysFile);

#[tokio::test]
async fn the_only_key_is_401_within_a_second_however_it_is_taken_out() {
    const WAYS: [(&str, Revocation); 4] = [
        ("emptied", |file| file.write("")),
        ("emptied in place", |file| {
            fs::write(file.path(), "").unwrap();
        }),
        ("only comments", |file| file.write("# nobody\n")),
        ("removed", |file| fs::remove_file(file.path()).unwrap()),
    ];
    let llama = FakeLlama::start().await;
    for (way, revoke) in WAYS {
        let file = KeysFile::of(&lines("app", "a", ""));
        // As often as in production.
        let proxy = Proxy::with(&llama, |config| config.keys_file = Some(file.path())).await;
        let mut fastest = Duration::MAX;
        // A busy machine can only make it longer: one attempt in so many must be on time.
        for _ in 0..6 {
            let began = Instant::now();
            revoke(&file);
            until_status(&proxy, "a", 401).await;
            fastest = fastest.min(began.elapsed());
            if fastest < Duration::from_secs(1) {
                break;
            }
            file.write(&lines("app", "a", ""));
            until_status(&proxy, "a", 200).await;
        }
        assert!(fastest < Duration::from_secs(1), "{way}: {fastest:?}");
        assert_eq!(proxy.models_as(KEY).await.0, 200, "{way}");
        assert_eq!(refused(&proxy).await, Value::Null, "{way}");
    }
}

#[tokio::test]
async fn under_200_requests_a_second_a_key_taken_out_is_401_after_a_second() {
    let file = KeysFile::of(&lines("app", "a", ""));
    let llama = FakeLlama::start().await;
    llama.set_slots(64);
    let proxy = Proxy::with(&llama, |config| {
        config.keys_file = Some(file.path());
        config.queue_requests = 1000;
    })
    .await;
    let mut n_late = usize::MAX;
    // A busy machine can only make it longer: one attempt in so many must be on time.
    for _ in 0..3 {
        n_late = late_answers(&proxy, &file).await;
        if n_late == 0 {
            break;
        }
        file.write(&lines("app", "a", ""));
        until_status(&proxy, "a", 200).await;
    }
    assert_eq!(n_late, 0);
}

/// Asks 200 times a second for two seconds and takes the key out meanwhile. Returns how many requests were still served
/// that began a second after it.
async fn late_answers(proxy: &Proxy, file: &KeysFile) -> usize {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let mut running = FuturesUnordered::new();
    let mut answers = Vec::new();
    let mut taken_out_at = None;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        tokio::select! {
            _ = ticks.tick() => running.push(ask_now(proxy)),
            Some(answer) = running.next() => answers.push(answer),
        }
        if taken_out_at.is_none() && began.elapsed() > Duration::from_millis(500) {
            file.write("");
            taken_out_at = Some(Instant::now());
        }
    }
    answers.extend(running.collect::<Vec<_>>().await);
    let late = taken_out_at.unwrap() + Duration::from_secs(1);
    let served: Vec<Instant> = answers
        .iter()
        .filter(|(_, status)| *status == 200)
        .map(|(asked_at, _)| *asked_at)
        .collect();
    let n_refused = answers.iter().filter(|(_, status)| *status == 401).count();
    assert_eq!(served.len() + n_refused, answers.len(), "{answers:?}");
    assert!(served.len() > 20 && n_refused > 100, "{answers:?}");
    served.iter().filter(|asked_at| **asked_at >= late).count()
}

/// When a request began, and the status it was answered with.
async fn ask_now(proxy: &Proxy) -> (Instant, u16) {
    let began = Instant::now();
    let answer = proxy.ask_as("a", &question(false)).await;
    (began, answer.status().as_u16())
}

#[tokio::test]
async fn an_answer_under_way_ends_well_and_a_waiting_request_gets_no_slot() {
    let both = lines("app", "a", "") + &lines("other", "b", "");
    let file = KeysFile::of(&both);
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    llama.script_once(Script::tokens(["x", "y"]).stall_after(1));
    let proxy = Proxy::keyed(&llama, &file).await;
    let running = proxy.ask_as("a", &question(true)).await;
    let waiting = async { whole(proxy.ask_as("a", &question(true)).await).await };
    let told = async {
        let url = format!("http://{}/v1/chat/completions", proxy.address);
        let request = proxy.http.post(url).json(&question(true)).bearer_auth("a");
        whole(request.header("x-queue-events", "1").send().await.unwrap()).await
    };
    let another = async { whole(proxy.ask_as("b", &question(true)).await).await };
    let revoking = async {
        proxy.until_metric("llm_proxy_queue_depth 3").await;
        file.write(&lines("other", "b", ""));
        until_status(&proxy, "a", 401).await;
        llama.release();
        whole(running).await
    };
    let (waiting, told, another, running) = tokio::join!(waiting, told, another, revoking);
    assert!(running.1.ends_with("[DONE]\n\n"), "{running:?}");
    assert!(another.1.ends_with("[DONE]\n\n"), "{another:?}");
    let message = "the API key is missing or wrong: send `Authorization: Bearer KEY`";
    let refusal = envelope(
        "llm-proxy",
        "authentication_error",
        "invalid_api_key",
        message,
    );
    let (status, body) = waiting;
    assert_eq!(status, 401);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), refusal);
    // A caller that is told its place has its header already.
    assert_eq!(told.0, 200);
    assert_eq!(last_error(&told.1)["error"], refusal["error"]);
    assert_eq!(llama.requests().len(), 2);
}

/// The status and the text of an answer.
async fn whole(response: reqwest::Response) -> (u16, String) {
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_file_that_is_written_in_place_or_behind_a_link_is_noticed_too() {
    let file = KeysFile::of(&lines("app", "a", ""));
    let llama = FakeLlama::start().await;
    let folder = file.path().parent().unwrap().to_owned();
    // As Kubernetes mounts a secret: a link to a file in a folder that is a link itself and is swapped whole.
    for (version, key) in [("1", "v1"), ("2", "v2")] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(
            folder.join(version).join("keys.toml"),
            lines("app", key, ""),
        )
        .unwrap();
    }
    symlink("1", folder.join("data")).unwrap();
    let link = folder.join("link.toml");
    symlink("data/keys.toml", &link).unwrap();
    let proxy = Proxy::with(&llama, |config| {
        config.keys_file = Some(link);
        config.keys_poll = Duration::from_millis(5);
    })
    .await;
    assert_eq!(proxy.models_as("v1").await.0, 200);
    symlink("2", folder.join("next")).unwrap();
    fs::rename(folder.join("next"), folder.join("data")).unwrap();
    until_status(&proxy, "v2", 200).await;
    assert_eq!(proxy.models_as("v1").await.0, 401);

    fs::write(folder.join("2/keys.toml"), lines("app", "v3", "")).unwrap();
    until_status(&proxy, "v3", 200).await;
    assert_eq!(proxy.models_as("v2").await.0, 401);
}

#[tokio::test]
async fn a_hangup_reads_the_file_at_once() {
    let file = KeysFile::of(&lines("app", "a", ""));
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.keys_file = Some(file.path());
        config.keys_poll = Duration::from_secs(3600);
    })
    .await;
    file.write(&lines("app", "b", ""));
    assert_eq!(proxy.models_as("b").await.0, 401);
    let myself = std::process::id().to_string();
    assert!(
        Command::new("kill")
            .args(["-HUP", &myself])
            .status()
            .await
            .unwrap()
            .success()
    );
    until_status(&proxy, "b", 200).await;
    assert_eq!(proxy.models_as("a").await.0, 401);
}
