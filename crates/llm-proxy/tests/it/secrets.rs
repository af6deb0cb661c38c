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
async fn no_key_no_prompt_and_no_answer_is_in_anything_an_operator_reads() {
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
        llama.script_once(Script::tokens(["canary-answer"]));
        let answer = chat(&http, &url, &question(MODEL, "canary-prompt"), KEY)
            .await
            .text()
            .await
            .unwrap();
        assert!(answer.contains("canary-answer"));
        llama.script_once(Script::tokens(["canary-half"]).error_after(1, "canary-error"));
        chat(&http, &url, &question(MODEL, HOSTILE), KEY)
            .await
            .text()
            .await
            .unwrap();
        llama.script_once(Script::refusal(
            400,
            "invalid_request_error",
            "canary-refusal",
        ));
        chat(&http, &url, &question(MODEL, "canary"), KEY)
            .await
            .text()
            .await
            .unwrap();
        assert_eq!(
            chat(&http, &url, &question(HOSTILE, "canary"), KEY)
                .await
                .status(),
            404
        );
        assert_eq!(
            chat(&http, &url, &question(MODEL, "canary"), "canary-key")
                .await
                .status(),
            401
        );
        let mut field = question(MODEL, "canary");
        field["canary_field"] = json!("canary");
        field["temperature"] = json!(HOSTILE);
        assert_eq!(chat(&http, &url, &field, KEY).await.status(), 400);
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

        let pages = [
            page(&process.admin, "metrics").await,
            page(&process.admin, "status").await,
            page(&process.admin, "status?format=text").await,
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
    assert!(is_events(&said) && is_events(&audit), "{said}");
    assert!(said.lines().count() > 20);
}

async fn chat(http: &reqwest::Client, url: &str, body: &Value, key: &str) -> reqwest::Response {
    let request = http.post(format!("{url}/v1/chat/completions"));
    request.bearer_auth(key).json(body).send().await.unwrap()
}

fn question(model: &str, text: &str) -> Value {
    json!({"model": model, "stream": true, "messages": [{"role": "user", "content": text}]})
}

/// A page of the admin listener.
async fn page(admin: &str, path: &str) -> String {
    let answer = reqwest::get(format!("http://{admin}/{path}")).await;
    answer.unwrap().text().await.unwrap()
}

/// Whether each line is one event in JSON.
fn is_events(text: &str) -> bool {
    text.lines()
        .all(|line| serde_json::from_str::<Value>(line).is_ok_and(|event| event.is_object()))
}
