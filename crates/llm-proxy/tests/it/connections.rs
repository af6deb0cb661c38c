//! Connections to upstreams: which are kept, for how long, and that none that was closed fails a request.

use std::time::Duration;

use serde_json::json;
use testkit::fake_llama::FakeLlama;

use crate::routes::{post, with_all_routes};

#[tokio::test]
async fn a_connection_that_was_closed_while_it_waited_fails_no_request() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    for n in 0..200 {
        let path = if n % 2 == 0 {
            "/v1/embeddings"
        } else {
            "/v1/chat/completions"
        };
        let body = json!({"model": "fake-model", "input": "hi", "messages": [{"role": "user", "content": "hi"}]});
        let response = post(&proxy, path, &body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        llama.close_idle();
    }
    assert_eq!(llama.requests().len(), 200);
}

#[tokio::test]
async fn a_plain_answers_connection_is_used_again_and_a_streams_never() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    let ask = async |path: &str| {
        let body = json!({"model": "fake-model", "input": "hi", "messages": [{"role": "user", "content": "hi"}]});
        let text = post(&proxy, path, &body).send().await.unwrap().text();
        text.await.unwrap();
        llama.requests().last().unwrap().peer.port()
    };
    let kept = ask("/v1/embeddings").await;
    assert_eq!(ask("/v1/embeddings").await, kept);
    let stream = ask("/v1/chat/completions").await;
    assert_ne!(stream, kept);
    assert_eq!(ask("/v1/embeddings").await, kept);
    assert_ne!(ask("/v1/chat/completions").await, stream);
    // llama-server closes it after five seconds; the wait is the thing under test.
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    assert_ne!(ask("/v1/embeddings").await, kept);
}
