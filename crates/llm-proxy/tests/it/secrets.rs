//! What is said to llm-proxy and by it, and every key, stays out of all that an operator reads.

use serde_json::{Value, json};
use testkit::fake_collector::FakeCollector;
use testkit::fake_llama::{FakeLlama, Script};
use tokio::io::AsyncReadExt as _;

use crate::process::Process;
use crate::{KEY, MODEL, UPSTREAM_KEY};

/// What a terminal or a reader of lines would trip over.
const HOSTILE: &str = "canary\u{1b}[2J\n{\"level\":\"ERROR\"}\u{202e}";

#[tokio::test]
async fn no_key_no_prompt_no_answer_and_no_callers_word_is_in_a_log_a_metric_a_trace_the_status_or_the_audit()
 {
    let llama = FakeLlama::start().await;
    let collector = FakeCollector::start().await;
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.jsonl");
    let settings = [
        ("PROXY_AUDIT", audit.to_str().unwrap()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
        ("LOG_LEVEL", "trace"),
    ];
    let mut process = Process::start(&llama, &settings).await;
    let mut log = process.log;
    // Read while it is written, as a log is.
    let mut said = String::new();
    let asking = async {
        let http = reqwest::Client::new();
        let url = format!("http://{}", process.public);
        let chat = |body: &Value, key: &str| {
            http.post(format!("{url}/v1/chat/completions"))
                .bearer_auth(key)
                .json(body)
                .send()
        };
        let question = |model: &str, text: &str| json!({"model": model, "stream": true, "messages": [{"role": "user", "content": text}]});

        llama.script_once(Script::tokens(["canary-answer"]));
        let answer = chat(&question(MODEL, "canary-prompt"), KEY)
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(answer.contains("canary-answer"));
        llama.script_once(Script::tokens(["canary-half"]).error_after(1, "canary-error"));
        chat(&question(MODEL, HOSTILE), KEY)
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        llama.script_once(Script::refusal(
            400,
            "invalid_request_error",
            "canary-refusal",
        ));
        chat(&question(MODEL, "canary"), KEY)
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert_eq!(
            chat(&question(HOSTILE, "canary"), KEY)
                .await
                .unwrap()
                .status(),
            404
        );
        assert_eq!(
            chat(&question(MODEL, "canary"), "canary-key")
                .await
                .unwrap()
                .status(),
            401
        );
        let mut field = question(MODEL, "canary");
        field["canary_field"] = json!("canary");
        field["temperature"] = json!(HOSTILE);
        assert_eq!(chat(&field, KEY).await.unwrap().status(), 400);
        let lost = http
            .get(format!("{url}/canary-path?canary=canary"))
            .header("x-request-id", "canary-id");
        assert_eq!(
            lost.header("user-agent", "canary-agent")
                .send()
                .await
                .unwrap()
                .status(),
            404
        );

        let read = async |path: &str| {
            let answer = reqwest::get(format!("http://{}/{path}", process.admin))
                .await
                .unwrap();
            answer.text().await.unwrap()
        };
        let pages = [
            read("metrics").await,
            read("status").await,
            read("status?format=text").await,
        ];
        let pid = process.child.id().unwrap().to_string();
        assert!(
            tokio::process::Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .await
                .unwrap()
                .success()
        );
        assert!(process.child.wait().await.unwrap().success());
        pages
    };
    let (pages, read) = tokio::join!(asking, log.read_to_string(&mut said));
    read.unwrap();

    let audit = std::fs::read_to_string(&audit).unwrap();
    let spans = format!("{:?}", collector.spans());
    assert_eq!(
        (audit.lines().count(), collector.spans().len()),
        (7, 6),
        "{audit}\n{spans}"
    );
    let [metrics, status, text] = pages;
    let told = [
        ("log", &said),
        ("audit", &audit),
        ("spans", &spans),
        ("metrics", &metrics),
        ("status", &status),
        ("text", &text),
    ];
    for (name, told) in told {
        for secret in ["canary", KEY, UPSTREAM_KEY, "\u{1b}", "\u{202e}"] {
            let at = told.lines().find(|line| line.contains(secret));
            assert_eq!(at, None, "{secret:?} is in the {name}");
        }
    }
    // One line of JSON for each event, whatever was in it.
    let events = |text: &str| {
        text.lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok_and(|event| event.is_object()))
    };
    assert!(events(&said) && events(&audit), "{said}");
    assert!(said.lines().count() > 20);
}
