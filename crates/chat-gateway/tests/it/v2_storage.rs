//! A store that is locked or full: what cannot be kept is refused in time, sockets and answers go on, and nothing that was
//! told is lost.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use testkit::fake_llama::{FakeLlama, Script};
use testkit::tools::needs;
use testkit::ws_client::PATIENCE;
use tokio::time::Instant;

use crate::gateway::{Gateway, KEY};
use crate::v2_tools::{converse, open, plain, say, say_in};

/// The database's file, past the gateway.
async fn raw(dir: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(dir.join("chat.db"));
    options.connect().await.unwrap()
}

/// Waits until the store has an answer with this status, and returns its text.
async fn kept(dir: &Path, answer: &str, status: &str) -> String {
    let mut file = raw(dir).await;
    let id: uuid::Uuid = answer.parse().unwrap();
    let looking = async {
        loop {
            let row: (String, String) =
                sqlx::query_as("SELECT status, written FROM messages WHERE id = ?")
                    .bind(id)
                    .fetch_one(&mut file)
                    .await
                    .unwrap();
            if row.0 == status {
                return row.1;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap()
}

#[tokio::test]
async fn while_the_store_is_locked_sends_are_refused_and_answers_go_on() {
    let gateway = Gateway::start().await;
    // About ten seconds: more than one checkpoint.
    let tokens: Vec<String> = (0..100).map(|n| format!("{n} ")).collect();
    let pause = Duration::from_millis(90);
    gateway
        .llama
        .script(Script::tokens(tokens.clone()).every(pause));
    let mut chat = open(&gateway).await;
    let [conversation, _, answer] = say(&mut chat, "count", &plain()).await;
    chat.until_position(&answer, 1).await.unwrap();
    let mut tab = chat.again(&gateway.chat_url()).await.unwrap();
    let mut lock = raw(gateway.data.path()).await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut lock)
        .await
        .unwrap();
    let reading = async {
        let mut longest = Duration::ZERO;
        let mut last = Instant::now();
        loop {
            let frame = chat.next().await.unwrap();
            match frame["type"].as_str().unwrap() {
                "delta" => {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
                "done" => return (frame, longest, last.elapsed()),
                _ => {}
            }
        }
    };
    let sending = async {
        for more in [
            json!({"type": "send", "content": "x"}),
            json!({"type": "send", "content": "x", "conversation": conversation}),
        ] {
            let began = Instant::now();
            let refused = tab.request(more).await.unwrap();
            assert_eq!(refused["code"], "storage_unavailable");
            let took = began.elapsed();
            assert!(took < Duration::from_millis(6_500), "{took:?}");
        }
    };
    let ((done, longest, end), ()) = tokio::join!(reading, sending);
    assert_eq!(done["status"], "done");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert!(end < Duration::from_secs(10), "{end:?}");
    sqlx::query("ROLLBACK").execute(&mut lock).await.unwrap();
    let written = kept(gateway.data.path(), &answer, "done").await;
    assert_eq!(written, tokens.concat());
    gateway.llama.script(Script::tokens(["again"]));
    converse(&mut tab, Some(&conversation), "works").await;
}

#[tokio::test]
async fn a_waiting_message_can_be_stopped_while_its_turn_cannot_be_kept() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut chat = open(&gateway).await;
    let [conversation, _, first] = say(&mut chat, "one", &plain()).await;
    let (_, second) = say_in(&mut chat, &conversation, "two").await;
    chat.until_position(&first, 1).await.unwrap();
    let mut lock = raw(gateway.data.path()).await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut lock)
        .await
        .unwrap();
    gateway.llama.release();
    chat.until_done(&first).await.unwrap();
    // Nothing can be kept, so this is refused, but in time; and it is not forgotten.
    let stop = json!({"type": "stop", "message": second});
    let began = Instant::now();
    let refused = chat.request(stop).await.unwrap();
    assert_eq!(refused["code"], "storage_unavailable");
    assert!(began.elapsed() < Duration::from_secs(12));
    sqlx::query("ROLLBACK").execute(&mut lock).await.unwrap();
    let joined = chat.until_done(&second).await.unwrap();
    assert_eq!(joined.done.unwrap()["status"], "stopped");
    assert_eq!(gateway.llama.requests().len(), 1);
}

/// A disk of 4 MB that fills up while people chat.
#[tokio::test]
async fn on_a_full_disk_sends_are_refused_and_what_ended_is_kept_once_there_is_room() {
    if !needs("unshare", &["-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let own = std::env::current_exe().unwrap();
    let mut child = Command::new("unshare")
        .args(["-rm", "sh", "-c"])
        .arg("mount -t tmpfs -o size=4m tmpfs \"$1\" && exec \"$2\" --ignored --exact --nocapture v2_storage::child_on_a_full_disk")
        .arg("sh")
        .args([dir.path(), &own])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let path = dir.path().to_str().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(path.as_bytes())
        .unwrap();
    // A name that no test has runs nothing, and ends well.
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[tokio::test]
#[ignore = "runs on a small disk, as a child of the test above"]
async fn child_on_a_full_disk() {
    let dir = PathBuf::from(std::io::read_to_string(std::io::stdin()).unwrap());
    if dir.as_os_str().is_empty() {
        return;
    }
    let llama = FakeLlama::start().await;
    llama.require_key(KEY);
    let text = "words ".repeat(20_000);
    llama.script(Script::tokens([text.clone(), "end".to_owned()]).stall_after(1));
    let data = Arc::new(tempfile::tempdir_in(&dir).unwrap());
    let gateway = Gateway::keeping(data, llama, &[]).await;
    let mut chat = open(&gateway).await;
    let [_, _, answer] = say(&mut chat, "long", &plain()).await;
    let length = text.len() as u64;
    chat.until_position(&answer, length).await.unwrap();
    let filler = dir.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let began = Instant::now();
    let send = json!({"type": "send", "content": "x".repeat(60_000)});
    let refused = chat.request(send.clone()).await.unwrap();
    assert_eq!(refused["code"], "storage_unavailable");
    assert!(began.elapsed() < Duration::from_secs(5));
    gateway.llama.release();
    let joined = chat.until_done(&answer).await.unwrap();
    assert_eq!(joined.done.unwrap()["status"], "done");
    drop(file);
    fs::remove_file(&filler).unwrap();
    let written = kept(gateway.data.path(), &answer, "done").await;
    assert_eq!(written, text + "end");
    let accepted = chat.request(send).await.unwrap();
    assert_eq!(accepted["type"], "accepted");
}
