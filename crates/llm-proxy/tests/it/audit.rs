//! The line of each request, and that no request waits for it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use llm_proxy::Destination;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};

use crate::keys::{self, KeysFile};
use crate::process::Process;
use crate::{KEY, MODEL, PATIENCE, Proxy, question, until};

/// The lines of the file, once there are `n`.
async fn lines(file: &Path, n: usize) -> Vec<Value> {
    let read = || std::fs::read_to_string(file).unwrap_or_default();
    until("the audit", async || {
        tokio::task::yield_now().await;
        read().lines().count() >= n
    })
    .await;
    read()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Takes what differs from run to run out of a line, checked to be what it should.
fn settle(line: &mut Value) {
    let time = line["time"].take();
    assert!(
        time.as_str()
            .is_some_and(|time| time.len() == 27 && time.ends_with('Z')),
        "{time}"
    );
    for name in ["queue_ms", "first_token_ms", "total_ms"] {
        if line[name].take().as_f64().is_some_and(|value| value >= 0.0) {
            line[name] = json!("a time");
        }
    }
}

#[tokio::test]
async fn each_request_is_one_line_of_counts_times_and_names() {
    let (folder, llama) = (tempfile::tempdir().unwrap(), FakeLlama::start().await);
    let file = folder.path().join("audit.jsonl");
    let keys = KeysFile::of(&keys::lines("app", "the-apps-key", ""));
    let proxy = Proxy::with(&llama, |config| {
        config.audit = Destination::File(file.clone());
        config.keys_file = Some(keys.path());
    })
    .await;
    llama.script(Script::tokens(["canary-a", "canary-b", "canary-c"]).cached(5));
    let upstream = llama.url().replace("http://", "");

    let mut ids = Vec::new();
    let mut read = async |response: reqwest::Response| {
        ids.push(json!(response.headers()["x-request-id"].to_str().unwrap()));
        response.text().await.unwrap()
    };
    let text = read(proxy.ask(&question(true)).await).await;
    let whole = read(proxy.ask_as("the-apps-key", &question(false)).await).await;
    let refused = read(
        proxy
            .ask(&json!({"model": "canary-model", "messages": []}))
            .await,
    )
    .await;
    let stranger = proxy
        .http
        .get(format!("http://{}/canary-path", proxy.address))
        .send()
        .await
        .unwrap();
    let n_stranger = read(stranger).await.len();

    let mut lines = lines(&file, 4).await;
    lines.iter_mut().for_each(settle);
    let told: Vec<Value> = lines
        .iter_mut()
        .map(|line| line["request_id"].take())
        .collect();
    assert_eq!(told, ids);
    let line = |key: &str, stream: bool, n_bytes: usize| {
        let n_body = question(stream).to_string().len();
        json!({
            "schema": "audit.v1", "time": null, "request_id": null, "key": key, "model": MODEL,
            "upstream": upstream, "route": "/v1/chat/completions", "stream": stream, "queue_ms": "a time",
            "first_token_ms": "a time", "total_ms": "a time", "tokens_in": 7, "tokens_cached": 5, "tokens_out": 3,
            "outcome": "ok", "status": 200, "bytes_in": n_body, "bytes_out": n_bytes,
        })
    };
    let early = |key: Value, route: &str, outcome: &str, status: u16, bytes: (usize, usize)| {
        json!({
            "schema": "audit.v1", "time": null, "request_id": null, "key": key, "model": null, "upstream": null,
            "route": route, "stream": null, "queue_ms": null, "first_token_ms": null, "total_ms": "a time",
            "tokens_in": null, "tokens_cached": null, "tokens_out": 0, "outcome": outcome, "status": status,
            "bytes_in": bytes.0, "bytes_out": bytes.1,
        })
    };
    let n_body = json!({"model": "canary-model", "messages": []})
        .to_string()
        .len();
    let mut unknown = early(
        json!("default"),
        "/v1/chat/completions",
        "model_not_found",
        404,
        (n_body, refused.len()),
    );
    unknown["model"] = json!("other");
    let lost = early(Value::Null, "other", "not_found", 404, (0, n_stranger));
    assert_eq!(
        lines,
        [
            line("default", true, text.len()),
            line("app", false, whole.len()),
            unknown,
            lost
        ]
    );
    assert!(!std::fs::read_to_string(&file).unwrap().contains("canary"));
}

#[tokio::test]
async fn a_caller_that_leaves_has_its_line_too_with_what_it_was_sent() {
    let (folder, llama) = (tempfile::tempdir().unwrap(), FakeLlama::start().await);
    let file = folder.path().join("audit.jsonl");
    let proxy = Proxy::with(&llama, |config| {
        config.audit = Destination::File(file.clone());
    })
    .await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    let mut answer = proxy.ask(&question(true)).await;
    while !String::from_utf8_lossy(&answer.chunk().await.unwrap().unwrap()).contains(r#""a""#) {}
    drop(answer);
    let line = &lines(&file, 1).await[0];
    assert_eq!(
        (&line["outcome"], &line["tokens_out"]),
        (&json!("client_left"), &json!(1)),
        "{line}"
    );
    assert!(
        line["tokens_in"].is_null() && line["bytes_out"].as_u64() > Some(100),
        "{line}"
    );
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_no_request() {
    const REQUESTS: usize = 50;
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.audit = Destination::File("/dev/full".into());
    })
    .await;
    for _ in 0..REQUESTS {
        let answer = proxy.ask(&question(false)).await;
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.json::<Value>().await.is_ok()
            ),
            (200, true)
        );
    }
    proxy
        .until_metric(&format!("llm_proxy_audit_lines_lost_total {REQUESTS}"))
        .await;
}

#[test]
fn a_file_that_cannot_be_opened_is_refused_by_its_path_before_a_port_is_bound() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_llm-proxy"))
        .env_clear()
        .envs([("LLM_API_KEY", KEY), ("LLM_MODEL", MODEL)])
        .env("PROXY_AUDIT", "/nowhere/audit.jsonl")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = "PROXY_AUDIT /nowhere/audit.jsonl cannot be opened to append to: No such file or \
                    directory (os error 2); name a file that this user may write";
    assert!(said.contains(expected), "{said}");
    assert_eq!(output.status.code(), Some(64));
}

#[tokio::test]
async fn a_poll_of_the_model_list_is_counted_and_neither_logged_nor_audited() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.audit = Destination::File(file.clone());
    })
    .await;
    for _ in 0..3 {
        assert_eq!(proxy.models_as(KEY).await.0, 200);
    }
    assert_eq!(proxy.models_as("a-strangers-key").await.0, 401);
    proxy.ask(&question(false)).await;
    let lines = lines(&file, 2).await;
    let outcomes: Vec<&Value> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["invalid_api_key", "ok"]);
    let polls = r#"llm_proxy_requests_total{route="/v1/models",key="default",model="none",outcome="ok",status="2xx"} 3"#;
    proxy.until_metric(polls).await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_neither_requests_nor_the_end() {
    let llama = FakeLlama::start().await;
    // Everything that can be said goes into one pipe, which nobody empties any more.
    let settings = [("PROXY_AUDIT", "stdout"), ("LOG_LEVEL", "trace")];
    let mut process = Process::start(&llama, &settings).await;
    let http = reqwest::Client::new();
    let stuck = async {
        while process.counter("llm_proxy_log_lines_lost_total").await == 0 {
            let url = format!("http://{}/nowhere", process.public);
            let many = join_all((0..128).map(|_| http.get(&url).send())).await;
            assert!(
                many.into_iter()
                    .all(|answer| answer.unwrap().status() == 404)
            );
        }
        for _ in 0..100 {
            assert_eq!(process.chat(&http).await, 200);
        }
    };
    tokio::time::timeout(PATIENCE, stuck).await.unwrap();
    process.signal("-TERM").await;
    let ended = tokio::time::timeout(PATIENCE, process.child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended.code(), Some(0));
    drop(process.log);
}

#[tokio::test]
async fn a_file_that_is_rotated_away_is_opened_anew_on_sighup() {
    let (folder, llama) = (tempfile::tempdir().unwrap(), FakeLlama::start().await);
    let file = folder.path().join("audit.jsonl");
    let old = folder.path().join("audit.jsonl.1");
    let mut process = Process::start(&llama, &[("PROXY_AUDIT", file.to_str().unwrap())]).await;
    let http = reqwest::Client::new();
    process.chat(&http).await;
    lines(&file, 1).await;
    std::fs::rename(&file, &old).unwrap();
    process.signal("-HUP").await;
    // The signal comes when it comes: until then lines go to the old file, and none is lost.
    let asked = AtomicUsize::new(1);
    until("the new file", async || {
        process.chat(&http).await;
        asked.fetch_add(1, Ordering::Relaxed);
        file.exists()
    })
    .await;
    let asked = asked.into_inner();
    process.signal("-TERM").await;
    assert!(process.child.wait().await.unwrap().success());
    let n_new = lines(&file, 1).await.len();
    assert_eq!(lines(&old, asked - n_new).await.len() + n_new, asked);
}
