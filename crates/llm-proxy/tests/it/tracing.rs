//! The span of each request, as a collector gets it.

use std::collections::BTreeMap;
use std::time::Duration;

use common::traces::Endpoint;
use serde_json::{Value, json};
use testkit::fake_collector::{CollectedSpan, FakeCollector};
use testkit::fake_llama::{FakeLlama, Script};

use crate::{KEY, MODEL, PATIENCE, Proxy, question};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

async fn traced(llama: &FakeLlama, collector: &FakeCollector) -> Proxy {
    Proxy::with(llama, |config| {
        config.traces = Endpoint::parse(&collector.url());
    })
    .await
}

/// The end of the proxy sends what is queued.
async fn spans(mut proxy: Proxy, collector: &FakeCollector) -> Vec<CollectedSpan> {
    proxy.begin_shutdown();
    proxy.ended().await;
    collector.spans()
}

#[tokio::test]
async fn a_request_is_a_span_below_its_callers_and_the_upstreams_are_below_it() {
    let (llama, collector) = (FakeLlama::start().await, FakeCollector::start().await);
    let proxy = traced(&llama, &collector).await;
    llama.script(Script::tokens(["canary-a", "canary-b"]).cached(5));
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let answer = proxy
        .chat(&question(true))
        .header("traceparent", traceparent)
        .send()
        .await
        .unwrap();
    let request_id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    answer.text().await.unwrap();
    let told = llama.request_started(0).await.headers["traceparent"]
        .to_str()
        .unwrap()
        .to_owned();

    let mut spans = spans(proxy, &collector).await;
    let queue = spans[0]
        .attributes
        .insert("llm_proxy.queue_ms".to_owned(), Value::Null)
        .unwrap();
    assert!(queue.is_f64(), "{queue}");
    let attributes: BTreeMap<String, Value> = serde_json::from_value(json!({
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "llama.cpp",
        "gen_ai.request.model": MODEL,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 5,
        "gen_ai.usage.output_tokens": 2,
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "server.address": llama.url().replace("http://", ""),
        "llm_proxy.request_id": request_id,
        "llm_proxy.key": "default",
        "llm_proxy.outcome": "ok",
        "llm_proxy.phase": "streaming",
        "llm_proxy.queue_ms": null,
    }))
    .unwrap();
    let id = spans[0].id.clone();
    let expected = CollectedSpan {
        service: "llm-proxy".to_owned(),
        name: format!("chat {MODEL}"),
        kind: "server".to_owned(),
        trace: TRACE.to_owned(),
        id: id.clone(),
        parent: PARENT.to_owned(),
        attributes,
        events: ["admitted", "first token", "end"].map(str::to_owned).into(),
    };
    assert_eq!(spans, [expected]);
    assert_eq!(told, format!("00-{TRACE}-{id}-01"));
}

#[tokio::test]
async fn a_request_without_a_trace_begins_one_and_its_error_is_named_and_nothing_it_says() {
    let (llama, collector) = (FakeLlama::start().await, FakeCollector::start().await);
    let proxy = traced(&llama, &collector).await;
    proxy
        .error(&json!({"model": "canary", "messages": [{"role": "user", "content": "canary"}]}))
        .await;
    let spans = spans(proxy, &collector).await;
    let span = &spans[0];
    assert_eq!(
        (spans.len(), span.parent.as_str(), span.trace.len()),
        (1, "", 32)
    );
    assert_eq!(span.attributes["error.type"], "model_not_found");
    assert!(!format!("{spans:?}").contains("canary") && !format!("{spans:?}").contains(KEY));
}

#[tokio::test]
async fn a_trace_that_its_caller_does_not_sample_is_passed_on_and_not_kept() {
    let (llama, collector) = (FakeLlama::start().await, FakeCollector::start().await);
    let proxy = traced(&llama, &collector).await;
    let traceparent = format!("00-{TRACE}-{PARENT}-00");
    let answer = proxy
        .chat(&question(true))
        .header("traceparent", traceparent)
        .send()
        .await
        .unwrap();
    answer.text().await.unwrap();
    let told = llama.request_started(0).await.headers["traceparent"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"),
        "{told}"
    );
    assert_eq!(spans(proxy, &collector).await, []);
}

#[tokio::test]
async fn without_a_collector_the_callers_trace_passes_as_it_came() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let answer = proxy
        .chat(&question(true))
        .header("traceparent", &traceparent)
        .send()
        .await
        .unwrap();
    answer.text().await.unwrap();
    assert_eq!(
        llama.request_started(0).await.headers["traceparent"],
        traceparent
    );
}

#[tokio::test]
async fn a_collector_that_is_stuck_or_gone_holds_up_neither_requests_nor_the_end() {
    let llama = FakeLlama::start().await;
    let stuck = FakeCollector::stuck().await;
    for url in [stuck.url(), "http://127.0.0.1:1".to_owned()] {
        let mut proxy = Proxy::with(&llama, |config| {
            config.traces = Endpoint::parse(&url);
            config.drain = Duration::ZERO;
        })
        .await;
        for _ in 0..50 {
            assert!(
                proxy
                    .ask(&question(true))
                    .await
                    .text()
                    .await
                    .unwrap()
                    .ends_with("data: [DONE]\n\n")
            );
        }
        proxy.begin_shutdown();
        tokio::time::timeout(PATIENCE, proxy.ended()).await.unwrap();
    }
}

#[tokio::test]
async fn without_a_collector_the_upstream_is_told_of_the_callers_span_whatever_it_is_asked() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let count = proxy
        .http
        .post(format!("http://{}/tokenize", proxy.address))
        .bearer_auth(KEY);
    for (number, request) in [
        proxy.chat(&question(true)),
        count.json(&json!({"content": "hi"})),
    ]
    .into_iter()
    .enumerate()
    {
        request
            .header("traceparent", &traceparent)
            .send()
            .await
            .unwrap();
        assert_eq!(
            llama.request_started(number).await.headers["traceparent"],
            traceparent
        );
    }
}
