//! The end: not ready, no new connections, running answers finish, the rest are told.

use std::time::Duration;

use testkit::fake_llama::{FakeLlama, Script};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Proxy, envelope, last_error, question, until};

#[tokio::test]
async fn running_answers_end_while_new_callers_are_turned_away() {
    let llama = FakeLlama::start().await;
    let mut proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let running = proxy.ask(&question(true)).await;
    proxy.begin_shutdown();
    until("the drain", async || {
        proxy.ready().await.1.contains("shutting down")
    })
    .await;
    until("the listener to close", async || {
        TcpStream::connect(proxy.address).await.is_err()
    })
    .await;
    llama.release();
    assert!(running.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    proxy.ended().await;
}

/// The answer to a look at the health on a connection that is kept; `None` when it was closed before.
async fn health(connection: &mut TcpStream) -> Option<String> {
    connection
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        connection
            .read_buf(&mut answer)
            .await
            .ok()
            .filter(|n| *n > 0)?;
    }
    String::from_utf8(answer).ok()
}

#[tokio::test]
async fn the_health_is_bad_as_soon_as_the_drain_begins() {
    let llama = FakeLlama::start().await;
    // A connection is kept for a second then; a busy machine may need more attempts than one.
    for _ in 0..10 {
        let mut proxy = Proxy::before(&llama).await;
        llama.script(Script::tokens(["a", "b"]).stall_after(1));
        let _running = proxy.ask(&question(true)).await;
        let mut kept = TcpStream::connect(proxy.address).await.unwrap();
        assert!(
            health(&mut kept)
                .await
                .unwrap()
                .starts_with("HTTP/1.1 200 OK\r\n")
        );
        proxy.begin_shutdown();
        until("the drain", async || {
            proxy.ready().await.1.contains("shutting down")
        })
        .await;
        let Some(answer) = health(&mut kept).await else {
            continue;
        };
        assert!(
            answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{answer}"
        );
        assert!(answer.contains(r#""code":"shutting_down""#), "{answer}");
        return;
    }
    panic!("no connection was kept");
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
    let expected = envelope(
        "llm-proxy",
        "server_error",
        "shutting_down",
        "llm-proxy is shutting down: try again",
    );
    assert_eq!(whole.status(), 503);
    assert_eq!(whole.json::<serde_json::Value>().await.unwrap(), expected);
    assert_eq!(last_error(&streamed.text().await.unwrap()), expected);
    llama.client_left(0).await;
    proxy.ended().await;
}
