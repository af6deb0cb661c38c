//! What of a request goes upstream, and what is refused before it gets there.

use std::time::Duration;

use serde_json::json;
use testkit::fake_llama::FakeLlama;

use crate::{KEY, MODEL, Proxy, UPSTREAM_KEY, question};

#[tokio::test]
async fn what_goes_upstream_was_built_from_checked_fields_and_no_header_of_the_caller() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let mut body = question(false);
    body["temperature"] = json!(0.5);
    body["max_completion_tokens"] = json!(5);
    body["extra_body"] = json!({"grammar": "x"});
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let forged = proxy
        .chat(&body)
        .header("x-conversation-id", "1")
        .header("x-forwarded-for", "10.0.0.1")
        .header("cookie", "a=b")
        .header("traceparent", trace);
    assert_eq!(forged.send().await.unwrap().status(), 200);
    let received = llama.request_started(0).await;
    let mut names: Vec<&str> = received.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["accept", "authorization", "content-length", "content-type", "host", "traceparent", "x-request-id"]
    );
    assert_eq!(received.headers["authorization"], format!("Bearer {UPSTREAM_KEY}"));
    assert_eq!(received.headers["traceparent"], trace);
    assert_eq!(
        received.body,
        json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": true,
            "stream_options": {"include_usage": true}, "return_progress": true, "max_tokens": 5, "temperature": 0.5})
    );
    proxy.until_metric("llm_proxy_dropped_fields_total 1").await;
}

#[tokio::test]
async fn a_dangerous_field_is_a_400_that_names_it() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let mut body = question(true);
    body["grammar"] = json!("root ::= x");
    let error = json!({"message": "`grammar` is not accepted here", "type": "invalid_request_error",
        "code": "invalid_field", "param": "grammar"});
    assert_eq!(proxy.error(&body).await, (400, json!({"error": error, "src": "llm-proxy"})));
    body = question(true);
    body["model"] = json!("../other\u{1b}[2J");
    let (status, error) = proxy.error(&body).await;
    assert_eq!((status, &error["error"]["code"]), (404, &json!("model_not_found")));
    assert!(!error.to_string().contains("other"));
    assert_eq!(llama.requests().len(), 0);
}

#[tokio::test]
async fn a_body_that_is_too_large_too_slow_or_not_json_is_refused() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.max_body_bytes = 4096;
        config.body_deadline = Duration::from_millis(400);
    })
    .await;
    let head = |headers: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n{headers}\r\n\r\n"
        )
    };
    let json = "Content-Type: application/json\r\n";
    let large = "x".repeat(5000);
    for (request, status, code) in [
        (head(&format!("{json}Content-Length: 5000")) + &large, 413, "body_too_large"),
        (
            head(&format!("{json}Transfer-Encoding: chunked")) + &format!("1388\r\n{large}\r\n0\r\n\r\n"),
            413,
            "body_too_large",
        ),
        (head(&format!("{json}Content-Length: 9")) + "{", 408, "body_timeout"),
        (head(&format!("{json}Content-Length: 2")) + "[]", 400, "invalid_json"),
        (head(&format!("{json}Content-Length: 0")), 400, "invalid_json"),
        (head(&format!("{json}Content-Length: 2")) + "{}", 400, "invalid_field"),
        (head("Content-Length: 2") + "{}", 415, "unsupported_media_type"),
        (head("Content-Type: text/plain\r\nContent-Length: 2") + "{}", 415, "unsupported_media_type"),
        (
            head("Content-Type: application/json; charset=utf-16\r\nContent-Length: 2") + "{}",
            415,
            "unsupported_media_type",
        ),
        (
            head(&format!("{json}Content-Encoding: gzip\r\nContent-Length: 2")) + "{}",
            415,
            "unsupported_content_encoding",
        ),
    ] {
        let answer = proxy.raw(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{code}: {answer}");
        assert!(answer.contains(&format!(r#""code":"{code}""#)), "{code}: {answer}");
    }
    assert_eq!(llama.requests().len(), 0);
}
