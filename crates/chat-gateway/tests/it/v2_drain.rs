//! The end of the gateway: answers end whole or interrupted, and every socket is told before it closes.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use testkit::v2_client::V2Client;
use tokio::time::Instant;

use crate::gateway::{Gateway, KEY};
use crate::v2_tools::{end_of, open, plain, say, say_in};

/// Reads on until the server says goodbye, and returns the close code behind it.
async fn goodbye(chat: &mut V2Client) -> u16 {
    loop {
        let frame = chat.next().await.unwrap();
        if frame["type"] == "goodbye" {
            assert_eq!(frame["code"], 4501);
            let after = frame["after_seconds"].as_u64().unwrap();
            assert!((1..=5).contains(&after), "{frame}");
            return chat.socket.wait_close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_answer_that_fits_the_drain_ends_whole_before_goodbye() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut chat = open(&gateway).await;
    let [conversation, _, first] = say(&mut chat, "one", &plain()).await;
    let (_, waiting) = say_in(&mut chat, &conversation, "two").await;
    chat.until_position(&first, 1).await.unwrap();
    let reader = async {
        gateway.shutdown.draining().await;
        let late = json!({"type": "send", "content": "late", "conversation": conversation});
        let refused = chat.request(late).await.unwrap();
        assert_eq!(refused["code"], "shutting_down");
        assert!(refused["retry_after_seconds"].as_u64() > Some(0));
        gateway.llama.release();
        let joined = chat.until_done(&first).await.unwrap();
        assert_eq!(joined.text, "ab");
        assert_eq!(joined.done.unwrap()["status"], "done");
        assert_eq!(end_of(&mut chat, &waiting).await, "interrupted");
        goodbye(&mut chat).await
    };
    let ended = gateway.shutdown.finish(Duration::from_secs(30));
    assert_eq!(tokio::join!(ended, reader), (0, 4501));
}

#[tokio::test]
async fn an_answer_that_outlasts_the_drain_is_interrupted_and_goes_on_later() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["half ", "whole"]).stall_after(1));
    let mut chat = open(&gateway).await;
    let [conversation, _, first] = say(&mut chat, "one", &plain()).await;
    let (_, waiting) = say_in(&mut chat, &conversation, "two").await;
    chat.until_position(&first, 5).await.unwrap();
    let mut tab = chat.again(&gateway.chat_url()).await.unwrap();
    tab.watch(&conversation).await.unwrap();
    tab.until_position(&first, 5).await.unwrap();
    let reader = async |chat: &mut V2Client| {
        let joined = chat.until_done(&first).await.unwrap();
        assert_eq!(joined.text, "half ");
        let done = joined.done.unwrap();
        assert_eq!(done["status"], "interrupted");
        assert_eq!(done["error"]["code"], "shutting_down");
        assert_eq!(end_of(chat, &waiting).await, "interrupted");
        goodbye(chat).await
    };
    let began = Instant::now();
    let ended = gateway.shutdown.finish(Duration::from_millis(300));
    let ends = tokio::join!(ended, reader(&mut chat), reader(&mut tab));
    assert_eq!(ends, (0, 4501, 4501));
    assert!(began.elapsed() < Duration::from_secs(3));
    gateway.llama.client_left(0).await;

    let llama = FakeLlama::start().await;
    llama.require_key(KEY);
    llama.script(Script::tokens(["whole"]));
    let next = Gateway::keeping(gateway.data.clone(), llama, &[]).await;
    let mut back = chat.again(&next.chat_url()).await.unwrap();
    let aim = json!({"type": "continue", "message": first});
    assert_eq!(back.request(aim).await.unwrap()["type"], "accepted");
    let joined = back.until_done(&first).await.unwrap();
    assert_eq!(joined.text, "half whole");
}

#[tokio::test]
async fn five_hundred_idle_sockets_are_told_within_a_second() {
    let settings = [
        ("GATEWAY_SOCKETS_PER_USER", "0"),
        ("GATEWAY_SOCKETS_PER_ADDRESS", "0"),
    ];
    let gateway = Gateway::start_with(&settings).await;
    let first = open(&gateway).await;
    let url = gateway.chat_url();
    let mut sockets = join_all((0..500).map(|_| first.again(&url))).await;
    let began = Instant::now();
    let readers = sockets.iter_mut().map(async |socket| {
        let socket = socket.as_mut().unwrap();
        let frame: Value = socket.next().await.unwrap();
        assert_eq!(frame["type"], "goodbye");
        let told = began.elapsed();
        assert_eq!(socket.socket.wait_close().await.unwrap(), 4501);
        told
    });
    drop(first);
    let ended = gateway.shutdown.finish(Duration::from_secs(10));
    let (abandoned, told) = tokio::join!(ended, join_all(readers));
    assert_eq!(abandoned, 0);
    let last = told.into_iter().max().unwrap();
    assert!(last < Duration::from_secs(1), "{last:?}");
}
