//! What of a request goes upstream, and what is refused before it gets there.

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
        [
            "accept",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "traceparent",
            "x-request-id"
        ]
    );
    assert_eq!(
        received.headers["authorization"],
        format!("Bearer {UPSTREAM_KEY}")
    );
    assert_eq!(received.headers["traceparent"], trace);
    assert_eq!(
        received.body,
        json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": true,
            "stream_options": {"include_usage": true}, "return_progress": true, "max_tokens": 5, "temperature": 0.5})
    );
    proxy.until_metric("llm_proxy_dropped_fields_total 1").await;
}

#[tokio::test]
async fn a_body_is_read_up_to_its_cap_and_no_further_whether_it_says_its_length_or_not() {
    const CAP: usize = 256 * 1024;
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let body = question(false).to_string();
    let padded = |n_bytes: usize| format!("{body}{}", " ".repeat(n_bytes - body.len()));
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\
         Content-Type: application/json\r\n"
    );
    for (n_bytes, status) in [(CAP, "200"), (CAP + 1, "413")] {
        let body = padded(n_bytes);
        for framed in [
            format!("Content-Length: {n_bytes}\r\n\r\n{body}"),
            format!("Transfer-Encoding: chunked\r\n\r\n{n_bytes:x}\r\n{body}\r\n0\r\n\r\n"),
        ] {
            let answer = proxy.raw(&format!("{head}{framed}")).await;
            assert_eq!(&answer[9..12], status, "{answer}");
            assert_eq!(
                answer.contains(r#""code":"body_too_large""#),
                status == "413",
                "{answer}"
            );
        }
    }
    assert_eq!(llama.requests().len(), 2);
}

#[tokio::test]
async fn the_names_of_the_token_limit_become_one_that_is_clamped() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| config.max_tokens = 100).await;
    for (n, (limits, expected)) in [
        (json!({}), 100),
        (json!({"max_tokens": 9}), 9),
        (json!({"max_completion_tokens": 8}), 8),
        (json!({"max_completion_tokens": 8, "max_tokens": 9}), 8),
        (
            json!({"max_completion_tokens": 101, "max_tokens": 4_294_967_296_u64}),
            100,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = question(true);
        body.as_object_mut()
            .unwrap()
            .extend(limits.as_object().unwrap().clone());
        assert_eq!(proxy.ask(&body).await.status(), 200);
        let sent = llama.request_started(n).await.body;
        assert_eq!(
            (&sent["max_tokens"], sent.get("max_completion_tokens")),
            (&json!(expected), None)
        );
    }
}

#[tokio::test]
async fn an_image_for_a_model_that_reads_text_only_is_refused_with_a_reason() {
    let llama = FakeLlama::start().await;
    llama.set_sees_images(false);
    let proxy = Proxy::before(&llama).await;
    let image =
        json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
    let mut body = question(true);
    body["messages"][0]["content"] = json!([image]);
    let (status, error) = proxy.error(&body).await;
    assert_eq!(
        (status, &error["error"]["param"]),
        (400, &json!("messages"))
    );
    let message = "`messages` hold an image, but the model reads text only: leave the images out";
    assert_eq!(error["error"]["message"], message);
    assert_eq!(llama.requests().len(), 0);
}
