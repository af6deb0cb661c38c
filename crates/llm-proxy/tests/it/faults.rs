//! Whose fault a failure is: what depends on the request alone is its caller's 400, and costs the upstream nothing.

use serde_json::{Value, json};
use testkit::fake_llama::{FakeLlama, Script};

use crate::fleet::{before_all, is_up};
use crate::{Proxy, envelope, question};

/// Failures of build 11434 that the request alone causes, in its words.
const OF_THE_REQUEST: &[(u16, &str)] = &[
    (
        500,
        "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101] parse error at line 1, column 1: \
         syntax error while parsing value - invalid literal; last read: 'h'",
    ),
    (
        500,
        "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
    ),
    (
        500,
        "\n------------\nWhile executing CallExpression at line 1, column 9 in source:\n...{{ raise_exception('x') }}...\n\
         Error: Jinja Exception: Conversation roles must alternate user/assistant/user/assistant/...",
    ),
    (
        400,
        "Unable to generate parser for this template. Automatic parser generation failed: \n------------\n\
         While executing For at line 1, column 4 in source:\n...{% for message in messages %}...\n      ^\n\
         Error: Expected iterable or object type in for loop: got Integer",
    ),
    (
        501,
        "This server does not support embeddings. Start it with `--embeddings`",
    ),
];

#[tokio::test]
async fn a_failure_that_the_request_alone_causes_costs_no_upstream() {
    let llamas = [FakeLlama::start().await, FakeLlama::start().await];
    let proxy = before_all(&llamas.each_ref(), |_| {}).await;
    for (status, message) in OF_THE_REQUEST {
        for llama in &llamas {
            llama.script(Script::refusal(*status, "server_error", message));
        }
        let before: usize = llamas.iter().map(|llama| llama.requests().len()).sum();
        for n in 0..8 {
            let (status, body) = proxy.error(&question(n % 2 == 0)).await;
            let error = &body["error"];
            assert_eq!((status, &error["code"]), (400, &json!("upstream_refused")));
            assert_eq!(error["type"], "invalid_request_error");
            let sentence = error["message"].as_str().unwrap();
            for foreign in ["exception", "{", "\n", "source", "parser", "::"] {
                assert!(!sentence.contains(foreign), "{sentence}");
            }
        }
        let after: usize = llamas.iter().map(|llama| llama.requests().len()).sum();
        assert_eq!(
            after - before,
            8,
            "no engine was asked to show that it works"
        );
    }
    let metrics = proxy.metrics().await;
    for llama in &llamas {
        assert!(metrics.contains(&is_up(&llama.url(), true)), "{metrics}");
    }
}

#[tokio::test]
async fn a_failure_without_a_reason_is_the_requests_if_the_engine_works() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let odd = || Script::refusal(500, "server_error", "something of C++ broke");
    for _ in 0..6 {
        llama.script_once(odd());
        let message = "the model server cannot process this request";
        let expected = envelope(
            "upstream",
            "invalid_request_error",
            "upstream_refused",
            message,
        );
        assert_eq!(proxy.error(&question(true)).await, (400, expected));
    }
    let probes = llama
        .requests()
        .iter()
        .filter(|request| request.headers["x-request-id"] == "probe")
        .count();
    assert_eq!(
        (probes, llama.most_running()),
        (6, 1),
        "in the request's own slot"
    );
    llama.script(odd());
    assert_eq!(proxy.error(&question(true)).await.0, 502);
}

#[tokio::test]
async fn a_field_that_is_to_blame_is_named() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    let (status, message) = OF_THE_REQUEST[0];
    llama.script(Script::refusal(status, "server_error", message));
    let message = "a tool call in `messages` has `arguments` that are not JSON: send them as the model wrote them";
    let mut expected: Value = envelope(
        "upstream",
        "invalid_request_error",
        "upstream_refused",
        message,
    );
    expected["error"]["param"] = json!("messages");
    assert_eq!(proxy.error(&question(true)).await, (400, expected));
}

#[tokio::test]
async fn an_error_inside_a_stream_that_the_request_causes_is_told_as_such() {
    let llama = FakeLlama::start().await;
    let proxy = Proxy::before(&llama).await;
    llama.script(Script::tokens(["a"]).error_after(0, "Failed to load image or audio file"));
    let (status, body) = proxy.error(&question(false)).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (400, &json!("upstream_refused"))
    );
    let text = proxy.ask(&question(true)).await.text().await.unwrap();
    assert_eq!(crate::last_error(&text), body);
}
