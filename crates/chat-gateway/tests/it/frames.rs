//! Frames that break a rule are answered with the close code that names it, never with a dropped connection.

use testkit::fake_llama::Script;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

use crate::gateway::{Gateway, delta, done, say};

fn text(payload: impl Into<Vec<u8>>, last: bool) -> Message {
    Message::Frame(Frame::message(
        payload.into(),
        OpCode::Data(Data::Text),
        last,
    ))
}

fn raw(opcode: OpCode, payload: Vec<u8>) -> Message {
    let header = FrameHeader {
        is_final: true,
        opcode,
        ..FrameHeader::default()
    };
    Message::Frame(Frame::from_payload(header, payload.into()))
}

#[tokio::test]
async fn each_broken_rule_has_its_close_code() {
    let gateway = Gateway::start().await;
    let large = "x".repeat(100 * 1024);
    let more = |payload: &str, last| {
        Message::Frame(Frame::message(
            payload.as_bytes().to_vec(),
            OpCode::Data(Data::Continue),
            last,
        ))
    };
    for (name, messages, code) in [
        (
            "a frame over 128 KiB",
            vec![Message::text("x".repeat(128 * 1024 + 1))],
            1009,
        ),
        (
            "frames of one message over 128 KiB",
            vec![text(large.clone(), false), more(&large, true)],
            1009,
        ),
        (
            "a megabyte",
            vec![Message::text("x".repeat(1024 * 1024))],
            1009,
        ),
        ("binary", vec![Message::binary(b"{}".to_vec())], 1003),
        (
            "text that is not UTF-8",
            vec![text([b'{', 0xff, b'}'], true)],
            1007,
        ),
        ("a lone continuation", vec![more("x", true)], 1002),
        (
            "text inside fragments",
            vec![text("{", false), text("}", true)],
            1002,
        ),
        (
            "a reserved opcode",
            vec![raw(OpCode::Data(Data::Reserved(3)), vec![])],
            1002,
        ),
        (
            "a ping of 126 bytes",
            vec![raw(OpCode::Control(Control::Ping), vec![0; 126])],
            1002,
        ),
    ] {
        let mut socket = gateway.chat().await;
        for message in messages {
            socket.send(message).await.unwrap();
        }
        assert_eq!((name, socket.wait_close().await.unwrap()), (name, code));
    }
    gateway.metric("chat_gateway_sockets_open 0").await;
}

#[tokio::test]
async fn the_largest_frame_and_a_fragmented_message_are_answered() {
    let gateway = Gateway::start().await;
    let mut socket = gateway.chat().await;
    let head = r#"{"content":""#;
    let content = "x".repeat(128 * 1024 - head.len() - 2);
    socket
        .send_text(&format!(r#"{head}{content}"}}"#))
        .await
        .unwrap();
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    socket.send(text(head, false)).await.unwrap();
    let rest = Frame::message(b"y\"}".to_vec(), OpCode::Data(Data::Continue), true);
    socket.send(Message::Frame(rest)).await.unwrap();
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    assert_eq!(*gateway.asked(1).await.last().unwrap(), "user: y");
}

#[tokio::test]
async fn a_broken_rule_stops_the_running_answer() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script(Script::tokens(["a", "b"]).stall_after(1));
    let mut socket = gateway.chat().await;
    say(&mut socket, "Hello").await;
    assert_eq!(socket.next_json().await.unwrap(), delta("a"));
    socket.send(Message::binary(vec![0])).await.unwrap();
    gateway.llama.client_left(0).await;
    assert_eq!(socket.wait_close().await.unwrap(), 1003);
}
