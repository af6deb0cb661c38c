//! The AI SDK's UI message stream: the exact parts, and an answer that is read again from its beginning.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::fake_llama::Script;

use super::{Somebody, parts, question};
use crate::gateway::Gateway;

/// Reads a stream until it holds `until`.
async fn read_until(response: &mut reqwest::Response, until: &str) -> String {
    let mut stream = String::new();
    while !stream.contains(until) {
        let chunk = response.chunk().await.unwrap().expect("the stream goes on");
        stream.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    stream
}

/// The text that a client has.
fn text(parts: &[Value]) -> String {
    let deltas = parts.iter().filter(|part| part["type"] == "text-delta");
    deltas.map(|part| part["delta"].as_str().unwrap()).collect()
}

/// The parts without what tells how long something took.
fn lasting(mut parts: Vec<Value>) -> Vec<Value> {
    parts.retain(|part| part["transient"] != true);
    for part in &mut parts {
        let metadata = part.get_mut("messageMetadata");
        if let Some(metadata) = metadata.and_then(Value::as_object_mut) {
            metadata.remove("timings");
        }
    }
    parts
}

#[tokio::test]
async fn an_answer_is_the_parts_that_every_version_of_the_sdk_reads() {
    let gateway = Gateway::start().await;
    let deltas = [json!({"reasoning_content": "hm"}), json!({"content": "芝"})];
    gateway.llama.script(Script::deltas(deltas).cached(5));
    let ann = Somebody::new(&gateway).await;
    let body = json!({"id": "c1", "messages": [question("hi")], "trigger": "submit-message"});
    let request = ann.request(Method::POST, "/chat").json(&body);
    let response = request.send().await.unwrap();
    let head = response.headers().clone();
    let stream = response.text().await.unwrap();
    let told = lasting(parts(&stream));
    let id = told[0]["messageId"].clone();
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache"),
        ("x-vercel-ai-ui-message-stream", "v1"),
        ("x-accel-buffering", "no"),
        ("x-resumable-stream-id", id.as_str().unwrap()),
    ] {
        assert_eq!(head[name], value, "{name}");
    }
    let usage = json!({"prompt_tokens": 7, "cached_tokens": 5, "completion_tokens": 2});
    assert_eq!(
        told,
        [
            json!({"type": "start", "messageId": id}),
            json!({"type": "reasoning-start", "id": "p0"}),
            json!({"type": "reasoning-delta", "id": "p0", "delta": "hm"}),
            json!({"type": "reasoning-end", "id": "p0"}),
            json!({"type": "text-start", "id": "p1"}),
            json!({"type": "text-delta", "id": "p1", "delta": "芝"}),
            json!({"type": "text-end", "id": "p1"}),
            json!({"type": "finish", "finishReason": "stop", "messageMetadata": {"usage": usage}}),
        ]
    );
    assert!(stream.ends_with("data: [DONE]\n\n") && stream.contains("{\"type\":\"finish\","));

    let (_, mut chat) = ann.get("/chat/c1").await;
    let mine = chat["messages"][0]["id"].take();
    chat["messages"][1]["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("timings");
    let answer = [
        json!({"type": "reasoning", "text": "hm"}),
        json!({"type": "text", "text": "芝"}),
    ];
    assert_eq!(
        chat["messages"],
        json!([
            {"id": null, "role": "user", "parts": [{"type": "text", "text": "hi"}]},
            {"id": id, "role": "assistant", "parts": answer, "metadata": {"usage": usage}},
        ])
    );
    assert!(mine.is_string());
}

#[tokio::test]
async fn a_reload_in_the_middle_reads_the_whole_answer_once_in_every_tab() {
    let gateway = Gateway::start().await;
    let tokens: Vec<String> = (0..100).map(|n| format!("{n}芝🧀é ")).collect();
    let script = Script::tokens(tokens.clone()).stall_after(50);
    gateway.llama.script(script);
    let ann = Somebody::new(&gateway).await;
    assert_eq!(ann.get("/chat/c1/stream").await.0, 204, "nothing runs yet");
    let body = json!({"id": "c1", "messages": [question("long")], "trigger": "submit-message"});
    let request = ann.request(Method::POST, "/chat").json(&body);
    let mut page = request.send().await.unwrap();
    read_until(&mut page, "49芝🧀é ").await;
    drop(page);
    // While it runs, the history ends with the question.
    let (_, chat) = ann.get("/chat/c1").await;
    assert_eq!(chat["messages"].as_array().unwrap().len(), 1);
    let mut tabs = Vec::new();
    for _ in 0..2 {
        let request = ann.request(Method::GET, "/chat/c1/stream");
        let mut tab = request.send().await.unwrap();
        let begun = read_until(&mut tab, "49芝🧀é ").await;
        tabs.push((tab, begun));
    }
    gateway.llama.release();
    let mut read = Vec::new();
    for (mut tab, mut stream) in tabs {
        stream.push_str(&read_until(&mut tab, "[DONE]\n\n").await);
        let told = parts(&stream);
        assert_eq!(text(&told), tokens.concat());
        assert_eq!(told[0]["type"], "start");
        read.push(told[0]["messageId"].clone());
    }
    // A page that read its history before the end still gets it for a while.
    let late = ann
        .request(Method::GET, "/chat/c1/stream")
        .send()
        .await
        .unwrap();
    let late = parts(&late.text().await.unwrap());
    assert_eq!(text(&late), tokens.concat());
    let (_, chat) = ann.get("/chat/c1").await;
    let id = &chat["messages"][1]["id"];
    assert!(
        read.iter()
            .chain([&late[0]["messageId"]])
            .all(|read| read == id)
    );
    assert_eq!(gateway.llama.requests().len(), 1, "nothing was asked again");
}

#[tokio::test]
async fn stop_ends_the_answer_for_every_reader_and_frees_the_model() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let ann = Somebody::new(&gateway).await;
    let body = json!({"id": "c1", "messages": [question("hi")]});
    let request = ann.request(Method::POST, "/chat").json(&body);
    let mut page = request.send().await.unwrap();
    let mut stream = read_until(&mut page, "\"a\"").await;
    for _ in 0..2 {
        let request = ann.request(Method::POST, "/chat/c1/stop");
        assert_eq!(ann.send(request).await.0, 204);
    }
    gateway.llama.client_left(0).await;
    stream.push_str(&read_until(&mut page, "[DONE]").await);
    let end = lasting(parts(&stream)).pop().unwrap();
    assert_eq!(
        end,
        json!({"type": "finish", "finishReason": "stop", "messageMetadata": {"stopped": true}})
    );
    let (_, chat) = ann.get("/chat/c1").await;
    let metadata = &chat["messages"][1]["metadata"];
    assert_eq!(
        (&metadata["stopped"], &metadata["status"]),
        (&json!(true), &json!("stopped"))
    );
}

#[tokio::test]
async fn an_answer_that_fails_or_is_cut_never_ends_like_a_whole_one() {
    let gateway = Gateway::start().await;
    let ann = Somebody::new(&gateway).await;
    gateway
        .llama
        .script_once(Script::tokens(["half"]).reset_after(1));
    let told = lasting(ann.ask("c1", "one").await);
    let error = "upstream_error: the answer was interrupted; send the message again";
    assert_eq!(
        told.last(),
        Some(&json!({"type": "error", "errorText": error}))
    );
    assert!(told.iter().all(|part| part["type"] != "finish"));
    assert_eq!(text(&told), "half");
    gateway
        .llama
        .script_once(Script::tokens(["long"]).finish("length"));
    let told = ann.ask("c1", "two").await;
    assert_eq!(told.last().unwrap()["finishReason"], "length");
}

#[tokio::test]
async fn the_place_in_the_queue_is_told_in_passing() {
    let gateway = Gateway::start().await;
    let lines = [": queue position=3 wait=12"];
    gateway.llama.script(Script::tokens(["a"]).comments(lines));
    let ann = Somebody::new(&gateway).await;
    let body = json!({"id": "c1", "messages": [question("hi")]});
    let request = ann.request(Method::POST, "/chat").json(&body);
    let mut page = request.send().await.unwrap();
    let mut stream = read_until(&mut page, "data-queue").await;
    gateway.llama.release();
    stream.push_str(&read_until(&mut page, "[DONE]").await);
    let queue =
        json!({"type": "data-queue", "data": {"place": 3, "wait_ms": 12_000}, "transient": true});
    assert!(parts(&stream).contains(&queue), "{stream}");
}

#[tokio::test]
async fn an_edit_is_another_branch_and_regenerate_another_answer() {
    let gateway = Gateway::start().await;
    let ann = Somebody::new(&gateway).await;
    let first = ann.ask("c1", "one").await;
    let answer = json!({"id": first[0]["messageId"], "role": "assistant", "parts": []});
    let post = async |body: Value| {
        let request = ann.request(Method::POST, "/chat").json(&body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{body}");
        parts(&response.text().await.unwrap())
    };
    post(json!({"id": "c1", "messages": [question("one"), answer, question("two")]})).await;
    assert_eq!(
        gateway.asked(1).await,
        ["user: one", "assistant: Hello", "user: two"]
    );
    post(json!({"id": "c1", "messages": [question("other")], "messageId": "id of one"})).await;
    assert_eq!(gateway.asked(2).await, ["user: other"]);
    // The newest answer is on the other branch; this one goes on where the client is.
    let edited = json!({"id": "c1", "messages": [question("one"), answer, question("three")],
        "messageId": "id of two"});
    post(edited).await;
    assert_eq!(
        gateway.asked(3).await,
        ["user: one", "assistant: Hello", "user: three"]
    );
    let again = json!({"id": "c1", "trigger": "regenerate-message", "messages": [question("one")],
        "messageId": first[0]["messageId"]});
    let told = post(again).await;
    assert_eq!(gateway.asked(4).await, ["user: one"]);
    assert_ne!(told[0]["messageId"], first[0]["messageId"]);
    // The same message again, as after a lost connection, starts nothing.
    let same = post(json!({"id": "c1", "messages": [question("one")]})).await;
    assert_eq!(same[0], first[0]);
    assert_eq!(gateway.llama.requests().len(), 5);
}

#[tokio::test]
async fn a_refusal_is_a_status_and_one_line_of_text() {
    let gateway = Gateway::start().await;
    let ann = Somebody::new(&gateway).await;
    for (body, status, line) in [
        (
            json!({"id": "", "messages": []}),
            400,
            "bad_request: `id` must be 1 to 200 characters",
        ),
        (
            json!({"id": "c", "messages": []}),
            400,
            "bad_request: the last message must be the user's",
        ),
        (
            json!({"id": "c", "messages": [question("")]}),
            400,
            "bad_request: `content` must not be empty",
        ),
        (
            json!({"id": "c", "trigger": "regenerate-message"}),
            404,
            "not_found: there is no such conversation or message",
        ),
        (
            json!({"id": "c", "messages": [{"role": "user", "parts": [
            {"type": "file", "mediaType": "application/pdf", "url": "data:application/pdf;base64,AA"}]}]}),
            400,
            "unsupported_content: files must be images, as data: URLs",
        ),
    ] {
        let request = ann.request(Method::POST, "/chat").json(&body);
        let response = request.send().await.unwrap();
        assert_eq!(
            response.headers()["content-type"],
            "text/plain; charset=utf-8"
        );
        assert_eq!(
            (response.status().as_u16(), &*response.text().await.unwrap()),
            (status, line),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_silent_stream_is_kept_open_and_leaving_it_stops_nothing() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let ann = Somebody::new(&gateway).await;
    let body = json!({"id": "c1", "messages": [question("hi")]});
    let request = ann.request(Method::POST, "/chat").json(&body);
    let response = request.send().await.unwrap();
    let mut bytes = response.bytes_stream();
    while !bytes
        .next()
        .await
        .unwrap()
        .unwrap()
        .ends_with(b"\"a\"}\n\n")
    {}
    drop(bytes);
    gateway.llama.release();
    gateway.llama.ended(0).await;
    let late = ann
        .request(Method::GET, "/chat/c1/stream")
        .send()
        .await
        .unwrap();
    assert_eq!(text(&parts(&late.text().await.unwrap())), "ab");
}

#[tokio::test]
async fn a_gateway_that_stops_ends_the_stream_as_an_error() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let ann = Somebody::new(&gateway).await;
    let body = json!({"id": "c1", "messages": [question("hi")]});
    let request = ann.request(Method::POST, "/chat").json(&body);
    let mut page = request.send().await.unwrap();
    let mut stream = read_until(&mut page, "\"a\"").await;
    gateway.shutdown.finish(Duration::from_millis(200)).await;
    while let Ok(Some(chunk)) = page.chunk().await {
        stream.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let told = parts(&stream);
    let last = told.last().unwrap();
    assert_eq!(last["type"], "error", "{stream}");
    assert!(
        last["errorText"]
            .as_str()
            .unwrap()
            .starts_with("shutting_down: ")
    );
    assert!(!stream.contains("[DONE]"));
}

#[tokio::test]
async fn the_stream_of_an_answer_that_is_deleted_while_it_waits_ends() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let ann = Somebody::new(&gateway).await;
    let body = json!({"id": "c1", "messages": [question("one")], "trigger": "submit-message"});
    let request = ann.request(Method::POST, "/chat").json(&body);
    let mut first = request.send().await.unwrap();
    read_until(&mut first, "text-delta").await;
    let mut second = question("two");
    second["id"] = "m2".into();
    let body =
        json!({"id": "c1", "messages": [question("one"), second], "trigger": "submit-message"});
    let request = ann.request(Method::POST, "/chat").json(&body);
    let mut waiting = request.send().await.unwrap();
    read_until(&mut waiting, "start").await;
    let all = ann.delete("/conversations?all=true").await;
    assert_eq!(all, (200, json!({"deleted": 1})));
    let rest = waiting.text().await.unwrap();
    assert!(rest.contains("\"type\":\"error\""), "{rest}");
    gateway.llama.client_left(0).await;
}

#[tokio::test]
async fn two_first_messages_of_one_chat_at_once_are_both_answered() {
    let gateway = Gateway::start().await;
    gateway.llama.script(Script::tokens(["yes"]));
    let ann = Somebody::new(&gateway).await;
    let asking = ["m1", "m2", "m3"].map(|id| {
        let mut message = question(id);
        message["id"] = id.into();
        let body = json!({"id": "c1", "messages": [message], "trigger": "submit-message"});
        let request = ann.request(Method::POST, "/chat").json(&body);
        async move { request.send().await.unwrap().text().await.unwrap() }
    });
    for stream in futures_util::future::join_all(asking).await {
        assert_eq!(text(&parts(&stream)), "yes", "{stream}");
    }
}
