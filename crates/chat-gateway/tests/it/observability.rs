//! That what Prometheus and Grafana are told to look at is there, against a running gateway after an answer, a failure and
//! a socket that was not opened.

use serde_json::json;
use testkit::fake_llama::Script;
use testkit::observability::{declared, documented, looked_at};
use testkit::v2_client::V2Client;

use crate::gateway::{Gateway, say};

/// What the names of the gateway's metrics begin with.
const OWN: [&str; 1] = ["chat_gateway_"];

async fn metrics_after_one_of_each() -> String {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script_once(Script::refusal(500, "server_error", "no"));
    let mut socket = gateway.chat().await;
    for _ in 0..2 {
        say(&mut socket, "Hello").await;
        socket.collect_answer().await.unwrap();
    }
    assert_eq!(gateway.get("/api/v1/ws/chat").await.status(), 426);
    let mut chat = V2Client::connect(&gateway.chat_url()).await.unwrap();
    let refused = chat.request(json!({"type": "?"})).await.unwrap();
    assert_eq!(refused["code"], "unknown_type");
    gateway
        .metric("chat_gateway_answers_total{outcome=\"done\"} 1")
        .await;
    gateway
        .metric("chat_gateway_answers_total{outcome=\"unavailable\"} 1")
        .await;
    gateway.admin("/metrics").await.1
}

#[tokio::test]
async fn every_metric_and_label_of_the_dashboard_and_the_rules_is_exposed() {
    let used = looked_at("chat-gateway", &OWN, &metrics_after_one_of_each().await);
    assert!(used.len() > 5, "{used:?}");
}

#[tokio::test]
async fn every_metric_has_its_row_in_the_docs_and_no_other_has() {
    assert_eq!(
        declared(&metrics_after_one_of_each().await),
        documented(&OWN)
    );
}

#[tokio::test]
async fn what_is_refused_over_http_is_counted_by_its_code() {
    let gateway = Gateway::start().await;
    let unknown = "/api/v1/conversations/0198f0aa-0000-7000-8000-000000000000";
    assert_eq!(gateway.get(unknown).await.status(), 404);
    gateway
        .metric("chat_gateway_refusals_total{code=\"not_found\"} 1")
        .await;
}

#[tokio::test]
async fn without_a_bus_nobody_is_called_for_one() {
    Gateway::start().await.metric("chat_gateway_bus_up 1").await;
}

#[tokio::test]
async fn what_an_alert_counts_begins_at_0() {
    let gateway = Gateway::start().await;
    for sample in [
        "chat_gateway_refusals_total{code=\"storage_unavailable\"} 0",
        "chat_gateway_upgrades_refused_total{reason=\"full\"} 0",
        "chat_gateway_connections_refused_total{reason=\"too_many_connections\"} 0",
    ] {
        gateway.metric(sample).await;
    }
}
