//! Requests that kill engines: never tried elsewhere, refused after the second death.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};

use crate::fleet::{before_all, is_up};
use crate::{Proxy, UPSTREAM_KEY, envelope, question, until};

/// A request that a llama-server dies of.
fn attack(n: usize, stream: bool) -> Value {
    let mut body = question(stream);
    body["messages"][0]["content"] = json!(format!("deadly {n}"));
    body
}

/// The 400 that ends it.
fn refused() -> (u16, Value) {
    let message =
        "a model server died twice while it worked on this request: it is refused for ten minutes";
    let kind = "invalid_request_error";
    (
        400,
        envelope("llm-proxy", kind, "request_quarantined", message),
    )
}

#[tokio::test]
async fn a_request_that_kills_two_engines_kills_no_third() {
    for stream in [true, false] {
        let llamas = [
            FakeLlama::start().await,
            FakeLlama::start().await,
            FakeLlama::start().await,
        ];
        llamas.iter().for_each(|llama| llama.dies_of("deadly"));
        let proxy = before_all(&llamas.each_ref(), |_| {}).await;
        for deaths in 1..=2 {
            let (status, error) = proxy.error(&attack(0, stream)).await;
            assert_eq!(
                (status, &error["error"]["code"]),
                (502, &json!("upstream_disconnected"))
            );
            assert_eq!(
                llamas.iter().filter(|llama| llama.is_dead()).count(),
                deaths
            );
        }
        for _ in 0..5 {
            assert_eq!(proxy.error(&attack(0, stream)).await, refused());
        }
        assert_eq!(llamas.iter().filter(|llama| llama.is_dead()).count(), 2);
        // The engine that is left serves everybody else.
        assert_eq!(proxy.ask(&question(stream)).await.status(), 200);
        let metrics = proxy.metrics().await;
        assert!(
            metrics.contains("llm_proxy_requests_quarantined_total 1"),
            "{metrics}"
        );
        assert!(
            metrics.contains(r#"outcome="request_quarantined""#),
            "{metrics}"
        );
        let status = proxy
            .http
            .get(format!("http://{}/status", proxy.admin))
            .send();
        let status: Value = status.await.unwrap().json().await.unwrap();
        assert_eq!(status["quarantined"], 1);
    }
}

#[tokio::test]
async fn an_engine_that_comes_back_dies_twice_of_a_request_and_no_third_time() {
    let mut llama = FakeLlama::start().await;
    llama.dies_of("deadly");
    let proxy = Proxy::before(&llama).await;
    for _ in 0..2 {
        let (status, _) = proxy.error(&attack(0, true)).await;
        assert_eq!(status, 502);
        assert!(llama.is_dead());
        llama = FakeLlama::start_at(llama.stop().await).await;
        llama.dies_of("deadly");
        llama.require_key(UPSTREAM_KEY);
        proxy.until_ready().await;
    }
    for _ in 0..5 {
        assert_eq!(proxy.error(&attack(0, true)).await, refused());
    }
    assert!(!llama.is_dead());
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn a_request_that_waits_while_its_like_kill_engines_is_not_sent() {
    let llamas = [
        FakeLlama::start().await,
        FakeLlama::start().await,
        FakeLlama::start().await,
    ];
    for llama in &llamas {
        llama.dies_of("deadly");
        llama.set_slots(1);
    }
    let proxy = before_all(&llamas.each_ref(), |_| {}).await;
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(proxy.ask_stalled(&llamas[0]).await);
        llamas
            .iter()
            .for_each(|llama| llama.script(Script::tokens(["a", "b"]).stall_after(1)));
    }
    let body = attack(0, false);
    let waiting = futures_util::future::join_all((0..6).map(|_| proxy.error(&body)));
    let release = async {
        proxy.until_metric("llm_proxy_queue_depth 6").await;
        // One after the other: two die, and the third finds a request that is refused.
        for llama in &llamas {
            llama.release();
            let gone = is_up(&llama.url(), false);
            let refused = r#"outcome="request_quarantined""#;
            until("what waited to be sent or refused", async || {
                let metrics = proxy.metrics().await;
                metrics.contains(&gone) || metrics.contains(refused)
            })
            .await;
        }
    };
    let (errors, ()) = tokio::join!(waiting, release);
    assert_eq!(llamas.iter().filter(|llama| llama.is_dead()).count(), 2);
    assert!(errors.contains(&refused()), "{errors:?}");
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_engine_dies_is_remembered_all_the_same() {
    let mut llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| config.probe_up = Duration::from_millis(50)).await;
    for _ in 0..2 {
        llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
        let running = proxy.ask(&attack(0, true)).await;
        proxy.until_metric("llm_proxy_requests_in_flight 1").await;
        drop(running);
        proxy.until_metric("llm_proxy_requests_in_flight 0").await;
        let url = llama.url();
        let address = llama.stop().await;
        proxy.until_metric(&is_up(&url, false)).await;
        llama = FakeLlama::start_at(address).await;
        llama.require_key(UPSTREAM_KEY);
        proxy.until_ready().await;
    }
    assert_eq!(proxy.error(&attack(0, true)).await, refused());
    assert_eq!(proxy.ask(&attack(1, true)).await.status(), 200);
}

#[tokio::test]
async fn a_connection_that_breaks_while_its_engine_lives_says_nothing_of_the_request() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    for script in [
        Script::tokens(["a"]).reset_before_headers(),
        Script::tokens(["a", "b"]).reset_after(1),
    ] {
        llama.script(script);
        for _ in 0..4 {
            assert_eq!(proxy.error(&attack(0, false)).await.0, 502);
        }
    }
    llama.script(Script::tokens(["a"]));
    assert_eq!(proxy.ask(&attack(0, false)).await.status(), 200);
}
