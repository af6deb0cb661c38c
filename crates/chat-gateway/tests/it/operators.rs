//! What operators see: liveness, readiness with its reason, and the numbers.

use testkit::fake_llama::FakeLlama;

use crate::gateway::{Gateway, KEY, done, say};

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
    } = Gateway::before(llama, &[]).await;
    let address = llama.stop().await;
    let llama = FakeLlama::start_at(address).await;
    let gateway = Gateway {
        llama,
        shutdown,
        traces,
        public,
        admin,
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
