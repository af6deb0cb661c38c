//! Stop: from anywhere, in every phase, as often as one likes; and the model is free before it is said to be.

use futures_util::future::join_all;
use serde_json::json;
use testkit::fake_llama::{Ended, Script};

use crate::gateway::Gateway;
use crate::v2_tools::{ask, end_of, open, plain, say, say_in};

#[tokio::test]
async fn an_answer_is_stopped_before_the_model_says_a_word() {
    let gateway = Gateway::start().await;
    let queued = Script::tokens(["never"]).comments([": queue position=1"]);
    let prefill = Script::tokens(["never"]).stall_after(0);
    let headers = Script::tokens(["never"]).stall_before_headers();
    let mut chat = open(&gateway).await;
    for (number, script) in [queued, prefill, headers].into_iter().enumerate() {
        gateway.llama.script(script);
        let [_, _, answer] = say(&mut chat, "hi", &plain()).await;
        gateway.llama.request_started(number).await;
        assert_eq!(ask(&mut chat, "stop", &answer).await["type"], "ok");
        assert_eq!(end_of(&mut chat, &answer).await, "stopped");
        gateway.llama.client_left(number).await;
    }
}

#[tokio::test]
async fn an_answer_that_waits_is_stopped_and_the_next_one_runs() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut chat = open(&gateway).await;
    let [conversation, _, first] = say(&mut chat, "one", &plain()).await;
    let (_, second) = say_in(&mut chat, &conversation, "two").await;
    let (_, third) = say_in(&mut chat, &conversation, "three").await;
    let mut other = chat.again(&gateway.chat_url()).await.unwrap();
    assert_eq!(ask(&mut other, "stop", &second).await["type"], "ok");
    assert_eq!(end_of(&mut chat, &second).await, "stopped");
    gateway.llama.script(Script::tokens(["c"]));
    gateway.llama.release();
    assert_eq!(end_of(&mut chat, &first).await, "done");
    assert_eq!(end_of(&mut chat, &third).await, "done");
    let asked = ["user: one", "assistant: ab", "user: three"];
    assert_eq!(gateway.asked(1).await, asked);
}

#[tokio::test]
async fn stop_of_what_has_ended_is_ok_and_of_what_is_unknown_is_not_found() {
    let gateway = Gateway::start().await;
    let mut chat = open(&gateway).await;
    let [_, message, answer] = say(&mut chat, "hi", &plain()).await;
    assert_eq!(end_of(&mut chat, &answer).await, "done");
    for _ in 0..3 {
        assert_eq!(ask(&mut chat, "stop", &answer).await["type"], "ok");
    }
    assert_eq!(
        ask(&mut chat, "stop", &message).await["code"],
        "bad_request"
    );
    let unknown = uuid::Uuid::now_v7().to_string();
    assert_eq!(ask(&mut chat, "stop", &unknown).await["code"], "not_found");
    let no_id = json!({"type": "stop", "id": "s", "message": "nonsense"});
    assert_eq!(
        chat.request(no_id).await.unwrap()["code"],
        "bad_request",
        "what is no id"
    );
}

#[tokio::test]
async fn the_connection_to_the_model_is_closed_before_done_says_so() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut chat = open(&gateway).await;
    for number in 0..30 {
        let [_, _, answer] = say(&mut chat, "hi", &plain()).await;
        chat.until_position(&answer, 1).await.unwrap();
        ask(&mut chat, "stop", &answer).await;
        assert_eq!(end_of(&mut chat, &answer).await, "stopped");
        // The fake sees the close in its own task: it gets the chance to run, and no more.
        let seen = gateway.llama.ended(number);
        let seen = tokio::time::timeout(std::time::Duration::from_millis(100), seen).await;
        assert_eq!(seen, Ok(Ended::ClientLeft), "answer {number}");
    }
}

#[tokio::test]
async fn three_hundred_answers_begun_and_stopped_leave_nothing_behind() {
    const CHATS: usize = 10;
    const TIMES: usize = 30;
    let settings = [
        ("GATEWAY_SOCKETS_PER_USER", "0"),
        ("GATEWAY_SOCKETS_PER_ADDRESS", "0"),
        ("GATEWAY_MESSAGES_PER_MINUTE", "0"),
        ("GATEWAY_ANSWERS_PER_USER", "1"),
    ];
    let gateway = Gateway::start_with(&settings).await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let storms = (0..CHATS).map(async |chat| {
        let mut socket = open(&gateway).await;
        for time in 0..TIMES {
            let [_, _, answer] = say(&mut socket, "hi", &plain()).await;
            // In every phase: at once, after a moment, after the first token.
            match (chat + time) % 3 {
                0 => {}
                1 => tokio::task::yield_now().await,
                _ => socket.until_position(&answer, 1).await.unwrap(),
            }
            ask(&mut socket, "stop", &answer).await;
            assert_eq!(end_of(&mut socket, &answer).await, "stopped");
        }
        // The place among the user's answers is free again each time, and now too.
        gateway.llama.request_started(0).await;
        socket.socket.abort();
    });
    join_all(storms).await;
    let quiet = async {
        while gateway.llama.running() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(5), quiet).await;
    assert!(waited.is_ok(), "{} still run", gateway.llama.running());
    gateway.metric("chat_gateway_sockets_open 0").await;
    let ended = gateway.shutdown.finish(std::time::Duration::from_secs(5));
    assert_eq!(ended.await, 0, "a task was left");
}
