//! The end: not ready, no new connections, running answers finish, the rest are told.

use std::time::Duration;

use testkit::fake_llama::{FakeLlama, Script};
use tokio::net::TcpStream;

use crate::{Proxy, envelope, last_error, question, until};

#[tokio::test]
async fn running_answers_end_while_new_callers_are_turned_away() {
    let llama = FakeLlama::start().await;
    let mut proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let running = proxy.ask(&question(true)).await;
    proxy.begin_shutdown();
    until("the drain", async || proxy.ready().await.1.contains("shutting down")).await;
    until("the listener to close", async || TcpStream::connect(proxy.address).await.is_err()).await;
    llama.release();
    assert!(running.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    proxy.ended().await;
}

#[tokio::test]
async fn answers_longer_than_the_drain_end_with_an_error_event() {
    let llama = FakeLlama::start().await;
    llama.set_slots(2);
    let mut proxy = Proxy::with(&llama, |config| config.drain = Duration::from_millis(50)).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let streamed = proxy.ask(&question(true)).await;
    let whole = proxy.chat(&question(false)).send();
    let stop = async {
        llama.request_started(1).await;
        proxy.begin_shutdown();
    };
    let (whole, ()) = tokio::join!(whole, stop);
    let whole = whole.unwrap();
    let expected =
        envelope("llm-proxy", "server_error", "shutting_down", "llm-proxy is shutting down: try again");
    assert_eq!(whole.status(), 503);
    assert_eq!(whole.json::<serde_json::Value>().await.unwrap(), expected);
    assert_eq!(last_error(&streamed.text().await.unwrap()), expected);
    llama.client_left(0).await;
    proxy.ended().await;
}
