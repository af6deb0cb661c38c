//! `/status` for programs and for people, and `llm-proxy top`.

use std::process::Output;

use llm_proxy::ProxyStatus;
use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};
use tokio::process::Command;

use crate::keys::{KeysFile, lines};
use crate::{MODEL, PATIENCE, Proxy, question, until};

impl Proxy {
    async fn status(&self) -> Value {
        let answer = self
            .http
            .get(format!("http://{}/status", self.admin))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        answer.json().await.unwrap()
    }

    async fn top(&self) -> Output {
        let admin = format!("http://{}", self.admin);
        let binary = env!("CARGO_BIN_EXE_llm-proxy");
        Command::new(binary)
            .args(["top", "--once", "--admin", &admin])
            .output()
            .await
            .unwrap()
    }
}

/// One answer that stalls in its slot, and one that waits behind it.
async fn one_runs_and_one_waits(
    llama: &FakeLlama,
    proxy: &Proxy,
) -> (reqwest::Response, tokio::task::JoinHandle<()>) {
    llama.script(Script::tokens(["canary-a", "canary-b"]).stall_after(1));
    let mut running = proxy.ask(&question(true)).await;
    while !String::from_utf8_lossy(&running.chunk().await.unwrap().unwrap()).contains("canary-a") {}
    let waiting = proxy.chat(&question(true));
    #[expect(clippy::disallowed_methods, reason = "the test ends with it")]
    let waiting = tokio::spawn(async move { drop(waiting.send().await) });
    proxy.until_metric("llm_proxy_queue_depth 1").await;
    (running, waiting)
}

#[tokio::test]
async fn status_tells_programs_the_slots_the_queue_by_key_and_the_last_minute() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    let _held = one_runs_and_one_waits(&llama, &proxy).await;
    let mut status = proxy.status().await;
    assert!(status["uptime_seconds"].take().is_u64());
    let wait = status["keys"][0]["wait_seconds"].take().as_f64();
    assert!(wait > Some(0.0), "{wait:?}");
    // The running answer and the waiting one have reserved what they may take.
    let tokens = status["keys"][0]["tokens_today"].take().as_u64();
    assert!(tokens > Some(0), "{tokens:?}");
    let first = status["first_token"]["p50_seconds"].take();
    assert!(
        first.as_f64() >= Some(0.0) && first == status["first_token"]["p95_seconds"].take(),
        "{first}"
    );
    assert!(status["last_minute"]["tokens_per_second"].take().as_f64() > Some(0.0));
    let n_ctx = status["upstreams"][0]["n_ctx"].take();
    assert!(n_ctx.is_u64(), "{n_ctx}");
    let upstream = llama.url().replace("http://", "");
    assert_eq!(
        status,
        json!({
            "version": env!("CARGO_PKG_VERSION"), "uptime_seconds": null, "not_ready": null, "keys_file_refused": null, "model": MODEL,
            "slots": 1, "busy": 1, "quarantined": 0, "drained": [],
            "upstreams": [{"upstream": upstream, "up": true, "state": "it answers", "slots": 1, "busy": 1,
                "n_ctx": null, "ejected_seconds": 0}],
            "keys": [{"key": "default", "waiting": 1, "running": 1, "wait_seconds": null, "requests_today": 2,
                "tokens_today": null, "limits": []}],
            "last_minute": {"requests_per_second": 0.0, "refused_per_second": 0.0, "tokens_per_second": null},
            "first_token": {"count": 1, "p50_seconds": null, "p95_seconds": null},
        })
    );
}

#[tokio::test]
async fn status_tells_of_each_key_its_limits_and_what_it_has_used_of_them() {
    // So little in a minute that it has not flowed back when the status is read.
    let four = "requests_per_minute = 1\ntokens_per_minute = 10\ntokens_per_day = 5000\nrequests_at_once = 3";
    let file = KeysFile::of(
        &(lines("busy", "b", "requests_at_once = 2")
            + &lines("quiet", "q", four)
            + &lines("unused", "u", four)),
    );
    let llama = FakeLlama::start().await;
    let proxy = Proxy::keyed(&llama, &file).await;
    // Its prompt has 7 tokens, its answer 3.
    llama.script_once(Script::tokens(["a", "b", "c"]));
    let answer = proxy.ask_as("q", &question(false)).await;
    assert_eq!(answer.status(), 200);
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let mut body = question(true);
    body["max_tokens"] = json!(100);
    let _held = proxy.ask_as("b", &body).await;
    // The first answer settles its account when its connection is done with.
    until("what was used", async || {
        proxy.status().await["keys"][1]["tokens_today"] == 10
    })
    .await;
    let mut keys = proxy.status().await["keys"].take();
    let reserved = keys[0]["tokens_today"].take().as_u64();
    assert!(reserved >= Some(100), "{reserved:?}");
    for limit in keys[1]["limits"].as_array_mut().unwrap() {
        let reset = limit["reset_seconds"].take().as_f64();
        assert!(
            limit["limit"] == "requests_at_once" || reset > Some(0.0),
            "{limit} {reset:?}"
        );
    }
    let tokens = keys[1]["limits"][2]["used"].take().as_u64().unwrap();
    assert!((1..=10).contains(&tokens), "{tokens}");
    let limit = |name: &str, used: Option<u64>, allowed: u64| json!({"limit": name, "allowed": allowed, "used": used, "reset_seconds": null});
    assert_eq!(
        keys,
        json!([
            {"key": "busy", "waiting": 0, "running": 1, "wait_seconds": 0.0, "requests_today": 1, "tokens_today": null,
                "limits": [limit("requests_at_once", Some(1), 2)]},
            {"key": "quiet", "waiting": 0, "running": 0, "wait_seconds": null, "requests_today": 1, "tokens_today": 10,
                "limits": [
                    limit("requests_at_once", Some(0), 3), limit("requests_per_minute", Some(1), 1),
                    limit("tokens_per_minute", None, 10), limit("tokens_per_day", Some(10), 5000),
                ]},
        ])
    );
    let page = String::from_utf8(proxy.top().await.stdout).unwrap();
    assert!(
        page.contains("/10 tokens per minute, 10/5000 tokens per day"),
        "{page}"
    );
    assert!(!page.contains("unused"), "{page}");
}

#[tokio::test]
async fn a_key_that_is_taken_out_while_its_answer_runs_has_no_limits_any_more() {
    let file = KeysFile::of(&lines("busy", "b", "tokens_per_day = 5000"));
    let llama = FakeLlama::start().await;
    let proxy = Proxy::keyed(&llama, &file).await;
    llama.script_once(Script::tokens(["a", "b"]).stall_after(1));
    let _held = proxy.ask_as("b", &question(true)).await;
    assert_eq!(
        proxy.status().await["keys"][0]["limits"][0]["allowed"],
        5000
    );
    file.write("");
    until("the change", async || {
        proxy.status().await["keys"][0]["limits"] == json!([])
    })
    .await;
    assert_eq!(
        proxy.status().await["keys"],
        json!([{"key": "busy", "waiting": 0, "running": 1, "wait_seconds": 0.0, "requests_today": 0, "tokens_today": 0,
            "limits": []}])
    );
}

#[tokio::test]
async fn top_and_the_text_for_people_are_the_same_page() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::before(&llama).await;
    let _held = one_runs_and_one_waits(&llama, &proxy).await;
    let text = async |request: reqwest::RequestBuilder| {
        request.send().await.unwrap().text().await.unwrap()
    };
    // Rates and the uptime go on, so the page must be had between two of the same text.
    let (asked, url) = (&proxy.http, format!("http://{}/status", proxy.admin));
    until("the same page", async || {
        let before = text(asked.get(format!("{url}?format=text"))).await;
        let top = proxy.top().await;
        let after = text(asked.get(&url).header("accept", "text/plain")).await;
        let same = before == after;
        if same {
            assert!(top.status.success(), "{top:?}");
            assert_eq!(String::from_utf8(top.stdout).unwrap(), after);
            assert!(
                after.contains("1 of 1 slots busy   1 waiting") && after.contains("default"),
                "{after}"
            );
            assert!(
                !after.contains('\u{1b}') && !after.contains("canary"),
                "{after}"
            );
        }
        same
    })
    .await;
}

#[tokio::test]
async fn an_upstream_that_is_gone_shows_with_its_reason_and_top_says_when_nobody_answers() {
    let llama = FakeLlama::start().await;
    let mut proxy = Proxy::before(&llama).await;
    drop(llama);
    until("the loss", async || {
        proxy.ask(&question(false)).await;
        proxy.status().await["not_ready"].is_string()
    })
    .await;
    let status: ProxyStatus = serde_json::from_value(proxy.status().await).unwrap();
    let upstream = &status.upstreams[0];
    assert_eq!(
        (upstream.up, upstream.slots, upstream.n_ctx),
        (false, 0, None)
    );
    assert_eq!(upstream.state, "it cannot be reached");
    assert!(status.last_minute.refused_per_second > 0.0, "{status:?}");

    let admin = proxy.admin;
    proxy.begin_shutdown();
    proxy.ended().await;
    let output = Command::new(env!("CARGO_BIN_EXE_llm-proxy"))
        .args(["top", "--once", "--admin", &admin.to_string()])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.starts_with(&format!("llm-proxy: {admin} cannot be asked: ")),
        "{said}"
    );
}

#[tokio::test]
async fn top_without_a_terminal_prints_one_page_without_colours() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let admin = proxy.admin.to_string();
    let output = top(&["--admin", &admin]).await;
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{page}");
    assert!(
        page.contains("slots busy") && !page.contains('\u{1b}'),
        "{page}"
    );
}

#[tokio::test]
async fn top_prints_the_document_of_status_as_json() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let output = top(&["--json", "--admin", &proxy.admin.to_string()]).await;
    let printed: ProxyStatus = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((printed.model.as_str(), printed.slots), (MODEL, 2));
}

#[tokio::test]
async fn top_says_at_once_what_is_no_address() {
    for admin in [
        "localhost",
        "http://localhost/",
        "https://localhost:9081",
        "localhost:",
        "localhost:x",
    ] {
        let output = top(&["--once", "--admin", admin]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = format!(
            "llm-proxy: --admin {admin} has no HOST:PORT: it must look like http://127.0.0.1:9081\n"
        );
        assert_eq!((said, output.status.code()), (expected, Some(1)));
    }
}

async fn top(arguments: &[&str]) -> std::process::Output {
    let mut top = Command::new(env!("CARGO_BIN_EXE_llm-proxy"));
    let output = top.arg("top").args(arguments).output();
    tokio::time::timeout(PATIENCE, output)
        .await
        .unwrap()
        .unwrap()
}
