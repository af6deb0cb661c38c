//! What the built binary writes to its log, at its most talkative.

use std::process::Stdio;

use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use testkit::ws_client::WsClient;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

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

#[tokio::test]
async fn an_answer_is_one_line_of_numbers_and_no_level_shows_words_or_keys() {
    let llama = FakeLlama::start().await;
    llama.require_key("hidden-key");
    llama.script_once(Script::tokens(["hidden", "-answer"]));
    llama.script_once(Script::refusal(500, "server_error", "hidden-error"));
    llama.script_once(Script::tokens(["hidden-partial"]).error_after(1, "hidden-error"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_chat-gateway"))
        .env_clear()
        .envs([
            ("LOG_FORMAT", "json"),
            ("LOG_LEVEL", "trace"),
            ("GATEWAY_LISTEN", "127.0.0.1:0"),
            ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"),
            ("LLM_BASE_URL", &*format!("{}/v1", llama.url())),
            ("LLM_API_KEY", "hidden-key"),
            ("LLM_MODEL", "fake-model"),
        ])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
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
