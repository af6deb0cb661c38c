//! The five deadlines, each with its own code, counting tokens and not bytes. (The queue's is in `queueing`.)

use std::time::Duration;

use serde_json::json;
use testkit::fake_llama::{FakeLlama, Script};
use tokio::net::{TcpSocket, TcpStream};

use crate::{Proxy, envelope, last_error, question};

const SHORT: Duration = Duration::from_millis(60);
const PING: Duration = Duration::from_millis(10);

#[tokio::test]
async fn a_connection_that_is_not_accepted_is_a_connect_timeout() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| config.deadlines.connect = SHORT).await;
    let address = llama.stop().await;
    // A full backlog: the kernel leaves further connections without an answer.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let _never_accepts = socket.listen(0).unwrap();
    let _fills = TcpStream::connect(address).await.unwrap();
    let message = "the model server did not accept a connection in time";
    let expected = (504, envelope("llm-proxy", "server_error", "connect_timeout", message));
    assert_eq!(proxy.error(&question(true)).await, expected);
}

#[tokio::test]
async fn no_header_from_the_upstream_is_a_first_token_timeout() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.deadlines.first_token = SHORT * 5;
        config.deadlines.first_token_per_prompt_token = Duration::ZERO;
    })
    .await;
    llama.script(Script::tokens(["a"]).stall_before_headers());
    for stream in [true, false] {
        let (status, error) = proxy.error(&question(stream)).await;
        assert_eq!((status, &error["error"]["code"]), (504, &json!("first_token_timeout")));
    }
    llama.client_left(1).await;
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn pings_are_not_a_first_token() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.deadlines.first_token = SHORT * 5;
        config.deadlines.first_token_per_prompt_token = Duration::ZERO;
    })
    .await;
    llama.script(Script::tokens(["a"]).stall_after(0).pings(PING));
    let text = proxy.ask(&question(true)).await.text().await.unwrap();
    let message = "the first token did not come in time";
    assert_eq!(last_error(&text), envelope("llm-proxy", "server_error", "first_token_timeout", message));
    assert!(text.contains(":\n\n"), "the pings passed: {text}");
    assert_eq!(proxy.error(&question(false)).await.0, 504);
    llama.client_left(0).await;
}

#[tokio::test]
async fn a_longer_prompt_has_longer_for_its_first_token() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.deadlines.first_token = Duration::ZERO;
        config.deadlines.first_token_per_prompt_token = Duration::from_millis(5);
    })
    .await;
    llama.script(Script::tokens(["a"]).prefill(Duration::from_millis(900)));
    let mut long = question(true);
    long["messages"][0]["content"] = json!("word ".repeat(1000));
    assert!(proxy.ask(&long).await.text().await.unwrap().contains("[DONE]"));
    let short = proxy.ask(&question(true)).await.text().await.unwrap();
    assert_eq!(last_error(&short)["error"]["code"], "first_token_timeout");
}

#[tokio::test]
async fn pings_are_not_a_next_token() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| config.deadlines.between_tokens = SHORT).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1).pings(PING));
    let asked = async { proxy.ask(&question(true)).await.text().await.unwrap() };
    // The deadline counts from the token, not from the next keep-alive.
    let text = tokio::time::timeout(Duration::from_secs(5), asked).await.unwrap();
    let message = "the next token did not come in time";
    assert_eq!(last_error(&text), envelope("llm-proxy", "server_error", "token_timeout", message));
    let (status, error) = proxy.error(&question(false)).await;
    assert_eq!((status, &error["error"]["code"]), (504, &json!("token_timeout")));
    llama.client_left(1).await;
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn an_answer_without_end_is_ended_by_the_total_deadline() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| config.deadlines.total = SHORT * 3).await;
    llama.script(Script::tokens(vec!["a"; 10_000]).every(PING));
    let text = proxy.ask(&question(true)).await.text().await.unwrap();
    assert!(text.contains(r#""content":"a""#));
    assert_eq!(last_error(&text)["error"]["code"], "total_timeout");
    llama.client_left(0).await;
}
