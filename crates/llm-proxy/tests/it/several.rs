//! `n` answers to one request: as many permits, one stream or one object, and one end.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};

use crate::fleet::before_all;
use crate::{MODEL, Proxy, events, last_error, question, until};

fn ask_for(n: usize, stream: bool) -> Value {
    let mut body = question(stream);
    body["n"] = n.into();
    body
}

/// The words of each answer in a stream, by index.
fn words(text: &str, n: usize) -> Vec<String> {
    let mut words = vec![String::new(); n];
    for event in events(text) {
        let Ok(chunk) = serde_json::from_str::<Value>(event) else {
            continue;
        };
        for choice in chunk["choices"].as_array().unwrap() {
            let index = choice["index"].as_u64().unwrap() as usize;
            words[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        }
    }
    words
}

#[tokio::test]
async fn a_whole_answer_has_every_choice_and_the_tokens_of_all() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script_once(Script::tokens(["a", "b"]));
    llama.script_once(Script::tokens(["c"]).finish("length"));
    let answer = proxy.ask(&ask_for(2, false)).await;
    assert_eq!(answer.status(), 200);
    let whole: Value = answer.json().await.unwrap();
    let choices = whole["choices"].as_array().unwrap();
    let mut seen: Vec<(u64, &str, &str)> = Vec::new();
    for choice in choices {
        let content = choice["message"]["content"].as_str().unwrap();
        let reason = choice["finish_reason"].as_str().unwrap();
        seen.push((choice["index"].as_u64().unwrap(), content, reason));
    }
    // Which answer the fake gives first is up to it.
    let mut contents: Vec<(&str, &str)> = seen.iter().map(|(_, text, why)| (*text, *why)).collect();
    contents.sort_unstable();
    assert_eq!(contents, [("ab", "stop"), ("c", "length")]);
    assert_eq!([seen[0].0, seen[1].0], [0, 1]);
    let usage = &whole["usage"];
    assert_eq!(usage["completion_tokens"], 3);
    let requests = llama.requests();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        assert_eq!(request.body.get("n"), None, "each is asked for one answer");
    }
}

#[tokio::test]
async fn a_stream_has_both_choices_one_id_one_usage_and_one_end() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["x", "y", "z"]));
    let mut body = ask_for(2, true);
    body["stream_options"] = json!({"include_usage": true});
    let text = proxy.ask(&body).await.text().await.unwrap();
    assert_eq!(words(&text, 2), ["xyz", "xyz"]);
    let events = events(&text);
    assert_eq!(events.iter().filter(|event| **event == "[DONE]").count(), 1);
    assert_eq!(events.last(), Some(&"[DONE]"));
    let mut ids: Vec<Value> = Vec::new();
    let mut usages: Vec<Value> = Vec::new();
    for event in &events[..events.len() - 1] {
        let chunk: Value = serde_json::from_str(event).unwrap();
        ids.push(chunk["id"].clone());
        usages.extend(chunk.get("usage").cloned());
    }
    ids.dedup();
    assert_eq!((ids.len(), usages.len()), (1, 1), "{text}");
    assert_eq!(usages[0]["completion_tokens"], 6);
}

#[tokio::test]
async fn two_answers_hold_two_permits_and_both_are_free_when_the_caller_leaves() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let answer = proxy.ask(&ask_for(2, true)).await;
    let mut stream = answer.bytes_stream();
    stream.next().await.unwrap().unwrap();
    proxy.until_metric("llm_proxy_requests_in_flight 2").await;
    drop(stream);
    llama.client_left(0).await;
    llama.client_left(1).await;
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn answers_beyond_the_slots_come_one_after_the_other() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b"]));
    let answer: Value = proxy.ask(&ask_for(3, false)).await.json().await.unwrap();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 3);
    assert_eq!(llama.most_running(), 1);
}

#[tokio::test]
async fn an_answer_that_waits_again_gets_the_slot_of_another_that_has_ended() {
    let gone = FakeLlama::start().await;
    let llama = FakeLlama::start().await;
    gone.set_slots(1);
    llama.set_slots(1);
    let proxy = before_all(&[&gone, &llama], |config| {
        config.probe_up = Duration::from_secs(3600);
    })
    .await;
    llama.script(Script::tokens(["a", "b"]));
    gone.stop().await;
    let answer = proxy.ask(&ask_for(2, false)).await;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 2);
    assert_eq!(llama.most_running(), 1);
}

#[tokio::test]
async fn a_stream_is_not_silent_while_a_later_answer_has_no_header() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::with(&llama, |config| {
        config.keep_alive = Duration::from_millis(20);
    })
    .await;
    llama.script_once(Script::tokens(["a"]));
    llama.script_once(Script::tokens(["b"]).stall_before_headers());
    let mut stream = proxy.ask(&ask_for(2, true)).await.bytes_stream();
    let mut text = String::new();
    // The last token of the first answer, and then twice the comment.
    while text
        .rsplit("stop")
        .next()
        .unwrap()
        .matches(": keep-alive\n\n")
        .count()
        < 2
        || !text.contains("stop")
    {
        text += str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap();
    }
    llama.release();
    while let Some(bytes) = stream.next().await {
        text += str::from_utf8(&bytes.unwrap()).unwrap();
    }
    assert_eq!(words(&text, 2), ["a", "b"]);
}

#[tokio::test]
async fn one_answer_that_breaks_ends_all_with_one_error_and_no_end_mark() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    llama.script_once(Script::tokens(["c", "d"]).reset_after(1));
    let text = proxy.ask(&ask_for(2, true)).await.text().await.unwrap();
    assert_eq!(
        last_error(&text)["error"]["code"],
        "upstream_disconnected",
        "{text}"
    );
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    until("the other one to end", async || llama.running() == 0).await;
}

#[tokio::test]
async fn more_answers_than_a_request_may_have_are_refused_by_name() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    for n in [json!(0), json!(9), json!(1.5), json!("2")] {
        let mut body = question(false);
        body["n"] = n.clone();
        let (status, error) = proxy.error(&body).await;
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!("n")),
            "{n}"
        );
    }
    assert_eq!(llama.requests().len(), 0);
    assert_eq!(
        proxy
            .ask(&json!({"model": MODEL, "n": null, "messages": question(false)["messages"]}))
            .await
            .status(),
        200
    );
}
