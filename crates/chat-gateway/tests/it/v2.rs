//! Version 2 of the chat protocol: answers belong to the server, not to a socket.

use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use testkit::v2_client::V2Client;

use crate::gateway::{Gateway, KEY};

/// No further fields.
fn plain() -> Value {
    json!({})
}

fn text(frame: &Value, field: &str) -> String {
    frame[field].as_str().unwrap().to_owned()
}

async fn open(gateway: &Gateway) -> V2Client {
    V2Client::connect(&gateway.chat_url()).await.unwrap()
}

#[tokio::test]
async fn a_message_is_accepted_written_and_done() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["Once ", "upon ", "芝士🧀"]));
    let mut chat = open(&gateway).await;
    let accepted = chat.say("A story, please", &plain()).await.unwrap();
    let answer = text(&accepted, "answer");
    let joined = chat.until_done(&answer).await.unwrap();
    assert_eq!(joined.text, "Once upon 芝士🧀");
    let done = joined.done.unwrap();
    assert_eq!(done["status"], "done");
    assert_eq!(done["finish_reason"], "stop");
    assert_eq!(gateway.asked(0).await, ["user: A story, please"]);
}

#[tokio::test]
async fn the_next_message_follows_the_newest_answer() {
    let gateway = Gateway::start().await;
    gateway.llama.script(Script::tokens(["yes"]));
    let mut chat = open(&gateway).await;
    let first = chat.say("one", &plain()).await.unwrap();
    chat.until_done(&text(&first, "answer")).await.unwrap();
    let conversation = json!({"conversation": first["conversation"]});
    let second = chat.say("two", &conversation).await.unwrap();
    chat.until_done(&text(&second, "answer")).await.unwrap();
    assert_eq!(
        gateway.asked(1).await,
        ["user: one", "assistant: yes", "user: two"]
    );
}

#[tokio::test]
async fn an_answer_runs_on_without_a_reader_and_is_read_on_exactly() {
    let gateway = Gateway::start().await;
    let tokens: Vec<String> = (0..200).map(|n| format!("{n}芝🧀é ")).collect();
    gateway
        .llama
        .script(Script::tokens(tokens.clone()).stall_after(100));
    let mut chat = open(&gateway).await;
    let accepted = chat.say("long", &plain()).await.unwrap();
    let answer = text(&accepted, "answer");
    let conversation = text(&accepted, "conversation");
    chat.until_position(&answer, 300).await.unwrap();
    let mut later = chat.again(&gateway.chat_url()).await.unwrap();
    later.answers = chat.answers.clone();
    chat.socket.abort();
    gateway.llama.release();
    later.watch(&conversation).await.unwrap();
    let joined = later.until_done(&answer).await.unwrap();
    assert_eq!(joined.text, tokens.concat());
}

#[tokio::test]
async fn stop_frees_the_model_and_keeps_the_text() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["one ", "two", "three"]).stall_after(2));
    let mut chat = open(&gateway).await;
    let accepted = chat.say("count", &plain()).await.unwrap();
    let answer = text(&accepted, "answer");
    chat.until_position(&answer, 7).await.unwrap();
    let mut other = chat.again(&gateway.chat_url()).await.unwrap();
    let stop = json!({"type": "stop", "message": answer});
    assert_eq!(other.request(stop.clone()).await.unwrap()["type"], "ok");
    gateway.llama.client_left(0).await;
    let joined = chat.until_done(&answer).await.unwrap();
    assert_eq!(joined.text, "one two");
    assert_eq!(joined.done.unwrap()["status"], "stopped");
    assert_eq!(other.request(stop).await.unwrap()["type"], "ok");
}

#[tokio::test]
async fn the_same_request_again_starts_nothing() {
    let gateway = Gateway::start().await;
    gateway.llama.script(Script::tokens(["yes"]));
    let mut chat = open(&gateway).await;
    let frame = json!({"type": "send", "id": "once", "content": "hi"});
    let first = chat.request(frame.clone()).await.unwrap();
    chat.until_done(&text(&first, "answer")).await.unwrap();
    let mut second = chat.request(frame).await.unwrap();
    assert_eq!(second["duplicate"], true);
    second.as_object_mut().unwrap().remove("duplicate");
    assert_eq!(second, first);
    let other = json!({"type": "send", "id": "once", "content": "ho"});
    let refused = chat.request(other).await.unwrap();
    assert_eq!(refused["code"], "conflict");
    assert_eq!(gateway.llama.requests().len(), 1);
}

#[tokio::test]
async fn messages_sent_meanwhile_wait_and_can_be_edited_or_dropped() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut chat = open(&gateway).await;
    let first = chat.say("one", &plain()).await.unwrap();
    let here = json!({"conversation": first["conversation"]});
    let second = chat.say("two", &here).await.unwrap();
    let third = chat.say("three", &here).await.unwrap();
    let edit = json!({"type": "edit_queued", "message": second["message"], "content": "two!"});
    assert_eq!(chat.request(edit).await.unwrap()["type"], "ok");
    let drop = json!({"type": "drop_queued", "message": third["message"]});
    assert_eq!(chat.request(drop).await.unwrap()["type"], "ok");
    let busy = json!({
        "type": "send", "content": "now", "conversation": first["conversation"], "when_busy": "reject",
    });
    assert_eq!(chat.request(busy).await.unwrap()["code"], "busy");
    gateway.llama.script(Script::tokens(["c"]));
    gateway.llama.release();
    chat.until_done(&text(&first, "answer")).await.unwrap();
    let joined = chat.until_done(&text(&second, "answer")).await.unwrap();
    assert_eq!(joined.text, "c");
    assert_eq!(
        gateway.asked(1).await,
        ["user: one", "assistant: ab", "user: two!"]
    );
    assert_eq!(gateway.llama.requests().len(), 2);
}

#[tokio::test]
async fn another_users_conversation_looks_like_none() {
    let gateway = Gateway::start().await;
    gateway.llama.script(Script::tokens(["secret"]));
    let mut mine = open(&gateway).await;
    let accepted = mine.say("hi", &plain()).await.unwrap();
    mine.until_done(&text(&accepted, "answer")).await.unwrap();
    let mut theirs = open(&gateway).await;
    let unknown = uuid::Uuid::now_v7().to_string();
    for (conversation, message, answer) in [
        (
            text(&accepted, "conversation"),
            text(&accepted, "message"),
            text(&accepted, "answer"),
        ),
        (unknown.clone(), unknown.clone(), unknown),
    ] {
        for frame in [
            json!({"type": "send", "content": "hi", "conversation": conversation}),
            json!({"type": "send", "content": "hi", "conversation": conversation, "parent": answer}),
            json!({"type": "regenerate", "message": answer}),
            json!({"type": "continue", "message": answer}),
            json!({"type": "stop", "message": answer}),
            json!({"type": "edit_queued", "message": message, "content": "x"}),
            json!({"type": "drop_queued", "message": message}),
            json!({"type": "watch", "conversation": conversation}),
        ] {
            let mut reply = theirs.request(frame.clone()).await.unwrap();
            reply.as_object_mut().unwrap().remove("re");
            let expected = json!({
                "type": "error", "code": "not_found", "message": "there is no such conversation or message",
            });
            assert_eq!(reply, expected, "{frame}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_goes_on_later_begins_where_its_watcher_is() {
    let gateway = Gateway::start().await;
    let cut = Script::tokens(["one ", "two "]).finish("length");
    gateway.llama.script_once(cut);
    let mut chat = open(&gateway).await;
    let accepted = chat.say("count", &plain()).await.unwrap();
    let answer = text(&accepted, "answer");
    chat.until_done(&answer).await.unwrap();
    let cookie = chat.cookie().unwrap();
    let held = chat.answers.clone();
    gateway.shutdown.finish(std::time::Duration::ZERO).await;
    let data = std::sync::Arc::clone(&gateway.data);
    let llama = FakeLlama::start().await;
    llama.require_key(KEY);
    llama.script(Script::tokens(["three"]));
    let gateway = Gateway::keeping(data, llama, &[]).await;
    let cookie = [("cookie", cookie.as_str())];
    let mut again = V2Client::connect_with(&gateway.chat_url(), &cookie)
        .await
        .unwrap();
    again.answers = held;
    again.answers.get_mut(&answer).unwrap().done = None;
    again.watch(&text(&accepted, "conversation")).await.unwrap();
    again.until_done(&answer).await.unwrap();
    let go_on = json!({"type": "continue", "message": answer});
    assert_eq!(again.request(go_on).await.unwrap()["type"], "accepted");
    // The client fails the test when a delta begins anywhere but at its position.
    let joined = again.until_done(&answer).await.unwrap();
    assert_eq!(joined.text, "one two three");
}
