//! The opening of a socket of version 2, and frames that mean nothing.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::v2_client::V2Client;
use testkit::ws_client::WsClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::v2_tools::open;

const V2: (&str, &str) = ("sec-websocket-protocol", "chat.v2");

/// The next frame but news of the model, which come by themselves.
async fn reply(chat: &mut V2Client) -> Value {
    loop {
        let frame = chat.next().await.unwrap();
        if frame["type"] != "model" {
            return frame;
        }
    }
}

/// The longest of fifteen round trips.
async fn slowest_pong(chat: &mut V2Client) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..15 {
        let began = Instant::now();
        let ping = json!({"type": "ping"});
        chat.socket.send_json(&ping).await.unwrap();
        assert_eq!(reply(chat).await["type"], "pong");
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

async fn offering(gateway: &Gateway) -> WsClient {
    WsClient::connect_with(&gateway.chat_url(), &[V2])
        .await
        .unwrap()
}

#[tokio::test]
async fn without_a_hello_the_socket_is_closed_after_ten_seconds() {
    let gateway = Gateway::start().await;
    let mut silent = offering(&gateway).await;
    let mut half = tokio::net::TcpStream::connect(gateway.public)
        .await
        .unwrap();
    let upgrade = format!(
        "GET /api/v1/ws/chat HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: chat.v2\r\n\r\n",
        gateway.public
    );
    // Half of a frame, and then nothing more.
    half.write_all(upgrade.as_bytes()).await.unwrap();
    half.write_all(&[0x81, 0xfe, 0x40, 0x00, 1, 2, 3, 4, 5])
        .await
        .unwrap();
    let began = Instant::now();
    let half_ends = async {
        let mut bytes = Vec::new();
        half.read_to_end(&mut bytes).await.ok();
        let code = 4408_u16.to_be_bytes();
        assert!(bytes.windows(2).any(|pair| pair == code));
    };
    let (code, ()) = tokio::join!(silent.wait_close(), half_ends);
    assert_eq!(code.unwrap(), 4408);
    let took = began.elapsed();
    let expected = Duration::from_millis(9_900)..Duration::from_secs(12);
    assert!(expected.contains(&took), "{took:?}");
    gateway.metric("chat_gateway_sockets_open 0").await;
}

#[tokio::test]
async fn hello_opens_version_2_with_and_without_the_subprotocol() {
    let gateway = Gateway::start().await;
    for mut socket in [gateway.chat().await, offering(&gateway).await] {
        let hello = json!({"type": "hello", "version": 2, "locale": "zh-CN", "of": "later"});
        socket.send_json(&hello).await.unwrap();
        let welcome = socket.next_json().await.unwrap();
        assert_eq!(welcome["type"], "welcome");
        assert_eq!(welcome["version"], 2);
        assert_eq!(welcome["heartbeat_seconds"], 25);
        socket.send_json(&json!({"type": "ping"})).await.unwrap();
        assert_eq!(socket.next_json().await.unwrap(), json!({"type": "pong"}));
    }
}

#[tokio::test]
async fn another_version_is_named_and_closed() {
    let gateway = Gateway::start().await;
    for mut socket in [gateway.chat().await, offering(&gateway).await] {
        let hello = json!({"type": "hello", "version": 3});
        socket.send_json(&hello).await.unwrap();
        let error = socket.next_json().await.unwrap();
        assert_eq!(error["code"], "unsupported_version");
        assert_eq!(socket.wait_close().await.unwrap(), 4406);
    }
}

#[tokio::test]
async fn with_the_subprotocol_anything_before_hello_closes_the_socket() {
    let gateway = Gateway::start().await;
    let large = json!({"type": "hello", "version": 2, "locale": "x".repeat(9000)}).to_string();
    for (frame, code) in [
        (r#"{"type":"ping"}"#, 4408),
        (r#"{"type":"send","id":"a","content":"hi"}"#, 4408),
        (r#"{"content":"hi"}"#, 4400),
        (r#"{"type":"hello"}"#, 4400),
        ("nonsense", 4400),
        (&large, 4400),
    ] {
        let mut socket = offering(&gateway).await;
        socket.send_text(frame).await.unwrap();
        assert_eq!(socket.next_json().await.unwrap()["type"], "error");
        assert_eq!(socket.wait_close().await.unwrap(), code, "{frame:.40}");
    }
}

#[tokio::test]
async fn a_ticket_that_is_none_does_not_sign_in() {
    let gateway = Gateway::start().await;
    let mut socket = offering(&gateway).await;
    let hello = json!({"type": "hello", "version": 2, "ticket": "made up"});
    socket.send_json(&hello).await.unwrap();
    let error = socket.next_json().await.unwrap();
    assert_eq!(error["code"], "unauthenticated");
    assert_eq!(socket.wait_close().await.unwrap(), 4401);
}

#[tokio::test]
async fn frames_that_mean_nothing_are_answered_and_the_tenth_closes() {
    let gateway = Gateway::start().await;
    let mut chat = open(&gateway).await;
    let frames = [
        (r#"{"type":"sing","id":"1"}"#, "unknown_type", Some("1")),
        (r#"{"id":"2"}"#, "bad_request", Some("2")),
        (r#"["send","3"]"#, "bad_request", None),
        ("nonsense", "bad_request", None),
        (r#"{"type":"send","id":"5"}"#, "bad_request", Some("5")),
        (r#"{"type":"send","content":"x"}"#, "bad_request", None),
        (
            r#"{"type":"stop","id":"7","message":7}"#,
            "bad_request",
            Some("7"),
        ),
        (r#"{"type":"watch","id":"8"}"#, "bad_request", Some("8")),
        (
            r#"{"type":"send","id":"9","content":[{"type":"song"}]}"#,
            "bad_request",
            Some("9"),
        ),
        (r#"{"type":7}"#, "bad_request", None),
    ];
    for (frame, code, re) in frames {
        chat.socket.send_text(frame).await.unwrap();
        let error = reply(&mut chat).await;
        assert_eq!(error["type"], "error", "{frame}");
        assert_eq!(error["code"], code, "{frame}");
        assert_eq!(error["re"].as_str(), re, "{frame}");
    }
    assert_eq!(chat.socket.wait_close().await.unwrap(), 4400);
}

#[tokio::test]
async fn a_burst_of_frames_is_answered_in_order_twenty_in_a_second() {
    let gateway = Gateway::start().await;
    let mut chat = open(&gateway).await;
    let unknown = uuid::Uuid::now_v7().to_string();
    let began = Instant::now();
    for n in 0..30 {
        let frame = json!({"type": "stop", "id": n.to_string(), "message": unknown});
        chat.socket.send_json(&frame).await.unwrap();
    }
    for n in 0..30 {
        let reply = reply(&mut chat).await;
        assert_eq!(reply["re"], n.to_string());
        assert_eq!(reply["code"], "not_found");
    }
    // Ten more than at once, and one is earned every 50 ms.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(450), "{took:?}");
}

#[tokio::test]
async fn a_flood_of_frames_disturbs_no_other_socket() {
    let gateway = Gateway::start().await;
    let mut calm = open(&gateway).await;
    let mut wild = open(&gateway).await;
    let flood = async {
        for _ in 0..1_000 {
            let frame = json!({"type": "ping"});
            wild.socket.send_json(&frame).await.unwrap();
        }
    };
    let ((), slowest) = tokio::join!(flood, slowest_pong(&mut calm));
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    let slowest = slowest_pong(&mut open(&gateway).await).await;
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    // It is still served, a few at a time.
    assert_eq!(reply(&mut wild).await["type"], "pong");
}

#[tokio::test]
async fn control_frames_and_empty_fragments_cost_no_other_socket_its_answers() {
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let gateway = Gateway::start().await;
    let mut calm = open(&gateway).await;
    let mut wild = open(&gateway).await;
    let flood = async {
        for _ in 0..5_000 {
            wild.socket
                .send(Message::Ping(vec![].into()))
                .await
                .unwrap();
        }
        let begin = Frame::message(vec![], OpCode::Data(Data::Text), false);
        wild.socket.send(Message::Frame(begin)).await.unwrap();
        for _ in 0..20_000 {
            let more = Frame::message(vec![], OpCode::Data(Data::Continue), false);
            wild.socket.send(Message::Frame(more)).await.unwrap();
        }
        let text = json!({"type": "ping"}).to_string();
        let last = Frame::message(text.into_bytes(), OpCode::Data(Data::Continue), true);
        wild.socket.send(Message::Frame(last)).await.unwrap();
        let pong = reply(&mut wild).await;
        assert_eq!(pong["type"], "pong");
    };
    let ((), slowest) = tokio::join!(flood, slowest_pong(&mut calm));
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
}
