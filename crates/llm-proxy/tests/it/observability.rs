//! That what Prometheus and Grafana are told to look at is there, against a running llm-proxy after a request of each kind.

use serde_json::json;
use testkit::fake_llama::{FakeLlama, Script};
use testkit::observability::{declared, documented, looked_at};

use crate::{MODEL, Proxy, question};

/// What the names of llm-proxy's metrics begin with.
const OWN: [&str; 2] = ["llm_proxy_", "gen_ai_"];

/// A whole answer, a broken one, one that was left, and refusals before and after the key.
async fn one_of_each(llama: &FakeLlama, proxy: &Proxy) {
    llama.script_once(Script::tokens(["a", "b", "c"]).cached(3));
    proxy.ask(&question(true)).await.text().await.unwrap();
    llama.script_once(Script::tokens(["a"]).error_after(1, "no"));
    proxy.ask(&question(true)).await.text().await.unwrap();
    proxy.error(&json!({"model": MODEL, "messages": []})).await;
    let stranger = proxy
        .http
        .get(format!("http://{}/v1/models", proxy.address));
    assert_eq!(stranger.send().await.unwrap().status(), 401);
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let mut left = proxy.ask(&question(true)).await;
    while !String::from_utf8_lossy(&left.chunk().await.unwrap().unwrap()).contains(r#""a""#) {}
    drop(left);
    proxy
        .until_metric(r#"llm_proxy_cancellations_total{phase="streaming"} 1"#)
        .await;
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn every_metric_and_label_of_the_dashboard_and_the_rules_is_exposed() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    one_of_each(&llama, &proxy).await;
    let used = looked_at("llm-proxy", &OWN, &proxy.metrics().await);
    assert!(used.len() > 15, "{used:?}");
}

#[tokio::test]
async fn every_metric_has_its_row_in_the_docs_and_no_other_has() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    one_of_each(&llama, &proxy).await;
    let mut declared = declared(&proxy.metrics().await);
    // Only a change of a keys file brings it, and there is none here.
    declared.insert("llm_proxy_keys_reloads_total".to_owned());
    assert_eq!(declared, documented(&OWN));
}
