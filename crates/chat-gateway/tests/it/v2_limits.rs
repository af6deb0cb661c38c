//! What one user may have: sockets, messages a minute, answers at once, tokens a day; and answers that nobody watches.

use serde_json::json;
use testkit::fake_llama::Script;
use testkit::ws_client::WsClient;

use crate::gateway::Gateway;
use crate::v2_tools::{ask, converse, end_of, open, plain, say, say_in};

#[tokio::test]
async fn messages_above_the_minutes_limit_are_told_when_to_come_again() {
    let gateway = Gateway::start_with(&[("GATEWAY_MESSAGES_PER_MINUTE", "2")]).await;
    let mut chat = open(&gateway).await;
    let [conversation, _, answer] = converse(&mut chat, None, "one").await;
    converse(&mut chat, Some(&conversation), "two").await;
    let third = json!({"type": "send", "content": "three", "conversation": conversation});
    let regenerate = json!({"type": "regenerate", "message": answer});
    for frame in [third, regenerate] {
        let refused = chat.request(frame).await.unwrap();
        assert_eq!(refused["code"], "rate_limited");
        let after = refused["retry_after_seconds"].as_u64().unwrap();
        assert!((25..=31).contains(&after), "{refused}");
    }
    // Another user is not concerned.
    converse(&mut open(&gateway).await, None, "hi").await;
}

#[tokio::test]
async fn answers_at_once_are_bounded_and_the_place_is_free_when_done_comes() {
    let gateway = Gateway::start_with(&[("GATEWAY_ANSWERS_PER_USER", "1")]).await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut chat = open(&gateway).await;
    let [conversation, _, first] = say(&mut chat, "one", &plain()).await;
    let other = json!({"type": "send", "content": "beside"});
    assert_eq!(chat.request(other).await.unwrap()["code"], "rate_limited");
    // In the same conversation it waits, and takes the place over.
    let (_, second) = say_in(&mut chat, &conversation, "two").await;
    gateway.llama.request_started(0).await;
    gateway.llama.script(Script::tokens(["c"]));
    gateway.llama.release();
    assert_eq!(end_of(&mut chat, &first).await, "done");
    assert_eq!(end_of(&mut chat, &second).await, "done");
    for _ in 0..20 {
        converse(&mut chat, None, "at once").await;
    }
}

#[tokio::test]
async fn the_days_tokens_are_spent_by_whole_and_by_stopped_answers() {
    // One answer of one token takes 8 in all, as the fake counts.
    let gateway = Gateway::start_with(&[("GATEWAY_TOKENS_PER_DAY", "9")]).await;
    let mut chat = open(&gateway).await;
    let [conversation, _, _] = converse(&mut chat, None, "one").await;
    converse(&mut chat, Some(&conversation), "two").await;
    let refused = chat
        .request(json!({"type": "send", "content": "three"}))
        .await
        .unwrap();
    assert_eq!(refused["code"], "quota_exceeded");

    let mut stopper = open(&gateway).await;
    gateway
        .llama
        .script(Script::tokens(["word ".repeat(10), "more".to_owned()]).stall_after(1));
    let [_, _, answer] = say(&mut stopper, "hi", &plain()).await;
    stopper.until_position(&answer, 50).await.unwrap();
    ask(&mut stopper, "stop", &answer).await;
    assert_eq!(end_of(&mut stopper, &answer).await, "stopped");
    let refused = stopper
        .request(json!({"type": "send", "content": "again"}))
        .await
        .unwrap();
    assert_eq!(refused["code"], "quota_exceeded");
}

#[tokio::test]
async fn sockets_of_one_user_are_bounded_and_free_when_they_close() {
    let gateway = Gateway::start_with(&[("GATEWAY_SOCKETS_PER_USER", "2")]).await;
    let url = gateway.chat_url();
    let first = open(&gateway).await;
    let second = first.again(&url).await.unwrap();
    let cookie = first.cookie().unwrap();
    let headers = [
        ("sec-websocket-protocol", "chat.v2"),
        ("cookie", cookie.as_str()),
    ];
    let mut third = WsClient::connect_with(&url, &headers).await.unwrap();
    let hello = json!({"type": "hello", "version": 2});
    third.send_json(&hello).await.unwrap();
    assert_eq!(third.wait_close().await.unwrap(), 4409);
    drop(second);
    // The seat is free once the gateway has seen the close.
    loop {
        match first.again(&url).await {
            Ok(_) => break,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn an_answer_that_nobody_watches_is_stopped_once_others_wait() {
    let gateway = Gateway::start_with(&[("GATEWAY_UNWATCHED_SECONDS", "1")]).await;
    let waits = Script::tokens(["late"]).comments([": queue position=1"]);
    let writes = Script::tokens(["a", "b"]).stall_after(1);
    // Nobody watches it, and it is the only one that waits: it may go on waiting.
    gateway.llama.script_once(waits.clone());
    let mut lone = open(&gateway).await;
    say(&mut lone, "lone", &plain()).await;
    gateway.llama.request_started(0).await;
    let lone_cookie = lone.again(&gateway.chat_url()).await.unwrap();
    lone.socket.abort();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(gateway.llama.running(), 1);
    // It waits, so what runs unwatched beside it is stopped; what is watched is not.
    gateway.llama.script_once(writes.clone());
    let mut left = open(&gateway).await;
    say(&mut left, "left", &plain()).await;
    gateway.llama.request_started(1).await;
    gateway.llama.script_once(writes);
    let mut watched = open(&gateway).await;
    say(&mut watched, "watched", &plain()).await;
    gateway.llama.request_started(2).await;
    left.socket.abort();
    gateway.llama.client_left(1).await;
    assert_eq!(gateway.llama.running(), 2);
    drop((lone_cookie, watched));
}
