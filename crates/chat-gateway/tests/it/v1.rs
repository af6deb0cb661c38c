//! Version 1 of the protocol: what a frontend may rely on.

use serde_json::{Value, json};
use testkit::fake_llama::Script;

use crate::gateway::{Gateway, delta, done, error, reset, say};

#[tokio::test]
async fn an_answer_is_its_deltas_byte_for_byte_then_done() {
    let gateway = Gateway::start().await;
    let tokens = [
        "Ein ",
        "Käse",
        "brot",
        " 芝士",
        "🧀",
        "\n",
        "\"quoted\" \\ ",
        "\u{0}",
    ];
    gateway.llama.script(Script::tokens(tokens).sliced(1));
    let mut socket = gateway.chat().await;
    say(&mut socket, "Hello").await;
    for token in tokens {
        assert_eq!(socket.next_json().await.unwrap(), delta(token));
    }
    assert_eq!(socket.next_json().await.unwrap(), done());
}

#[tokio::test]
async fn upstream_is_asked_with_the_settings_the_key_and_a_request_id() {
    let settings = [
        ("GATEWAY_SYSTEM_PROMPT", "Be brief."),
        ("GATEWAY_TEMPERATURE", "0.7"),
        ("GATEWAY_MAX_TOKENS", "64"),
    ];
    let gateway = Gateway::start_with(&settings).await;
    let mut socket = gateway.chat().await;
    say(&mut socket, " Hello ").await;
    let request = gateway.llama.request_started(0).await;
    assert_eq!(
        request.body,
        json!({
            "model": "fake-model",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": " Hello "},
            ],
            "stream": true,
            "temperature": 0.7,
            "max_tokens": 64,
        })
    );
    let id = request.headers["x-request-id"].to_str().unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
}

#[tokio::test]
async fn a_conversation_is_remembered_until_it_is_reset_and_belongs_to_its_socket() {
    let gateway = Gateway::start().await;
    let mut socket = gateway.chat().await;
    for content in ["one", "two"] {
        say(&mut socket, content).await;
        assert_eq!(
            socket.collect_answer().await.unwrap(),
            (vec!["Hello".to_owned()], done())
        );
    }
    assert_eq!(
        gateway.asked(1).await,
        ["user: one", "assistant: Hello", "user: two"]
    );
    reset(&mut socket).await;
    assert_eq!(
        socket.next_json().await.unwrap(),
        json!({"type": "reset_ok"})
    );
    say(&mut socket, "three").await;
    assert_eq!(gateway.asked(2).await, ["user: three"]);
    let mut other = gateway.chat().await;
    say(&mut other, "elsewhere").await;
    assert_eq!(gateway.asked(3).await, ["user: elsewhere"]);
}

#[tokio::test]
async fn what_is_no_message_is_an_error_and_the_socket_stays_open() {
    let gateway = Gateway::start().await;
    let mut socket = gateway.chat().await;
    for frame in [
        r"{}",
        r#"{"content":" \n "}"#,
        r#"{"content":7}"#,
        r#"{"type":"hello","content":null}"#,
    ] {
        socket.send_text(frame).await.unwrap();
        assert_eq!(
            socket.next_json().await.unwrap(),
            error("empty content"),
            "{frame}"
        );
    }
    for frame in ["", "hello", "[]", "\"text\"", "{\"content\":\"x\"", "null"] {
        socket.send_text(frame).await.unwrap();
        assert_eq!(
            socket.next_json().await.unwrap(),
            error("not a JSON object"),
            "{frame}"
        );
    }
    socket
        .send_json(&json!({"type": "anything", "content": "Hello"}))
        .await
        .unwrap();
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    assert_eq!(gateway.llama.requests().len(), 1);
}

#[tokio::test]
async fn eight_messages_wait_in_order_and_the_ninth_is_refused() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script_once(Script::tokens(["first"]).stall_after(0));
    let mut socket = gateway.chat().await;
    for number in 0..10 {
        say(&mut socket, &number.to_string()).await;
    }
    let refusal = error("too many messages are waiting; wait for an answer first");
    assert_eq!(socket.next_json().await.unwrap(), refusal);
    gateway.llama.request_started(0).await;
    assert_eq!(gateway.llama.requests().len(), 1, "one answer at a time");
    gateway.llama.release();
    for number in 0..9 {
        let answer = if number == 0 { "first" } else { "Hello" };
        assert_eq!(
            socket.collect_answer().await.unwrap(),
            (vec![answer.to_owned()], done())
        );
        assert_eq!(
            *gateway.asked(number).await.last().unwrap(),
            format!("user: {number}")
        );
    }
}

#[tokio::test]
async fn a_reset_stops_the_answer_and_forgets_what_waits() {
    let gateway = Gateway::start().await;
    gateway
        .llama
        .script_once(Script::tokens(["a", "b"]).stall_after(1));
    let mut socket = gateway.chat().await;
    say(&mut socket, "one").await;
    say(&mut socket, "two").await;
    assert_eq!(socket.next_json().await.unwrap(), delta("a"));
    reset(&mut socket).await;
    assert_eq!(
        socket.next_json().await.unwrap(),
        json!({"type": "reset_ok"})
    );
    gateway.llama.client_left(0).await;
    say(&mut socket, "three").await;
    assert_eq!(
        socket.collect_answer().await.unwrap(),
        (vec!["Hello".to_owned()], done())
    );
    assert_eq!(gateway.asked(1).await, ["user: three"]);
    gateway
        .metric("chat_gateway_answers_total{outcome=\"reset\"} 1")
        .await;
}

#[tokio::test]
async fn thoughts_are_not_part_of_the_answer_and_an_empty_answer_is_not_remembered() {
    let gateway = Gateway::start().await;
    let thoughts = [
        json!({"reasoning_content": "hm"}),
        json!({"content": ""}),
        json!({"role": "assistant"}),
    ];
    gateway.llama.script_once(Script::deltas(thoughts));
    let mut socket = gateway.chat().await;
    say(&mut socket, "one").await;
    assert_eq!(socket.collect_answer().await.unwrap(), (vec![], done()));
    say(&mut socket, "two").await;
    assert_eq!(gateway.asked(1).await, ["user: two"]);
}

#[tokio::test]
async fn a_piece_larger_than_a_frame_arrives_whole_in_several() {
    let gateway = Gateway::start().await;
    let piece = "芝士\u{1}\n".repeat(20_000);
    gateway.llama.script(Script::tokens([&*piece]));
    let mut socket = gateway.chat().await;
    say(&mut socket, "Hello").await;
    let (deltas, end) = socket.collect_answer().await.unwrap();
    assert_eq!((deltas.concat() == piece, end), (true, done()));
    assert!(deltas.len() > 1);
}

#[tokio::test]
async fn what_an_event_stream_says_beside_its_events_is_no_part_of_the_answer() {
    let gateway = Gateway::start().await;
    let event = |delta: Value, finish: Value| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    let stream = [
        ": queue position=2 wait=12\n\n".to_owned(),
        ": keep-alive\n\n: queue position=1 wait=3\n\nretry: 3000\n".to_owned(),
        format!(
            "data: {}\n\n: prefill 0/7\n\n:\n\n",
            event(json!({"content": "a"}), Value::Null)
        ),
        format!(
            ": in the middle\nid: 7\ndata: {}\n\n",
            event(json!({"content": "b"}), json!("stop"))
        ),
        "data: [DONE]\n\n: behind the end\n\n".to_owned(),
    ];
    let chunks: String = stream
        .iter()
        .map(|part| format!("{:x}\r\n{part}\r\n", part.len()))
        .collect();
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    gateway
        .llama
        .script(Script::raw(format!("{head}{chunks}0\r\n\r\n")));
    let mut socket = gateway.chat().await;
    say(&mut socket, "one").await;
    assert_eq!(
        socket.collect_answer().await.unwrap(),
        (vec!["a".to_owned(), "b".to_owned()], done())
    );
}

#[tokio::test]
async fn an_answer_that_the_limit_cut_says_so_and_is_remembered() {
    let gateway = Gateway::start().await;
    let cut = json!({"type": "done", "finish_reason": "length"});
    gateway
        .llama
        .script_once(Script::tokens(["Once"]).finish("length"));
    let mut socket = gateway.chat().await;
    say(&mut socket, "one").await;
    let (deltas, end) = socket.collect_answer().await.unwrap();
    assert_eq!((deltas, end), (vec!["Once".to_owned()], cut.clone()));
    // Nothing but thoughts: the limit is told, and the next message starts from a clean state.
    let thoughts = [json!({"reasoning_content": "hm"})];
    gateway
        .llama
        .script_once(Script::deltas(thoughts).finish("length"));
    say(&mut socket, "two").await;
    assert_eq!(socket.collect_answer().await.unwrap(), (vec![], cut));
    // No other reason is told.
    gateway
        .llama
        .script_once(Script::tokens(["x"]).finish("tool_calls"));
    say(&mut socket, "three").await;
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    assert_eq!(
        gateway.asked(2).await,
        ["user: one", "assistant: Once", "user: three"]
    );
}

#[tokio::test]
async fn half_a_surrogate_pair_becomes_the_replacement_character() {
    let gateway = Gateway::start().await;
    let mut socket = gateway.chat().await;
    let frame = r#"{"content":"cut \ud83d, whole \ud83d\ude00"}"#;
    socket.send_text(frame).await.unwrap();
    assert_eq!(socket.collect_answer().await.unwrap().1, done());
    let asked = gateway.asked(0).await;
    assert_eq!(asked, ["user: cut \u{fffd}, whole \u{1f600}"]);
}
