//! An upstream that breaks its answer anywhere, or speaks no HTTP at all: nothing ever looks complete that is not,
//! and memory is bounded.

use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};

use crate::{Proxy, last_error, question};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";

const DONE: &str =
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// What the caller of a streamed request holds in the end.
async fn text(proxy: &Proxy) -> String {
    proxy.ask(&question(true)).await.text().await.unwrap()
}

/// Whether a caller would take `text` for a whole answer, and that it ends in one error when not.
fn looks_complete(text: &str) -> bool {
    if text.contains("[DONE]") {
        return true;
    }
    let error: Value = if text.starts_with('{') {
        serde_json::from_str(text).unwrap()
    } else {
        last_error(text)
    };
    assert!(error["error"]["code"].is_string(), "{text}");
    assert_eq!(text.matches("\"error\"").count(), 1, "{text}");
    false
}

#[tokio::test]
async fn an_answer_that_breaks_after_any_number_of_events_never_looks_complete() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let tokens = || Script::tokens(vec!["a"; 201]);
    let (mut complete, mut tried) = (0, 0);
    for n in 0..=200 {
        let ways = [
            tokens().reset_after(n),
            tokens().reset_after(n).sliced(50),
            tokens().end_after(n),
            tokens().error_after(n, "Compute error."),
            // Read as a whole.
            tokens().end_after(n),
        ];
        for (at, script) in ways.into_iter().enumerate() {
            llama.script(script);
            tried += 1;
            complete += usize::from(if at < 4 {
                looks_complete(&text(&proxy).await)
            } else {
                proxy.ask(&question(false)).await.status().is_success()
            });
        }
    }
    assert_eq!((complete, tried), (0, 1_005));
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn an_answer_cut_at_any_byte_never_looks_complete() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let delta = |text: &str| {
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    };
    let events = [
        &delta("Grüße"),
        &delta(" 🧀"),
        ": a comment\n\n",
        &delta("data: "),
        "data: [DONE]\n\n",
    ];
    let chunk = |text: &&str| format!("{:x}\r\n{text}\r\n", text.len());
    let chunks: String = events.iter().map(chunk).collect();
    let answer = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into_bytes();
    // With all of this said, the answer is whole, whatever follows.
    let said = answer
        .windows(14)
        .position(|bytes| bytes == b"data: [DONE]\n\n")
        .unwrap()
        + "data: [DONE]".len();
    let mut tried = 0;
    for cut in 0..said {
        for reset in [false, true] {
            llama.script(Script::raw(&answer[..cut]).reset_at_the_end(reset));
            assert!(
                !looks_complete(&text(&proxy).await),
                "cut after {cut} bytes"
            );
            let (status, error) = proxy.error(&question(false)).await;
            assert_eq!(
                (status, &error["src"]),
                (502, &json!("llm-proxy")),
                "cut after {cut} bytes: {error}"
            );
            tried += 2;
        }
    }
    assert!(tried > 1_000, "{tried}");
    llama.script(Script::raw(answer));
    assert_eq!(text(&proxy).await, events.concat());
}

#[tokio::test]
async fn a_body_that_ends_without_its_last_chunk_or_with_its_connection_is_judged_by_done_alone() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let token = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    for (head, body) in [
        ("Transfer-Encoding: chunked\r\n\r\n", chunk(token)),
        (
            "Transfer-Encoding: chunked\r\n\r\n",
            format!("{}0\r\n\r\n", chunk(token)),
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n",
            format!("{}10\r\ndata: [D", chunk(token)),
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n",
            format!("{}zz\r\n", chunk(token)),
        ),
        ("Connection: close\r\n\r\n", token.to_owned()),
        ("Connection: close\r\n\r\n", format!("{token}data: [DONE")),
        ("Content-Length: 9999\r\n\r\n", token.to_owned()),
        (
            "Content-Length: 9999\r\n\r\n",
            format!("{token}data: [DONE"),
        ),
        ("Connection: close\r\n\r\n", String::new()),
    ] {
        llama.script(Script::raw(format!("{HEAD}{head}{body}")));
        // A thousand in all, half of them read as a whole.
        for _ in 0..56 {
            assert!(!looks_complete(&text(&proxy).await), "{head}{body}");
            let (status, error) = proxy.error(&question(false)).await;
            assert_eq!(
                (status, error["src"].as_str().unwrap()),
                (502, "llm-proxy"),
                "{error}"
            );
        }
    }
    // An answer that says that it is done is whole, however its body ends.
    for end in ["data: [DONE]\n\n", "data: [DONE]"] {
        llama.script(Script::raw(format!(
            "{HEAD}Connection: close\r\n\r\n{token}{end}"
        )));
        assert_eq!(text(&proxy).await, format!("{token}{end}"));
    }
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn an_upstream_that_speaks_no_http_is_a_502_and_costs_little_memory() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let before = memory();
    let filler = "x".repeat(64 * 1024);
    for (what, script) in [
        ("garbage", Script::raw("\u{1}\u{2}garbage\r\n\r\n")),
        ("another protocol", Script::raw("SSH-2.0-OpenSSH_9.6\r\n")),
        ("no answer", Script::raw("")),
        (
            "lines that end with a bare line feed",
            Script::raw(format!("{HEAD}\r\n").replace('\r', "") + DONE),
        ),
        (
            "a head with one bare line feed",
            Script::raw(format!("{HEAD}X: y\n\r\n{DONE}")),
        ),
        (
            "a status line without end",
            Script::raw_repeated("HTTP/1.1 200 ", filler.as_bytes(), 16),
        ),
        (
            "a megabyte of headers",
            Script::raw_repeated(format!("{HEAD}X: "), filler.as_bytes(), 16),
        ),
        (
            "ten thousand headers",
            Script::raw_repeated(HEAD, "X: y\r\n", 10_000),
        ),
        (
            "informational answers without end",
            Script::raw_repeated("", "HTTP/1.1 103 x\r\n\r\n", 100_000),
        ),
        (
            "a switch of protocols",
            Script::raw("HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        ),
        (
            "gzip",
            Script::raw(format!(
                "{HEAD}Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n\u{1f}gzip...."
            )),
        ),
        (
            "two lengths",
            Script::raw(format!(
                "{HEAD}Content-Length: 9\r\nContent-Length: 8\r\n\r\n123456789"
            )),
        ),
    ] {
        llama.script(script);
        for stream in [true, false] {
            let response = proxy.ask(&question(stream)).await;
            assert_eq!(response.status(), 502, "{what}");
            let error: Value = response.json().await.unwrap();
            let code = error["error"]["code"].as_str().unwrap();
            assert!(
                ["upstream_invalid", "upstream_disconnected"].contains(&code),
                "{what}: {code}"
            );
        }
    }
    // Ours, the fake's and the client's together: they share this process.
    assert!(
        memory() - before < 16 * 1024,
        "{} KiB more",
        memory() - before
    );
    llama.script(Script::tokens(["a"]));
    assert_eq!(proxy.ask(&question(true)).await.status(), 200);
}

#[tokio::test]
async fn an_endless_line_is_cut_and_an_endless_answer_is_never_held() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let block = "x".repeat(64 * 1024);
    // A line of ten megabytes.
    llama.script(Script::raw_repeated(
        format!("{HEAD}\r\ndata: "),
        block.as_bytes(),
        160,
    ));
    let before = memory();
    assert_eq!(
        last_error(&text(&proxy).await)["error"]["code"],
        "upstream_invalid"
    );
    assert_eq!(
        proxy.error(&question(false)).await.1["error"]["code"],
        "upstream_invalid"
    );
    // A hundred megabytes of tokens, for one that reads them and one that wants them as a whole.
    let event = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
        "x".repeat(60_000)
    );
    llama.script(Script::raw_repeated(
        format!("{HEAD}\r\n"),
        event.as_bytes(),
        1_700,
    ));
    let mut response = proxy.ask(&question(true)).await;
    let (mut n_bytes, mut end) = (0, Vec::new());
    while let Some(chunk) = response.chunk().await.unwrap() {
        n_bytes += chunk.len();
        end = chunk.to_vec();
    }
    assert!(n_bytes > 100_000_000, "{n_bytes}");
    assert!(String::from_utf8_lossy(&end).contains("upstream_truncated"));
    assert!(
        memory() - before < 16 * 1024,
        "{} KiB more",
        memory() - before
    );
    assert_eq!(
        proxy.error(&question(false)).await.1["error"]["code"],
        "upstream_invalid"
    );
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

/// The most memory that this process ever had, in KiB; 0 where the kernel does not say.
pub(crate) fn memory() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or_default()
}
