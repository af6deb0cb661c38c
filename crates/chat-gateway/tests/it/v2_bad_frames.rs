//! Frames of version 2 that cannot be read: each gets one error that names the field, and ten of them end the socket.

use serde_json::{Value, json};
use testkit::v2_client::V2Client;

use crate::gateway::Gateway;

/// What a client must never find in an error: it was in a value that it sent.
const SECRET: &str = "my-diary";
/// A conversation or message that does not exist.
const ID: &str = "01932c07-6c8a-7d3e-8a51-3f6f0c2b9d10";

const ID_LENGTH: &str = "`id` must be 1 to 64 characters";

/// A frame that is refused, and the error that says so.
pub(crate) struct BadFrame {
    pub(crate) text: String,
    re: Option<&'static str>,
    code: &'static str,
    message: &'static str,
}

impl BadFrame {
    /// What the error looks like.
    fn reply(&self) -> Value {
        let mut reply = json!({"type": "error", "code": self.code, "message": self.message});
        if let Some(re) = self.re {
            reply["re"] = re.into();
        }
        reply
    }
}

fn bad(text: impl Into<String>, re: Option<&'static str>, message: &'static str) -> BadFrame {
    BadFrame {
        text: text.into(),
        re,
        code: "bad_request",
        message,
    }
}

/// A frame with the id `a`.
fn named(frame: &str, message: &'static str) -> BadFrame {
    let text = frame.replace("ID", ID).replace("SECRET", SECRET);
    bad(format!(r#"{{"id":"a",{text}}}"#), Some("a"), message)
}

/// A `send` with these further fields.
fn send(fields: &str, message: &'static str) -> BadFrame {
    named(&format!(r#""type":"send",{fields}"#), message)
}

/// A `send` with these options.
fn options(options: &str, message: &'static str) -> BadFrame {
    send(&format!(r#""content":"hi","options":{options}"#), message)
}

/// A `watch` with this position.
fn watch(position: &str) -> BadFrame {
    let fields = r#""type":"watch","conversation":"ID","answers":[{"message":"ID","position":"#;
    let message = "`answers[0].position` must be a whole number from 0 to 9007199254740991";
    named(&format!("{fields}{position}}}]"), message)
}

/// A `stop` with an id of this length.
fn long_id(n_chars: usize) -> BadFrame {
    let id = "芝".repeat(n_chars);
    let text = format!(r#"{{"type":"stop","id":"{id}","message":"{ID}"}}"#);
    bad(text, None, ID_LENGTH)
}

/// Frames that no schema allows.
pub(crate) fn frames_against_the_schema() -> Vec<BadFrame> {
    const NO_OBJECT: &str = "a frame must be one JSON object";
    vec![
        bad(r#"["ping"]"#, None, NO_OBJECT),
        bad(format!(r#"["stop","{ID}"]"#), None, NO_OBJECT),
        bad("\"ping\"", None, NO_OBJECT),
        bad("null", None, NO_OBJECT),
        bad(r#"{"id":"a"}"#, Some("a"), "`type` is missing"),
        bad(
            r#"{"id":"a","type":7}"#,
            Some("a"),
            "`type` must be a string",
        ),
        BadFrame {
            code: "unknown_type",
            ..bad(
                format!(r#"{{"id":"a","type":"{SECRET}"}}"#),
                Some("a"),
                "this `type` is not one of version 2",
            )
        },
        bad(r#"{"type":"send","content":"hi"}"#, None, "`id` is missing"),
        bad(
            r#"{"type":"send","id":null,"content":"hi"}"#,
            None,
            "`id` is missing",
        ),
        bad(
            r#"{"type":"send","id":7,"content":"hi"}"#,
            None,
            "`id` must be a string",
        ),
        bad(r#"{"type":"send","id":"","content":"hi"}"#, None, ID_LENGTH),
        long_id(65),
        // As long as a frame may be: it is not sent back.
        long_id(40_000),
        send(r#""conversation":"ID""#, "`content` is missing"),
        send(
            r#""content":null"#,
            "`content` must be a string or a list of parts",
        ),
        send(
            r#""content":7"#,
            "`content` must be a string or a list of parts",
        ),
        send(
            r#""content":{"type":"text","text":"SECRET"}"#,
            "`content` must be a string or a list of parts",
        ),
        send(r#""content":["SECRET"]"#, "`content[0]` must be an object"),
        send(
            r#""content":[["text","SECRET"]]"#,
            "`content[0]` must be an object",
        ),
        send(
            r#""content":[{"text":"SECRET"}]"#,
            "`content[0].type` is missing",
        ),
        send(
            r#""content":[{"type":"text","text":"SECRET"},{"type":"SECRET"}]"#,
            "`content[1].type` must be `text` or `image`",
        ),
        send(
            r#""content":[{"type":"text"}]"#,
            "`content[0].text` is missing",
        ),
        send(
            r#""content":[{"type":"text","text":7}]"#,
            "`content[0].text` must be a string",
        ),
        send(
            r#""content":[{"type":"image"}]"#,
            "`content[0].data_url` is missing",
        ),
        send(
            r#""content":[{"type":"text","text":"SECRET","bold":true}]"#,
            "`content[0].bold` is not known; expected one of `type`, `text`, `data_url`",
        ),
        send(
            r#""content":"hi","conversation":"SECRET""#,
            "`conversation` must be a UUID",
        ),
        send(
            r#""content":"hi","parent":"SECRET""#,
            "`parent` must be a UUID",
        ),
        send(r#""content":"hi","parent":7"#, "`parent` must be a UUID"),
        send(
            r#""content":"hi","when_busy":"SECRET""#,
            "`when_busy` must be `queue` or `reject`",
        ),
        send(
            r#""content":"hi","temporary":"SECRET""#,
            "`temporary` must be true or false",
        ),
        options("[]", "`options` must be an object"),
        options("null", "`options` must be an object"),
        options(
            r#"{"top_a":0.5}"#,
            "`options.top_a` is not known; expected one of `system`, `temperature`, `top_p`, \
             `top_k`, `min_p`, `max_tokens`, `seed`, `stop`, `thinking`",
        ),
        options(
            r#"{"temperature":"SECRET"}"#,
            "`options.temperature` must be a number",
        ),
        options(
            r#"{"top_k":-1}"#,
            "`options.top_k` must be a whole number from 0 to 4294967295",
        ),
        options(
            r#"{"max_tokens":4294967296}"#,
            "`options.max_tokens` must be a whole number from 0 to 4294967295",
        ),
        options(
            r#"{"seed":1.5}"#,
            "`options.seed` must be a whole number from 0 to 4294967295",
        ),
        options(r#"{"stop":"SECRET"}"#, "`options.stop` must be a list"),
        options(r#"{"stop":[7]}"#, "`options.stop[0]` must be a string"),
        options(
            r#"{"thinking":1}"#,
            "`options.thinking` must be true or false",
        ),
        named(r#""type":"stop""#, "`message` is missing"),
        named(
            r#""type":"stop","message":"SECRET""#,
            "`message` must be a UUID",
        ),
        named(
            r#""type":"watch","conversation":"ID","answers":7"#,
            "`answers` must be a list",
        ),
        named(
            r#""type":"watch","conversation":"ID","answers":[["ID",7]]"#,
            "`answers[0]` must be an object",
        ),
        watch("-1"),
        watch("9223372036854775808"),
        watch("1.5"),
        watch("\"SECRET\""),
    ]
}

/// Frames that are no JSON, or that JSON leaves open.
fn frames_beside_the_schema() -> Vec<BadFrame> {
    let deep = "[".repeat(60_000);
    vec![
        bad("", None, "a frame must be one JSON object"),
        bad(
            format!("{SECRET}!"),
            None,
            "a frame must be one JSON object",
        ),
        bad(r#"{"type":"ping""#, None, "a frame must be one JSON object"),
        bad(
            r#"{"type":"ping"} {}"#,
            None,
            "a frame must be one JSON object",
        ),
        bad(
            format!(r#"{{"type":"send","id":"a","content":{deep}"#),
            None,
            "a frame must be one JSON object",
        ),
        send(
            &format!(r#""content":{}{}"#, "[".repeat(50_000), "]".repeat(50_000)),
            "`content[0]` must be an object",
        ),
        bad(
            r#"{"type":"ping","type":"send"}"#,
            None,
            "`type` is given more than once",
        ),
        send(
            r#""content":"hi","content":"SECRET""#,
            "`content` is given more than once",
        ),
        send(
            r#""content":"hi","options":{"temperature":1e999}"#,
            "`options.temperature` must be a smaller number",
        ),
    ]
}

/// The next frame that says nothing of the model.
async fn answered(chat: &mut V2Client) -> Value {
    loop {
        let frame = chat.next().await.unwrap();
        if frame["type"] != "model" {
            return frame;
        }
    }
}

#[tokio::test]
async fn a_frame_that_cannot_be_read_gets_one_error_that_names_the_field() {
    let gateway = Gateway::start().await;
    let mut frames = frames_against_the_schema();
    frames.extend(frames_beside_the_schema());
    // One fewer than end a socket.
    for frames in frames.chunks(9) {
        let mut chat = V2Client::connect(&gateway.chat_url()).await.unwrap();
        for frame in frames {
            chat.socket.send_text(&frame.text).await.unwrap();
            let reply = answered(&mut chat).await;
            let shown: String = frame.text.chars().take(200).collect();
            assert_eq!(reply, frame.reply(), "{shown}");
            assert!(!reply.to_string().contains(SECRET), "{reply}");
        }
        chat.socket.send_text(r#"{"type":"ping"}"#).await.unwrap();
        assert_eq!(answered(&mut chat).await, json!({"type": "pong"}));
    }
}

#[tokio::test]
async fn the_tenth_frame_that_cannot_be_read_ends_the_socket() {
    let gateway = Gateway::start().await;
    let mut chat = V2Client::connect(&gateway.chat_url()).await.unwrap();
    for _ in 0..9 {
        chat.socket.send_text(r#"{"type":"stop"}"#).await.unwrap();
        assert_eq!(answered(&mut chat).await["code"], "bad_request");
        let refused = json!({"type": "stop", "id": "a", "message": ID});
        // It can be read, so it does not count.
        assert_eq!(chat.request(refused).await.unwrap()["code"], "not_found");
    }
    chat.socket.send_text("no JSON").await.unwrap();
    assert_eq!(answered(&mut chat).await["code"], "bad_request");
    assert_eq!(chat.socket.wait_close().await.unwrap(), 4400);
}

#[tokio::test]
async fn content_and_options_that_mean_nothing_are_refused_by_name() {
    let gateway = Gateway::start().await;
    let mut chat = V2Client::connect(&gateway.chat_url()).await.unwrap();
    let empty = "`content` must not be empty";
    for (content, options, message) in [
        (json!(""), json!({}), empty),
        (json!(" \n\t"), json!({}), empty),
        (json!([]), json!({}), empty),
        (json!([{"type": "text", "text": " "}]), json!({}), empty),
        (
            json!([{"type": "image", "data_url": "https://example.com/my-diary.png"}]),
            json!({}),
            "`data_url` must begin with data:image/",
        ),
        (
            json!("hi"),
            json!({"stop": ["a", "b", "c", "d", "e"]}),
            "`options.stop` must be at most 4 strings, none empty",
        ),
    ] {
        let frame = json!({"type": "send", "id": "a", "content": content, "options": options});
        let reply = chat.request(frame).await.unwrap();
        let expected =
            json!({"type": "error", "re": "a", "code": "bad_request", "message": message});
        assert_eq!(reply, expected);
    }
}

#[tokio::test]
async fn options_out_of_range_are_brought_into_it() {
    let settings = [
        ("GATEWAY_TEMPERATURE", "0.7"),
        ("GATEWAY_MAX_TOKENS", "300"),
    ];
    let gateway = Gateway::start_with(&settings).await;
    let mut chat = V2Client::connect(&gateway.chat_url()).await.unwrap();
    let wish = json!({"temperature": 99, "top_p": -1, "min_p": 7, "max_tokens": 0});
    let accepted = chat.say("hi", &json!({"options": wish})).await.unwrap();
    let used = &accepted["options"];
    assert_eq!(
        [
            &used["temperature"],
            &used["top_p"],
            &used["min_p"],
            &used["max_tokens"]
        ],
        [&json!(2.0), &json!(0.0), &json!(1.0), &json!(1)],
    );
    // The welcome told these ranges, and what is used when nobody chooses.
    let share = json!({"min": 0.0, "max": 1.0});
    let limits = json!({
        "temperature": {"min": 0.0, "max": 2.0, "default": 0.7},
        "top_p": share,
        "top_k": {"min": 0, "max": 1000},
        "min_p": share,
        "max_tokens": {"min": 1, "max": 300, "default": 300},
        "system_bytes": 65536,
        "stops": 4,
        "stop_bytes": 256,
        "thinking": true,
    });
    assert_eq!(chat.welcome["options"], limits);
    let wish = json!({"top_k": u32::MAX, "max_tokens": u32::MAX});
    let more = json!({"options": wish, "conversation": accepted["conversation"]});
    let accepted = chat.say("hi", &more).await.unwrap();
    let used = json!({"temperature": 0.7, "top_k": 1000, "max_tokens": 300});
    assert_eq!(accepted["options"], used);
    let system = "x".repeat(64 * 1024 + 1);
    let long = json!({"type": "send", "content": "hi", "options": {"system": system}});
    let refused = chat.request(long).await.unwrap();
    assert_eq!(
        refused["message"],
        "`options.system` must be at most 64 KiB"
    );
}
