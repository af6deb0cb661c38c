//! Bytes that break RFC 6455, and peers that flood or fall silent in mid-frame, on sockets of both versions.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::fake_llama::Script;
use testkit::v2_client::V2Client;

use crate::gateway::{Gateway, done, say};
use crate::raw::{CLOSE, ENDS, GOES_ON, PING, PONG, RawSocket, TEXT, TEXT_BEGINS, V2, frame};

const HELLO: &[u8] = br#"{"type":"hello","version":2}"#;

/// What a peer sends, and the code with which it is closed.
type Case = (&'static str, Vec<u8>, u16);

async fn are_closed(cases: &[Case]) {
    let gateway = Gateway::start().await;
    for fields in ["", V2] {
        for (name, bytes, code) in cases {
            let mut socket = RawSocket::open(&gateway, fields).await;
            socket.send(bytes).await;
            let closed = socket.close_code().await;
            assert_eq!((*name, closed), (*name, Some(*code)), "{fields:?}");
        }
    }
    gateway.metric("chat_gateway_sockets_open 0").await;
}

#[tokio::test]
async fn a_frame_that_breaks_the_protocol_is_closed_with_1002() {
    let long = [&[PING, 0xfe, 0, 126][..], &[0; 4 + 126]].concat();
    let fragment = [frame(0x09, b"ping"), frame(ENDS, b"")].concat();
    let inside = [frame(TEXT_BEGINS, b"{"), frame(TEXT, b"{}")].concat();
    are_closed(&[
        ("a frame without a mask", vec![TEXT, 2, b'{', b'}'], 1002),
        ("opcode 3", frame(0x83, b""), 1002),
        ("opcode 11", frame(0x8b, b""), 1002),
        (
            "a reserved bit without an extension",
            frame(0xc1, b"{}"),
            1002,
        ),
        ("a ping of 126 bytes", long, 1002),
        ("a ping in parts", fragment, 1002),
        ("a part of nothing", frame(ENDS, b"{}"), 1002),
        ("text inside text", inside, 1002),
        ("a close of one byte", frame(CLOSE, b"x"), 1002),
        (
            "a close with code 999",
            frame(CLOSE, &999_u16.to_be_bytes()),
            1002,
        ),
        (
            "a close with code 1005",
            frame(CLOSE, &1005_u16.to_be_bytes()),
            1002,
        ),
    ])
    .await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_closed_with_1007_at_its_first_wrong_byte() {
    let character = "芝".as_bytes();
    let split = [frame(TEXT_BEGINS, &character[..2]), frame(ENDS, b"}")].concat();
    // The message never ends: the wrong byte alone decides.
    let unended = [frame(TEXT_BEGINS, b"{"), frame(GOES_ON, b"\xff")].concat();
    let reason = [&1000_u16.to_be_bytes()[..], b"\xff"].concat();
    are_closed(&[
        ("a wrong byte", frame(TEXT, b"{\xff}"), 1007),
        ("a surrogate", frame(TEXT, b"\xed\xa0\x80"), 1007),
        ("a character that is cut", split, 1007),
        ("a wrong byte in a message that goes on", unended, 1007),
        ("a reason that is no text", frame(CLOSE, &reason), 1007),
    ])
    .await;
}

#[tokio::test]
async fn a_length_beyond_the_cap_is_closed_with_1009_before_a_byte_of_it_comes() {
    let declared = |length: u64| [&[TEXT, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
    are_closed(&[
        ("128 KiB and one byte", declared(128 * 1024 + 1), 1009),
        ("four exabytes", declared(1 << 62), 1009),
        ("the highest bit", declared(1 << 63), 1009),
        ("all bits", declared(u64::MAX), 1009),
    ])
    .await;
}

#[tokio::test]
async fn a_close_is_answered_with_its_code_and_nothing_after_it_counts() {
    let gateway = Gateway::start().await;
    for code in [1000_u16, 1001, 3000, 4999] {
        let mut socket = RawSocket::open(&gateway, "").await;
        let close = frame(CLOSE, &code.to_be_bytes());
        let message = frame(TEXT, br#"{"content":"too late"}"#);
        socket
            .send(&[&close[..], &message, &close, &close].concat())
            .await;
        let answer = socket.next().await;
        assert_eq!(answer, Some((CLOSE, code.to_be_bytes().to_vec())));
        assert_eq!(socket.next().await, None);
    }
    gateway.metric("chat_gateway_sockets_open 0").await;
    assert_eq!(gateway.llama.running(), 0);
    gateway.metric("chat_gateway_deltas_total 0").await;
}

#[tokio::test]
async fn compression_is_not_offered_and_an_unknown_subprotocol_is_not_taken_up() {
    let gateway = Gateway::start().await;
    let many: Vec<String> = (0..1000).map(|n| format!("chat.v{}", n + 3)).collect();
    let many = format!("Sec-WebSocket-Protocol: {}\r\n", many.join(", "));
    for fields in [
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
        "Sec-WebSocket-Protocol: chat.v3\r\n",
        &many,
    ] {
        let mut socket = RawSocket::open(&gateway, fields).await;
        let taken = socket.head.lines().find(|line| {
            line.starts_with("sec-websocket-extensions")
                || line.starts_with("sec-websocket-protocol")
        });
        assert_eq!(taken, None);
        socket.send(&frame(TEXT, br#"{"content":"Hello"}"#)).await;
        let answer = socket.next().await.unwrap();
        assert_eq!(answer.0, TEXT);
    }
}

#[tokio::test]
async fn an_upgrade_by_http_1_0_is_refused() {
    let gateway = Gateway::start().await;
    let socket = RawSocket::knock(&gateway, "HTTP/1.0", "").await;
    let status = socket.head.split(' ').nth(1);
    assert_eq!(status, Some("426"), "{}", socket.head);
}

#[tokio::test]
async fn a_flood_of_pings_and_empty_parts_holds_up_nobody_else() {
    let gateway = Gateway::start().await;
    let pings = frame(PING, b"").repeat(5000);
    let parts = [
        frame(TEXT_BEGINS, b""),
        frame(GOES_ON, b"").repeat(20_000),
        frame(ENDS, b"{}"),
    ]
    .concat();
    let mut flood = RawSocket::open(&gateway, "").await;
    let mut other = gateway.chat().await;
    let flooding = async {
        flood.send(&pings).await;
        flood.send(&parts).await;
        loop {
            match flood.next().await {
                Some((PONG, _)) => {}
                answer => break answer,
            }
        }
    };
    let chatting = async {
        say(&mut other, "Hello").await;
        other.collect_answer().await.unwrap().1
    };
    let (answer, end) = tokio::join!(flooding, chatting);
    assert_eq!(end, done());
    let (first, payload) = answer.unwrap();
    let error: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(first, TEXT);
    assert_eq!(error, json!({"type": "error", "message": "empty content"}));
}

#[tokio::test]
async fn half_a_frame_and_then_silence_ends_after_a_ping_and_its_time() {
    let gateway = Gateway::start().await;
    let half = &frame(TEXT, br#"{"content":"Hello"}"#)[..12];
    let mut first = RawSocket::open(&gateway, "").await;
    first.send(half).await;
    gateway.metric("chat_gateway_sockets_open 1").await;
    let (code, elapsed) = first.close_code_after(Duration::from_secs(36)).await;
    assert_eq!(code, None);
    assert!(elapsed >= Duration::from_secs(34), "{elapsed:?}");

    let mut second = RawSocket::open(&gateway, V2).await;
    second.send(&frame(TEXT, HELLO)).await;
    assert!(second.next().await.is_some(), "a welcome");
    second.send(half).await;
    let (code, elapsed) = second.close_code_after(Duration::from_secs(36)).await;
    assert_eq!(code, Some(4504));
    assert!(elapsed >= Duration::from_secs(34), "{elapsed:?}");
    gateway.metric("chat_gateway_sockets_open 0").await;
}

#[tokio::test]
async fn half_a_hello_and_then_silence_ends_after_ten_seconds() {
    let gateway = Gateway::start().await;
    let mut socket = RawSocket::open(&gateway, V2).await;
    socket.send(&frame(TEXT, HELLO)[..12]).await;
    let (code, elapsed) = socket.close_code_after(Duration::from_secs(11)).await;
    assert_eq!(code, Some(4408));
    assert!(elapsed >= Duration::from_secs(9), "{elapsed:?}");
}

#[tokio::test]
async fn a_v2_reader_that_stalls_for_20_s_is_cut_off_and_reads_on_exactly() {
    let gateway = Gateway::start_with(&[("GATEWAY_ANSWERS_PER_USER", "0")]).await;
    let piece = "x".repeat(16 * 1024);
    gateway.llama.script(Script::tokens([&*piece; 60]));
    let mut sleeper = RawSocket::open(&gateway, V2).await;
    sleeper.send(&frame(TEXT, HELLO)).await;
    assert!(sleeper.next().await.is_some(), "a welcome");
    let mut accepted = Vec::new();
    for number in 0..9 {
        let ask = format!(r#"{{"type":"send","id":"{number}","content":"Hello"}}"#);
        sleeper.send(&frame(TEXT, ask.as_bytes())).await;
    }
    while accepted.len() < 9 {
        let (_, payload) = sleeper.next().await.unwrap();
        let seen: Value = serde_json::from_slice(&payload).unwrap();
        if seen["type"] == "accepted" {
            accepted.push(seen);
        }
    }
    for number in 0..9 {
        gateway.llama.request_started(number).await;
    }
    let begin = tokio::time::Instant::now();
    tokio::time::pause();
    while begin.elapsed() < Duration::from_secs(1000) {
        // Pongs keep it from being taken for gone; what it does not do is read.
        sleeper.send(&frame(PONG, b"")).await;
        if !gateway
            .admin("/metrics")
            .await
            .1
            .contains("chat_gateway_sockets_open 1")
        {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let elapsed = begin.elapsed();
    tokio::time::resume();
    assert!(elapsed >= Duration::from_secs(20), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(1000), "still open");

    let cookie = sleeper
        .head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = cookie.and_then(|cookie| cookie.split(';').next()).unwrap();
    let mut back = V2Client::connect_with(&gateway.chat_url(), &[("cookie", cookie)]).await;
    let back = back.as_mut().unwrap();
    let last = accepted.last().unwrap();
    let answer = last["answer"].as_str().unwrap();
    back.answers.insert(answer.to_owned(), Default::default());
    back.watch(last["conversation"].as_str().unwrap())
        .await
        .unwrap();
    let joined = back.until_done(answer).await.unwrap();
    assert_eq!(joined.text, piece.repeat(60));
}
