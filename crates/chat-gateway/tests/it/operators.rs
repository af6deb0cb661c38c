//! What operators see: liveness, readiness with its reason, and the numbers.

use testkit::fake_llama::FakeLlama;

use crate::gateway::{Gateway, KEY, done, error, say};

#[tokio::test]
async fn ready_means_that_upstream_answered_with_our_key() {
    let gateway = Gateway::start().await;
    assert_eq!(gateway.readiness(200).await, "ready\n");
    assert_eq!(gateway.admin("/livez").await, (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn a_refused_key_is_named_as_the_reason() {
    let llama = FakeLlama::start().await;
    llama.require_key("another key");
    let gateway = Gateway::before(llama, &[]).await;
    let refused = "not ready: llm-proxy refuses our key (401): both need the same LLM_API_KEY\n";
    while gateway.readiness(503).await != refused {
        tokio::task::yield_now().await;
    }
    gateway.llama.require_key(KEY);
    gateway.readiness(200).await;
    assert_eq!(gateway.admin("/livez").await.0, 200);
}

#[tokio::test]
async fn an_upstream_that_loads_or_is_away_is_not_ready_until_it_is() {
    let llama = FakeLlama::start().await;
    llama.set_loading(true);
    let Gateway {
        llama,
        shutdown,
        traces,
        public,
        admin,
        data,
    } = Gateway::before(llama, &[]).await;
    let address = llama.stop().await;
    let llama = FakeLlama::start_at(address).await;
    let gateway = Gateway {
        llama,
        shutdown,
        traces,
        public,
        admin,
        data,
    };
    gateway.readiness(200).await;
}

#[tokio::test]
async fn the_admin_routes_are_not_public_and_the_numbers_count() {
    let gateway = Gateway::start().await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(gateway.get(path).await.status(), 404, "{path}");
    }
    let mut socket = gateway.chat().await;
    say(&mut socket, "Hello").await;
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    for line in [
        "chat_gateway_sockets_open 1",
        "chat_gateway_deltas_total 1",
        "chat_gateway_answers_total{outcome=\"done\"} 1",
        "chat_gateway_first_token_seconds_count 1",
    ] {
        gateway.metric(line).await;
    }
}

#[tokio::test]
async fn a_model_that_upstream_does_not_serve_is_not_ready_and_both_are_named() {
    let llama = FakeLlama::start().await;
    llama.set_alias("another-model");
    let gateway = Gateway::before(llama, &[]).await;
    let wrong = "not ready: LLM_MODEL is `fake-model`, but llm-proxy serves `another-model`: both need the same LLM_MODEL\n";
    while gateway.readiness(503).await != wrong {
        tokio::task::yield_now().await;
    }
    gateway.llama.set_alias("fake-model");
    gateway.readiness(200).await;
}

#[tokio::test]
async fn an_address_without_v1_is_named_as_the_reason() {
    let llama = FakeLlama::start().await;
    let base_url = llama.url();
    let gateway = Gateway::before(llama, &[("LLM_BASE_URL", &base_url)]).await;
    let lacks = "not ready: LLM_BASE_URL lacks /v1: it must be http://HOST:PORT/v1\n";
    while gateway.readiness(503).await != lacks {
        tokio::task::yield_now().await;
    }
    let mut socket = gateway.chat().await;
    say(&mut socket, "Hello").await;
    let lacks = "the gateway's address of the model service lacks /v1; tell the operator";
    assert_eq!(socket.next_json().await.unwrap(), error(lacks));
}
