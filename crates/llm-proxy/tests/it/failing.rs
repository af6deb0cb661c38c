//! An upstream that fails: before the first byte a JSON error, after it one error event and no `[DONE]`.

use serde_json::json;
use testkit::fake_llama::{FakeLlama, Script};

use crate::{Proxy, envelope, last_error, question, until};

#[tokio::test]
async fn a_broken_answer_never_looks_complete() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    for (script, code) in [
        (
            Script::tokens(["a", "b"]).end_after(0),
            "upstream_truncated",
        ),
        (
            Script::tokens(["a", "b"]).end_after(1),
            "upstream_truncated",
        ),
        (
            Script::tokens(["a", "b"]).end_after(2),
            "upstream_truncated",
        ),
        (
            Script::tokens(["a", "b"]).reset_after(0),
            "upstream_disconnected",
        ),
        (
            Script::tokens(["a", "b"]).reset_after(1),
            "upstream_disconnected",
        ),
        (
            Script::tokens(["a", "b"]).reset_after(2),
            "upstream_disconnected",
        ),
        (
            Script::tokens(["a", "b"]).error_after(0, "Compute error."),
            "upstream_failed",
        ),
        (
            Script::tokens(["a", "b"]).error_after(1, "Context size has been exceeded."),
            "upstream_failed",
        ),
    ] {
        for slice in [3, 100_000] {
            llama.script(script.clone().sliced(slice));
            let text = proxy.ask(&question(true)).await.text().await.unwrap();
            // A reset may overtake what was sent before it, even the header; then the whole answer is an error.
            if text.starts_with("data: ") {
                assert_eq!(last_error(&text)["error"]["code"], code, "{text}");
                assert_eq!(text.matches("\"error\"").count(), 1, "{text}");
            } else {
                assert_eq!(code, "upstream_disconnected", "{text}");
            }
            let (status, error) = proxy.error(&question(false)).await;
            assert_eq!(
                (status, error["error"]["code"].as_str().unwrap()),
                (502, code)
            );
        }
    }
    proxy.until_metric("llm_proxy_requests_in_flight 0").await;
}

#[tokio::test]
async fn a_request_that_may_have_been_sent_is_not_sent_again() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a"]).reset_before_headers());
    let message = "the model server broke the connection before the answer was complete";
    for n in 1..=200 {
        let expected = (
            502,
            envelope(
                "llm-proxy",
                "server_error",
                "upstream_disconnected",
                message,
            ),
        );
        assert_eq!(proxy.error(&question(n % 2 == 0)).await, expected);
        assert_eq!(llama.requests().len(), n);
    }
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_refused_in_our_shape_with_its_size() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let message =
        "request (6031 tokens) exceeds the available context size (4096 tokens), try increasing it";
    let theirs = json!({"error": {"code": 400, "message": message, "type": "exceed_context_size_error",
        "n_prompt_tokens": 6031, "n_ctx": 4096}});
    llama.script(Script::status(400, theirs.to_string()));
    let error = json!({"message": message, "type": "exceed_context_size_error", "code": "context_length_exceeded",
        "param": null, "n_prompt_tokens": 6031, "n_ctx": 4096});
    for stream in [true, false] {
        assert_eq!(
            proxy.error(&question(stream)).await,
            (400, json!({"error": error, "src": "upstream"}))
        );
    }
}

#[tokio::test]
async fn a_refusal_keeps_its_status_and_only_words_about_the_request_and_a_failure_is_502() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::refusal(
        400,
        "invalid_request_error",
        "Field 'stop': bad",
    ));
    let expected = envelope(
        "upstream",
        "invalid_request_error",
        "upstream_refused",
        "Field 'stop': bad",
    );
    assert_eq!(proxy.error(&question(true)).await, (400, expected));
    for (status, kind) in [
        (404, "not_found_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
    ] {
        llama.script(Script::refusal(status, kind, "/models/secret.gguf"));
        let message = "the model server refused the request";
        let expected = envelope("upstream", kind, "upstream_refused", message);
        assert_eq!(proxy.error(&question(true)).await, (status, expected));
    }
    for script in [
        Script::refusal(500, "server_error", "/models/secret.gguf broke"),
        Script::status(500, "<html>nginx at 10.0.0.7</html>"),
    ] {
        llama.script(script);
        let message = "the model server failed while answering";
        let expected = envelope("upstream", "server_error", "upstream_failed", message);
        assert_eq!(proxy.error(&question(true)).await, (502, expected));
    }
}

#[tokio::test]
async fn an_answer_that_is_not_a_stream_is_not_passed_on() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::status(200, r#"{"choices":[]}"#));
    assert_eq!(
        proxy.error(&question(true)).await.1["error"]["code"],
        "upstream_invalid"
    );
    llama.script(Script::status(302, ""));
    assert_eq!(
        proxy.error(&question(true)).await.1["error"]["code"],
        "upstream_invalid"
    );
}

#[tokio::test]
async fn a_model_that_loads_again_is_503_until_it_has_loaded() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.set_loading(true);
    let response = proxy.ask(&question(true)).await;
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["retry-after"]
        ),
        (503, &"5".parse().unwrap())
    );
    let message = "the model is still loading: try again after the time in Retry-After";
    assert_eq!(
        response.json::<serde_json::Value>().await.unwrap(),
        envelope("upstream", "server_error", "model_loading", message)
    );
    until("loading to be noticed", async || {
        proxy.ready().await.1.contains("is loading its model")
    })
    .await;
    llama.set_loading(false);
    proxy.until_ready().await;
    assert_eq!(proxy.ask(&question(true)).await.status(), 200);
}
