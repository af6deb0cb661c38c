//! When the browser goes: the answer stops and the slot is free, whatever was going on.

use std::time::Duration;

use serde_json::json;
use testkit::fake_llama::Script;
use testkit::ws_client::WsClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::gateway::{Gateway, delta, say};

#[tokio::test]
async fn a_socket_that_closes_or_breaks_mid_answer_frees_the_slot() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    for (number, abrupt) in [false, true].into_iter().enumerate() {
        let mut socket = gateway.chat().await;
        say(&mut socket, "Hello").await;
        assert_eq!(socket.next_json().await.unwrap(), delta("a"));
        leave(socket, abrupt).await;
        gateway.llama.client_left(number).await;
    }
    gateway
        .metric("chat_gateway_answers_total{outcome=\"closed\"} 2")
        .await;
    gateway.metric("chat_gateway_sockets_open 0").await;
}

#[tokio::test]
async fn a_socket_that_closes_or_breaks_during_prefill_frees_the_slot() {
    let gateway = Gateway::start().await;
    let scripts = [
        Script::tokens(["a"]).stall_before_headers(),
        Script::tokens(["a"]).stall_after(0),
    ];
    let ways = scripts
        .iter()
        .flat_map(|script| [(script, false), (script, true)]);
    for (number, (script, abrupt)) in ways.enumerate() {
        gateway.llama.script_once(script.clone());
        let mut socket = gateway.chat().await;
        say(&mut socket, "Hello").await;
        gateway.llama.request_started(number).await;
        leave(socket, abrupt).await;
        gateway.llama.client_left(number).await;
    }
}

async fn leave(socket: WsClient, abrupt: bool) {
    if abrupt {
        socket.abort();
    } else {
        socket.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_takes_nothing_still_loses_its_slot_when_it_goes() {
    let gateway = Gateway::start().await;
    let piece = "x".repeat(16 * 1024);
    gateway
        .llama
        .script(Script::tokens([&*piece; 60]).stall_after(60));
    let mut socket = gateway.chat().await;
    say(&mut socket, "Hello").await;
    gateway.llama.request_started(0).await;
    socket.abort();
    gateway.llama.client_left(0).await;
}

/// A browser that was cut off the network: its TCP connection stays, and nobody is behind it.
async fn half_open(gateway: &Gateway) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(gateway.public).await.unwrap();
    let request = format!(
        "GET /api/v1/ws/chat HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        gateway.public
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    stream
}

/// A masked text frame; the mask is zero.
fn frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 126);
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_dropped_and_its_slot_is_free() {
    let gateway = Gateway::start().await;
    gateway.llama.script(Script::tokens(["a"]).stall_after(0));
    let mut stream = half_open(&gateway).await;
    stream
        .write_all(&frame(r#"{"content":"Hello"}"#))
        .await
        .unwrap();
    gateway.llama.request_started(0).await;
    tokio::time::pause();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(36), stream.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "still open after a ping and its time");
    assert_eq!(rest, [0x89, 0], "one ping, then the end");
    tokio::time::resume();
    gateway.llama.client_left(0).await;
}

#[tokio::test]
async fn a_peer_that_answers_pings_stays() {
    let gateway = Gateway::start().await;
    let mut socket = gateway.chat().await;
    tokio::time::pause();
    let quiet = tokio::time::timeout(Duration::from_secs(55), socket.next_json()).await;
    assert!(quiet.is_err(), "the socket ended: {quiet:?}");
    tokio::time::resume();
    socket.send_json(&json!({})).await.unwrap();
    assert_eq!(socket.next_json().await.unwrap()["type"], "error");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_for_20_s_is_dropped() {
    let gateway = Gateway::start().await;
    let piece = "x".repeat(16 * 1024);
    gateway.llama.script(Script::tokens([&*piece; 60]));
    let mut stream = half_open(&gateway).await;
    for _ in 0..9 {
        stream
            .write_all(&frame(r#"{"content":"Hello"}"#))
            .await
            .unwrap();
    }
    gateway.llama.request_started(0).await;
    tokio::time::pause();
    let mut seconds = 0;
    // Pongs keep it from being taken for gone; what it does not do is read.
    while stream.try_write(&[0x8a, 0x80, 0, 0, 0, 0]).is_ok() {
        // Far more than 20, because the clock also runs ahead while the kernel's buffers fill.
        assert!(seconds < 1000, "still open");
        seconds += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(seconds >= 20, "dropped after {seconds} s");
    tokio::time::resume();
    gateway.metric("chat_gateway_sockets_open 0").await;
    assert_eq!(gateway.llama.running(), 0);
}
