//! What holds for `/v1/responses` and `/v1/messages` as for a chat: no answer looks complete that is not, tokens keep the
//! deadlines, leaving frees the slot, and the wait can be seen.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::fake_llama::{Ended, FakeLlama, Script};

use crate::routes::{ALL, asked, post, with_all_routes};
use crate::{MODEL, Proxy, events};

/// Both, with a request for each.
fn both(stream: bool) -> [(&'static str, Value); 2] {
    let messages = json!([{"role": "user", "content": "hi"}]);
    [
        (
            "/v1/responses",
            json!({"model": MODEL, "stream": stream, "input": "hi"}),
        ),
        (
            "/v1/messages",
            json!({"model": MODEL, "stream": stream, "max_tokens": 9, "messages": messages}),
        ),
    ]
}

async fn text(proxy: &Proxy, path: &str, body: &Value) -> String {
    post(proxy, path, body)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

/// The error that ends a stream, checked to be the only one and the last.
fn error(text: &str) -> Value {
    assert!(
        !["response.completed", "message_stop"]
            .iter()
            .any(|end| text.contains(end)),
        "{text}"
    );
    assert_eq!(text.matches("event: error\n").count(), 1, "{text}");
    serde_json::from_str(events(text).last().unwrap()).unwrap()
}

#[tokio::test]
async fn an_answer_that_breaks_after_any_token_never_looks_complete() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    for n in 0..=3 {
        for (script, code) in [
            (
                Script::tokens(["a", "b", "c"]).end_after(n),
                "upstream_truncated",
            ),
            (
                Script::tokens(["a", "b", "c"]).reset_after(n),
                "upstream_disconnected",
            ),
            (
                Script::tokens(["a", "b", "c"]).error_after(n, "Compute error."),
                "upstream_failed",
            ),
        ] {
            llama.script(script.sliced(40));
            for (path, body) in both(true) {
                assert_eq!(
                    error(&text(&proxy, path, &body).await)["error"]["code"],
                    code,
                    "{path} {n}"
                );
            }
            for (path, body) in both(false) {
                let (status, error) = asked(&proxy, path, &body).await;
                assert_eq!(
                    (status, &error["error"]["code"]),
                    (502, &json!(code)),
                    "{path} {n}"
                );
            }
        }
    }
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn an_end_without_an_answer_or_a_reason_is_no_whole_answer() {
    let llama = FakeLlama::start().await;
    let proxy = with_all_routes(&llama).await;
    let [responses, messages] = both(false);
    let start =
        r#"data: {"type":"message_start","message":{"id":"m","stop_reason":null,"usage":{}}}"#;
    for ((path, body), events) in [
        (
            &responses,
            "data: {\"type\":\"response.completed\"}\n\n".to_owned(),
        ),
        (
            &messages,
            "data: {\"type\":\"message_stop\"}\n\n".to_owned(),
        ),
        (
            &messages,
            format!("{start}\n\ndata: {{\"type\":\"message_stop\"}}\n\n"),
        ),
    ] {
        llama.script(Script::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{events}"
        )));
        let (status, error) = asked(&proxy, path, body).await;
        assert_eq!(
            (status, &error["error"]["code"]),
            (502, &json!("upstream_truncated")),
            "{events}"
        );
    }
}

#[tokio::test]
async fn tokens_keep_the_deadlines_and_neither_pings_nor_progress_do() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::with(&llama, |config| {
        config.routes = ALL.to_vec();
        config.deadlines.first_token = Duration::from_millis(300);
        config.deadlines.first_token_per_prompt_token = Duration::ZERO;
        config.deadlines.between_tokens = Duration::from_millis(300);
    })
    .await;
    let ping = Duration::from_millis(20);
    for (script, code) in [
        (
            Script::tokens(["a", "b"]).stall_after(0).pings(ping),
            "first_token_timeout",
        ),
        (
            Script::tokens(["a", "b"]).stall_after(1).pings(ping),
            "token_timeout",
        ),
    ] {
        llama.script(script);
        for (path, body) in both(true) {
            assert_eq!(
                error(&text(&proxy, path, &body).await)["error"]["code"],
                code,
                "{path}"
            );
        }
        for (path, body) in both(false) {
            let (status, error) = asked(&proxy, path, &body).await;
            assert_eq!(
                (status, &error["error"]["code"]),
                (504, &json!(code)),
                "{path}"
            );
        }
    }
    // Ten tokens that take twice as long as any two may be apart.
    llama.script(Script::tokens(vec!["a"; 10]).every(Duration::from_millis(60)));
    for (path, body) in both(false) {
        assert_eq!(asked(&proxy, path, &body).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn leaving_frees_the_slot_whether_the_answer_is_streamed_or_whole() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = with_all_routes(&llama).await;
    llama.script(Script::tokens(["a", "b"]).stall_after(1));
    for (n, (path, body)) in both(true).into_iter().chain(both(false)).enumerate() {
        let whole = async {
            let mut response = post(&proxy, path, &body).send().await.unwrap();
            while response.chunk().await.unwrap().is_some() {}
        };
        let begun = async {
            llama.request_started(n).await;
            proxy.until_metric("llm_proxy_requests_in_flight 1").await;
        };
        tokio::select! {
            () = whole => panic!("{path} was answered"),
            () = begun => {}
        }
        assert_eq!(llama.ended(n).await, Ended::ClientLeft, "{path}");
        proxy.until_metric("llm_proxy_requests_in_flight 0").await;
    }
    assert_eq!(llama.most_running(), 1);
}

#[tokio::test]
async fn a_stream_that_waits_sees_its_place_and_ends_in_an_error_of_its_own_api() {
    let llama = FakeLlama::start().await;
    llama.set_slots(1);
    let proxy = Proxy::with(&llama, |config| {
        config.routes = ALL.to_vec();
        config.deadlines.queue_with_events = Duration::from_millis(300);
    })
    .await;
    let running = proxy.ask_stalled(&llama).await;
    for (path, body) in both(true) {
        let waiting = post(&proxy, path, &body)
            .header("x-queue-events", "1")
            .send()
            .await
            .unwrap();
        assert_eq!(waiting.status(), 200);
        let text = waiting.text().await.unwrap();
        assert!(text.starts_with(": queue position=1 "), "{text}");
        assert!(
            text.contains("\nretry: ") || text.starts_with("retry: "),
            "{text}"
        );
        assert_eq!(error(&text)["error"]["code"], "queue_timeout");
    }
    drop(running);
}
