//! The span of each answer, as a collector gets it, and what upstream is told of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::fake_collector::{CollectedSpan, FakeCollector};
use testkit::fake_llama::Script;
use testkit::ws_client::PATIENCE;

use crate::gateway::{Gateway, KEY, delta, done, reset, say};

const DRAIN: Duration = Duration::from_secs(30);

async fn traced(collector: &str) -> Gateway {
    Gateway::start_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", collector)]).await
}

/// The end of the gateway sends what is queued.
async fn spans(gateway: Gateway, collector: &FakeCollector) -> Vec<CollectedSpan> {
    assert_eq!(gateway.shutdown.finish(DRAIN).await, 0);
    gateway.traces.finish().await;
    collector.spans()
}

/// The header `name` of upstream request `number`.
async fn told(gateway: &Gateway, number: usize, name: &str) -> String {
    gateway.llama.request_started(number).await.headers[name]
        .to_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn an_answer_is_a_span_and_upstreams_are_below_it() {
    let collector = FakeCollector::start().await;
    let gateway = traced(&collector.url()).await;
    gateway
        .llama
        .script(Script::tokens(["canary-a", "canary-b"]));
    let mut socket = gateway.chat().await;
    say(&mut socket, "canary-question").await;
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    let (parent, request_id) = (
        told(&gateway, 0, "traceparent").await,
        told(&gateway, 0, "x-request-id").await,
    );
    socket.close().await.unwrap();

    let spans = spans(gateway, &collector).await;
    let attributes: BTreeMap<String, Value> = serde_json::from_value(json!({
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "fake-model",
        "chat_gateway.request_id": request_id,
        "chat_gateway.outcome": "done",
        "chat_gateway.deltas": 2,
    }))
    .unwrap();
    let (trace, id) = (spans[0].trace.clone(), spans[0].id.clone());
    assert_eq!(parent, format!("00-{trace}-{id}-01"));
    let expected = CollectedSpan {
        service: "chat-gateway".to_owned(),
        name: "chat fake-model".to_owned(),
        kind: "client".to_owned(),
        trace,
        id,
        parent: String::new(),
        attributes,
        events: ["first token", "end"].map(str::to_owned).into(),
    };
    assert_eq!(spans, [expected]);
}

#[tokio::test]
async fn a_span_says_how_its_answer_ended_and_nothing_of_what_was_said() {
    let collector = FakeCollector::start().await;
    let gateway = traced(&collector.url()).await;
    let overflow =
        json!({"error": {"code": 400, "type": "exceed_context_size_error", "message": "canary"}});
    gateway.llama.script_once(Script::tokens(["canary"]));
    gateway
        .llama
        .script_once(Script::status(400, overflow.to_string()));
    gateway.llama.script_once(Script::tokens(["canary"]));
    gateway.llama.script_once(Script::status(
        503,
        r#"{"error":{"message":"canary","code":"model_loading"}}"#,
    ));
    gateway
        .llama
        .script_once(Script::tokens(["canary"]).error_after(1, "canary"));
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut socket = gateway.chat().await;
    for _ in 0..4 {
        say(&mut socket, "canary").await;
        socket.collect_answer().await.unwrap();
    }
    // One that is told to stop, and one whose socket goes.
    say(&mut socket, "canary").await;
    assert_eq!(socket.next_json().await.unwrap(), delta("a"));
    reset(&mut socket).await;
    assert_eq!(
        socket.next_json().await.unwrap(),
        json!({"type": "reset_ok"})
    );
    say(&mut socket, "canary").await;
    assert_eq!(socket.next_json().await.unwrap(), delta("a"));
    socket.close().await.unwrap();
    gateway
        .metric("chat_gateway_answers_total{outcome=\"closed\"} 1")
        .await;

    let again = told(&gateway, 2, "traceparent").await;
    assert_eq!(told(&gateway, 1, "traceparent").await, again);
    let spans = spans(gateway, &collector).await;
    let text =
        |span: &CollectedSpan, name: &str| span.attributes.get(name).cloned().unwrap_or_default();
    let told = spans.iter().map(|span| {
        let names = [
            "chat_gateway.outcome",
            "error.type",
            "http.response.status_code",
            "chat_gateway.upstream_code",
        ];
        (
            json!(names.map(|name| text(span, name))),
            span.events.join(", "),
        )
    });
    let told: Vec<_> = told.collect();
    let row = |values: Value, events: &str| (values, events.to_owned());
    let ended = "first token, end";
    assert_eq!(
        told,
        [
            row(json!(["done", null, null, null]), ended),
            row(
                json!(["done", null, null, null]),
                "asked again, first token, end"
            ),
            row(json!(["loading", "loading", 503, "model_loading"]), "end"),
            row(json!(["interrupted", "interrupted", null, "500"]), ended),
            row(json!(["reset", null, null, null]), ended),
            row(json!(["closed", null, null, null]), ended),
        ]
    );
    assert!(!format!("{spans:?}").contains("canary") && !format!("{spans:?}").contains(KEY));
}

#[tokio::test]
async fn without_a_collector_upstream_is_told_of_no_trace() {
    let gateway = Gateway::start().await;
    let mut socket = gateway.chat().await;
    say(&mut socket, "hi").await;
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    let received = gateway.llama.request_started(0).await;
    assert!(
        !received.headers.contains_key("traceparent"),
        "{:?}",
        received.headers
    );
}

#[tokio::test]
async fn a_collector_that_is_stuck_or_gone_holds_up_neither_answers_nor_the_end() {
    let stuck = FakeCollector::stuck().await;
    for url in [stuck.url(), "http://127.0.0.1:1".to_owned()] {
        let gateway = traced(&url).await;
        let mut socket = gateway.chat().await;
        for _ in 0..20 {
            say(&mut socket, "hi").await;
            assert_eq!(socket.collect_answer().await.unwrap().1, done());
        }
        let end = async {
            assert_eq!(gateway.shutdown.finish(DRAIN).await, 0);
            gateway.traces.finish().await;
        };
        let ended = async { tokio::join!(end, async { drop(socket.wait_close().await) }) };
        tokio::time::timeout(PATIENCE, ended).await.unwrap();
    }
}
