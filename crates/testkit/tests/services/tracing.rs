//! One trace for one message, through both services and on to llama-server.

use serde_json::json;
use testkit::fake_collector::FakeCollector;

use super::process::terminate;
use super::{Chain, KEY, ask, start_proxy_with};

#[tokio::test]
async fn one_trace_follows_a_message_from_the_gateway_to_llama_server() {
    let collector = FakeCollector::start().await;
    let mut chain =
        Chain::start_with(1, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())]).await;
    let mut socket = chain.chat().await;
    ask(&mut socket).await;
    assert_eq!(
        socket.collect_answer().await.unwrap().1,
        json!({"type": "done"})
    );
    socket.close().await.unwrap();
    let told = chain.llama.request_started(0).await;
    terminate(chain.gateway.pid()).await;
    terminate(chain.proxy.pid()).await;
    assert_eq!(chain.gateway.exit_code().await.unwrap(), Some(0));
    assert_eq!(chain.proxy.exit_code().await.unwrap(), Some(0));

    let spans = collector.spans();
    let of = |service: &str| spans.iter().find(|span| span.service == service).unwrap();
    let gateway = of("chat-gateway");
    let proxy = of("llm-proxy");
    assert_eq!((spans.len(), gateway.parent.as_str()), (2, ""));
    assert_eq!((&proxy.trace, &proxy.parent), (&gateway.trace, &gateway.id));
    assert_eq!(
        told.headers["traceparent"],
        format!("00-{}-{}-01", proxy.trace, proxy.id)
    );
    // The same name for it in both logs.
    assert_eq!(
        proxy.attributes["llm_proxy.request_id"],
        gateway.attributes["chat_gateway.request_id"]
    );
}

#[tokio::test]
async fn spans_have_the_service_name_that_opentelemetrys_variable_gives() {
    let collector = FakeCollector::start().await;
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url()),
        ("OTEL_SERVICE_NAME", "ours"),
    ];
    let mut proxy = start_proxy_with("http://127.0.0.1:9", &settings).await;
    let request = reqwest::Client::new()
        .post(format!("{}/v1/chat/completions", proxy.url()))
        .bearer_auth(KEY)
        .json(&json!({}));
    assert_eq!(request.send().await.unwrap().status(), 400);
    terminate(proxy.pid()).await;
    assert_eq!(proxy.exit_code().await.unwrap(), Some(0));
    let names: Vec<_> = collector
        .spans()
        .into_iter()
        .map(|span| span.service)
        .collect();
    assert_eq!(names, ["ours"]);
}
