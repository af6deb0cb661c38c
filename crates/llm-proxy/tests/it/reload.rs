//! Keys change while requests come: nobody notices but those whose key changed.

use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use testkit::fake_llama::FakeLlama;
use tokio::process::Command;

use crate::keys::{KeysFile, lines};
use crate::{KEY, Proxy, question, until};

const RELOADED: &str = r#"llm_proxy_keys_reloads_total{outcome="ok"}"#;
const FAILED: &str = r#"llm_proxy_keys_reloads_total{outcome="failed"}"#;

/// Waits until `key` is answered with `status`.
async fn until_status(proxy: &Proxy, key: &str, status: u16) {
    until(&format!("{key} to be {status}"), async || {
        proxy.models_as(key).await.0 == status
    })
    .await;
}

#[tokio::test]
async fn twenty_reloads_under_load_fail_no_request() {
    let text = |n: usize| lines("app", "a", "") + &lines(&format!("key-{n}"), &n.to_string(), "");
    let (file, llama) = (KeysFile::of(&text(0)), FakeLlama::start().await);
    llama.set_slots(16);
    let proxy = Proxy::keyed(&llama, &file).await;
    let (over, n_requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = join_all((0..8).map(async |caller| {
        while !over.load(Ordering::Relaxed) {
            let chat = proxy
                .ask_as(if caller % 2 == 0 { "a" } else { KEY }, &question(true))
                .await;
            let (status, answer) = (chat.status().as_u16(), chat.text().await.unwrap());
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
            file.write(&text(n));
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

#[tokio::test]
async fn a_broken_file_keeps_the_old_keys_is_counted_once_and_a_good_one_makes_up_for_it() {
    let (file, llama) = (
        KeysFile::of(&lines("app", "a", "")),
        FakeLlama::start().await,
    );
    let proxy = Proxy::keyed(&llama, &file).await;
    for (n, broken) in [
        "",
        "no toml",
        "[[key]]\nname = \"app\"",
        &lines("default", "x", ""),
    ]
    .into_iter()
    .enumerate()
    {
        file.write(broken);
        proxy.until_metric(&format!("{FAILED} {}", n + 1)).await;
        proxy.until_metric("llm_proxy_keys_file_refused 1").await;
        assert_eq!(proxy.models_as("a").await.0, 200);
    }
    std::fs::remove_file(file.path()).unwrap();
    proxy.until_metric(&format!("{FAILED} 5")).await;
    std::fs::create_dir(file.path()).unwrap();
    proxy.until_metric(&format!("{FAILED} 6")).await;
    std::fs::remove_dir(file.path()).unwrap();
    assert_eq!(proxy.models_as("a").await.0, 200);

    file.write(&lines("app", "b", ""));
    until_status(&proxy, "b", 200).await;
    assert_eq!(proxy.models_as("a").await.0, 401);
    proxy.until_metric("llm_proxy_keys_file_refused 0").await;
    assert!(
        !proxy.metrics().await.contains(&format!("{FAILED} 8")),
        "a file that stays broken is told once"
    );
}

#[tokio::test]
async fn a_key_that_was_taken_out_is_401_within_a_second_and_its_answer_under_way_goes_on() {
    let both = lines("app", "a", "") + &lines("other", "b", "");
    let (file, llama) = (KeysFile::of(&both), FakeLlama::start().await);
    llama.script(testkit::fake_llama::Script::tokens(["x", "y"]).stall_after(1));
    // As often as in production.
    let proxy = Proxy::with(&llama, |config| config.keys_file = Some(file.path())).await;
    let running = proxy.ask_as("a", &question(true)).await;
    let mut fastest = Duration::MAX;
    // Another process that takes the cores can only make it longer: one attempt in so many must be on time.
    for _ in 0..6 {
        let began = Instant::now();
        file.write(&lines("other", "b", ""));
        until_status(&proxy, "a", 401).await;
        fastest = fastest.min(began.elapsed());
        if fastest < Duration::from_secs(1) {
            break;
        }
        file.write(&both);
        until_status(&proxy, "a", 200).await;
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?} at best");
    assert_eq!(proxy.models_as("a").await.0, 401);
    llama.release();
    assert!(running.text().await.unwrap().ends_with("[DONE]\n\n"));
    assert_eq!(proxy.models_as("b").await.0, 200);
}

#[tokio::test]
async fn a_file_that_is_written_in_place_or_behind_a_link_is_noticed_too() {
    let (file, llama) = (
        KeysFile::of(&lines("app", "a", "")),
        FakeLlama::start().await,
    );
    let folder = file.path().parent().unwrap().to_owned();
    // As Kubernetes mounts a secret: a link to a file in a folder that is a link itself and is swapped whole.
    for (version, key) in [("1", "v1"), ("2", "v2")] {
        std::fs::create_dir(folder.join(version)).unwrap();
        std::fs::write(
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
    std::fs::rename(folder.join("next"), folder.join("data")).unwrap();
    until_status(&proxy, "v2", 200).await;
    assert_eq!(proxy.models_as("v1").await.0, 401);

    std::fs::write(folder.join("2/keys.toml"), lines("app", "v3", "")).unwrap();
    until_status(&proxy, "v3", 200).await;
    assert_eq!(proxy.models_as("v2").await.0, 401);
}

#[tokio::test]
async fn a_hangup_reads_the_file_at_once() {
    let (file, llama) = (
        KeysFile::of(&lines("app", "a", "")),
        FakeLlama::start().await,
    );
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
