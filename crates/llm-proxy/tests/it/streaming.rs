//! A streamed answer: untouched, prompt, and kept alive.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};

use crate::{Proxy, UPSTREAM_KEY, events, question};

/// What llama-server itself answers to a question with usage.
async fn direct(llama: &FakeLlama, body: &Value) -> String {
    let request = reqwest::Client::new()
        .post(llama.url() + "/v1/chat/completions")
        .bearer_auth(UPSTREAM_KEY);
    request
        .json(body)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

#[tokio::test]
async fn bytes_pass_untouched_however_they_are_cut() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let mut body = question(true);
    body["stream_options"] = json!({"include_usage": true});
    let words = [
        "Grüße",
        " 🧀",
        "\n\n",
        "\u{2028}",
        "data: x",
        "\r\n\r\n",
        "[DONE]",
        "\u{feff}",
        "\"芝士\"",
        "\\n",
    ];
    for slice in (1..=100).chain([100_000]) {
        llama.script(Script::tokens(words).sliced(slice));
        let answer = proxy.ask(&body).await.text().await.unwrap();
        assert_eq!(answer, direct(&llama, &body).await, "in slices of {slice}");
        assert!(answer.ends_with("data: [DONE]\n\n"), "{answer}");
    }
}

#[tokio::test]
async fn only_the_usage_event_is_missing_for_a_caller_that_did_not_ask_for_it() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b"]).sliced(5));
    let mut with_usage = question(true);
    with_usage["stream_options"] = json!({"include_usage": true});
    let all = proxy.ask(&with_usage).await.text().await.unwrap();
    let expected: String = all
        .split_inclusive("\n\n")
        .filter(|event| !event.contains("\"usage\""))
        .collect();
    assert_eq!(
        proxy.ask(&question(true)).await.text().await.unwrap(),
        expected
    );
    assert_eq!(events(&all).len(), events(&expected).len() + 1);
}

#[tokio::test]
async fn the_header_comes_before_the_first_token() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a"]).stall_after(0));
    let response = proxy.ask(&question(true)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    llama.release();
    assert!(response.text().await.unwrap().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn every_token_is_passed_on_when_it_comes() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["first", "second"]).stall_after(1));
    let mut response = proxy.ask(&question(true)).await;
    let mut text = String::new();
    while !text.contains("first") {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert!(!text.contains("second"));
    llama.release();
    assert!(response.text().await.unwrap().contains("second"));
}

#[tokio::test]
async fn a_silent_upstream_is_bridged_by_comments_between_events() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.keep_alive = Duration::from_millis(20);
    })
    .await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let mut response = proxy.ask(&question(true)).await;
    let mut text = String::new();
    while text.matches(": keep-alive\n\n").count() < 2 {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    llama.release();
    text.push_str(&response.text().await.unwrap());
    llama.script(Script::tokens(["a", "b"]));
    assert_eq!(
        text.replace(": keep-alive\n\n", ""),
        proxy.ask(&question(true)).await.text().await.unwrap()
    );
}

/// The upstream's connections that the answers so far came on, in order.
fn ports(llama: &FakeLlama) -> Vec<u16> {
    llama
        .requests()
        .iter()
        .map(|request| request.peer.port())
        .collect()
}

#[tokio::test]
async fn an_upstream_that_closes_after_every_stream_without_a_word_fails_no_request() {
    // As llama-server does. The close comes while the next request is on its way.
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["Hello"]).closes_after(Duration::from_millis(5)));
    // Longer than it takes to find out whether they are kept.
    let (began, mut n) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(1) {
        n += 1;
        let text = proxy.ask(&question(n % 2 == 0)).await.text().await.unwrap();
        assert!(text.contains("Hello"), "request {n}: {text}");
    }
    let all = ports(&llama);
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!((different.len(), all.len()), (n, n));
}
