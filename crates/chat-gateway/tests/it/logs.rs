//! What the built binary writes to its log, at its most talkative.

use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::fake_llama::{FakeLlama, Script};
use testkit::ws_client::WsClient;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// As nginx writes an id.
const ID: &str = "6f1c1f0e6f1c4f0e8f1c6f1c6f1c6f1c";

/// Reads the log up to the first event with this message, and keeps what it read.
async fn until(
    lines: &mut Lines<BufReader<ChildStdout>>,
    log: &mut String,
    message: &str,
) -> Value {
    loop {
        let line = lines.next_line().await.unwrap().expect("the log goes on");
        log.push_str(&line);
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["message"] == message {
            return event;
        }
    }
}

fn start(llama: &FakeLlama, level: &str, settings: &[(&str, &str)]) -> (Child, TempDir) {
    let data = tempfile::tempdir().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_chat-gateway"))
        .env_clear()
        .envs([
            ("LOG_FORMAT", "json"),
            ("LOG_LEVEL", level),
            ("GATEWAY_LISTEN", "127.0.0.1:0"),
            ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"),
            ("LLM_BASE_URL", &*format!("{}/v1", llama.url())),
            ("LLM_API_KEY", "hidden-key"),
            ("LLM_MODEL", "fake-model"),
        ])
        .env("GATEWAY_DATA", data.path())
        .envs(settings.iter().copied())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    (child, data)
}

#[tokio::test]
async fn an_answer_is_one_line_of_numbers_and_no_level_shows_words_or_keys() {
    let llama = FakeLlama::start().await;
    llama.require_key("hidden-key");
    llama.script_once(Script::tokens(["hidden", "-answer"]));
    llama.script_once(Script::refusal(500, "server_error", "hidden-error"));
    llama.script_once(Script::tokens(["hidden-partial"]).error_after(1, "hidden-error"));
    let (mut child, _folder) = start(&llama, "trace", &[]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut log = String::new();
    let listening = until(&mut lines, &mut log, "listening").await;
    assert_eq!(listening["listener"], "public");
    let url = format!(
        "ws://{}/api/v1/ws/chat",
        listening["address"].as_str().unwrap()
    );
    let mut socket = WsClient::connect(&url).await.unwrap();

    for (status, outcome, deltas) in [
        (Value::Null, "done", 2),
        (json!(500), "unavailable", 0),
        (Value::Null, "interrupted", 1),
    ] {
        socket
            .send_json(&json!({"content": "hidden-question"}))
            .await
            .unwrap();
        // Together, because a full pipe would hold the gateway up.
        let (answer, line) = tokio::join!(
            socket.collect_answer(),
            until(&mut lines, &mut log, "answer")
        );
        answer.unwrap();
        assert_eq!(
            (&line["outcome"], &line["deltas"]),
            (&json!(outcome), &json!(deltas)),
            "{line}"
        );
        assert_eq!(
            (&line["upstream_status"], line["level"].as_str()),
            (&status, Some("INFO")),
            "{line}"
        );
        assert!(
            line["request_id"].is_string() && line["duration_ms"].is_u64(),
            "{line}"
        );
        assert_eq!(line["ttft_ms"].is_u64(), deltas > 0, "{line}");
    }
    let (closed, _) = tokio::join!(socket.close(), until(&mut lines, &mut log, "socket closed"));
    closed.unwrap();
    for word in [
        "hidden-question",
        "hidden-answer",
        "hidden-key",
        "hidden-error",
        "hidden-partial",
        "-answer",
    ] {
        assert!(!log.contains(word), "{word} stands in the log");
    }
}

#[tokio::test]
async fn a_socket_is_followed_from_the_proxy_to_its_end_by_one_id() {
    let llama = FakeLlama::start().await;
    llama.require_key("hidden-key");
    let settings = [
        ("GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8"),
        ("GATEWAY_AUTH", "header"),
    ];
    let (mut child, _folder) = start(&llama, "info", &settings);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut log = String::new();
    let listening = until(&mut lines, &mut log, "listening").await;
    let url = format!(
        "ws://{}/api/v1/ws/chat",
        listening["address"].as_str().unwrap()
    );
    let headers = [
        ("x-forwarded-user", "hidden-name"),
        ("x-forwarded-preferred-username", "hidden-nickname"),
        ("x-forwarded-for", "198.51.100.1"),
        ("x-request-id", ID),
    ];
    let socket = WsClient::connect_with(&url, &headers).await.unwrap();
    let opened = until(&mut lines, &mut log, "socket opened").await;
    socket.close().await.unwrap();
    let closed = until(&mut lines, &mut log, "socket closed").await;
    let user = opened["user"].as_str().unwrap();
    assert!(user.starts_with("u-"), "{user}");
    for line in [&opened, &closed] {
        assert_eq!(
            (
                &line["level"],
                &line["request_id"],
                &line["address"],
                &line["user"]
            ),
            (
                &json!("INFO"),
                &json!(ID),
                &json!("198.51.100.1"),
                &json!(user)
            ),
            "{line}"
        );
    }
    assert_eq!(
        (&closed["end"], &closed["version"], &closed["answers"]),
        (&json!("closed"), &json!(1), &json!(0))
    );

    // Somebody who is not signed in is told apart by the reason.
    assert!(WsClient::connect_with(&url, &headers[2..]).await.is_err());
    let refused = until(&mut lines, &mut log, "socket refused: not signed in").await;
    assert_eq!(
        (
            &refused["reason"],
            &refused["request_id"],
            &refused["address"]
        ),
        (&json!("missing"), &json!(ID), &json!("198.51.100.1"))
    );
    assert!(!log.contains("hidden"), "{log}");
}

#[tokio::test]
async fn each_refused_origin_is_told_once_with_its_address_and_id() {
    let llama = FakeLlama::start().await;
    let settings = [("GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8")];
    let (mut child, _folder) = start(&llama, "info", &settings);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut log = String::new();
    let listening = until(&mut lines, &mut log, "listening").await;
    let url = format!(
        "ws://{}/api/v1/ws/chat",
        listening["address"].as_str().unwrap()
    );
    let message =
        "socket refused: if this page is yours, set GATEWAY_ALLOWED_ORIGINS to its origin";
    for (origin, host, times, reason, not_told) in [
        ("https://evil.example", "box.local", 3, "origin", 0),
        ("https://chat.example", "chat.example", 1, "public_name", 2),
        ("null", "box.local", 2, "origin", 0),
        ("http://other.local", "box.local", 1, "origin", 1),
    ] {
        let headers = [
            ("origin", origin),
            ("host", host),
            ("x-forwarded-for", "198.51.100.1"),
            ("x-request-id", ID),
        ];
        for _ in 0..times {
            assert!(WsClient::connect_with(&url, &headers).await.is_err());
        }
        let told = until(&mut lines, &mut log, message).await;
        assert_eq!(
            (
                &told["level"],
                &told["origin"],
                &told["address"],
                &told["request_id"]
            ),
            (
                &json!("WARN"),
                &json!(origin),
                &json!("198.51.100.1"),
                &json!(ID)
            )
        );
        assert_eq!(
            (&told["reason"], &told["not_told"]),
            (&json!(reason), &json!(not_told))
        );
    }
    assert_eq!(log.matches(message).count(), 4);
}
